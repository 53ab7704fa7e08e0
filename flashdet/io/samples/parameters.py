"""Track parameters of other programs in ours, and the multiplicity of events. Files are read elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.species import particle_table

#: Multiplicity is counted within this |eta|.
ETA_COUNTED = 0.5


def local_of_perigee(
    perigee: NDArray[np.float64], covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Perigee parameters of ACTS as a track in the frame of its own momentum.

    ACTS' local coordinates on a perigee surface are d0 along (z axis) x (momentum) and z0 along the axis
    (``PerigeeSurface``, ``LineSurface`` of ACTS): the point (-d0 sin phi, d0 cos phi, z0), which is y = d0 in the frame
    turned by phi. With tgl = cot(theta) and q/pt = (q/p)/sin(theta): d tgl = -d theta/sin^2(theta) and d q/pt =
    d(q/p)/sin(theta) - (q/p) cos(theta)/sin^2(theta) d theta.

    Parameters
    ----------
    perigee : (n, 5) float64
        d0, z0 [cm], phi, theta [rad], q/p [e/GeV].
    covariance : (n, 15) float64
        Of them, lower triangle row by row; NaN where unknown.

    Returns
    -------
    params : (n, 7) float64
        x, alpha, y, z, snp, tgl, q/pt [cm, rad, e/GeV].
    covariance : (n, 15) float64
        Of the last five.
    """
    d0, z0, phi, theta, q_over_p = perigee.T
    sin, cos = np.sin(theta), np.cos(theta)
    zero = np.zeros_like(d0)
    params = np.stack([zero, phi, d0, z0, zero, cos / sin, q_over_p / sin], axis=1)
    rows, columns = np.tril_indices(5)
    dense = np.empty((len(d0), 5, 5))
    dense[:, rows, columns] = dense[:, columns, rows] = covariance
    jacobian = np.zeros_like(dense)
    jacobian[:, 0, 0] = jacobian[:, 1, 1] = jacobian[:, 2, 2] = 1.0
    jacobian[:, 3, 3] = -1.0 / sin**2
    jacobian[:, 4, 3] = -q_over_p * cos / sin**2
    jacobian[:, 4, 4] = 1.0 / sin
    moved = jacobian @ dense @ np.swapaxes(jacobian, 1, 2)
    return params, np.ascontiguousarray(moved[:, rows, columns])


def charged_density(
    event: NDArray[np.int64],
    pdg: NDArray[np.int32],
    px: NDArray[np.float64],
    py: NDArray[np.float64],
    pz: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Charged particles per unit of pseudorapidity at |eta| < 0.5, for each row its event's.

    Parameters
    ----------
    event : (n,) int64
        Event numbers.
    pdg : (n,) int32
        PDG codes; unknown ones do not count.
    px, py, pz : (n,) float64
        Momenta [GeV].

    Returns
    -------
    (n,) float64
    """
    table = particle_table()
    row = table.find(pdg)
    is_charged = (row >= 0) & (table.charge3[np.maximum(row, 0)] != 0)
    counted = is_charged & (np.abs(pz) < np.sinh(ETA_COUNTED) * np.hypot(px, py))
    _, place = np.unique(event, return_inverse=True)
    density: NDArray[np.float64] = np.bincount(place, counted, place.max(initial=-1) + 1)[place] / (2.0 * ETA_COUNTED)
    return density
