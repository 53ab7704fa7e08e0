"""Tracks whose particle is still there when it crosses a radiator of the RICH.

Where particles end is the business of the stage ``decay``; which radiators they would cross, of :mod:`.crossing`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import kernel
from flashdet.stages.rich.crossing import Crossings
from flashdet.stages.rich.tiles import Geometry
from flashdet.stages.surface import CYLINDER, first_crossing

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def survivors(crossings: Crossings, track: Mapping[str, NDArray[Any]], bz: float, geometry: Geometry) -> Crossings:
    """Keep the crossings that particles live to see.

    Parameters
    ----------
    crossings : Crossings
        From `flashdet.stages.rich.crossing.cross`.
    track : mapping of str to array
        Columns ``end_path_true vx_true vy_true vz_true pt_true eta_true phi_true charge_true``.
    bz : float
        Field [T].
    geometry : Geometry
        From `flashdet.stages.rich.tiles.make_geometry`.

    Returns
    -------
    Crossings
    """
    # the tiles of a barrel stand behind a cylinder that touches them
    is_barrel = geometry.closest > 0.0
    surfaces = np.array([[CYLINDER, geometry.closest, np.inf, 0.0]]) if is_barrel else geometry.planes
    keep = np.empty(len(crossings.rows), np.bool_)
    _keep_kernel(
        crossings.rows, crossings.optic, track["end_path_true"], track["vx_true"], track["vy_true"], track["vz_true"],
        track["pt_true"], track["eta_true"], track["phi_true"], track["charge_true"], float(bz), surfaces,
        len(geometry.cells) > 0, keep,
    )  # fmt: skip
    if keep.all():
        return crossings
    c = crossings
    return Crossings(c.rows[keep], c.optic[keep], c.cell[keep], c.u[keep], c.v[keep])


@kernel
def _keep_kernel(
    rows: Integers, optic: Integers, end_path: Floats, vx: Floats, vy: Floats, vz: Floats, pt: Floats, eta: Floats,
    phi: Floats, charge: NDArray[np.int8], bz: float, surfaces: Floats, are_discs: bool, keep: NDArray[np.bool_],
) -> None:  # fmt: skip
    for j in range(len(rows)):
        i = rows[j]
        keep[j] = True
        if not end_path[i] < math.inf:
            continue
        grow = math.exp(eta[i])
        tgl = 0.5 * (grow - 1.0 / grow)
        if are_discs:
            # every step of a helix has the same share along z
            path = (surfaces[optic[j], 1] - vz[i]) / tgl * math.sqrt(1.0 + tgl * tgl)
        else:
            k = curvature(charge[i] / pt[i], bz)
            hit, path, _, _, _, _ = first_crossing(vx[i], vy[i], vz[i], phi[i], tgl, k, surfaces)
            path = path if hit >= 0 else 0.0  # made between the cylinder and the tiles
        keep[j] = path <= end_path[i]
