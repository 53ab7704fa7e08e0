"""Time of flight under every hypothesis: expected times with their errors, and pulls against a measured time.

Here is what a time-of-flight stage and a stage that finds the time of the collision share; how a detector measures a
time is in :mod:`.stage`, the time of the collision in :mod:`.timesearch`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.gradients import path_to_cylinder, path_to_plane, variance
from flashdet.kernels.helix import REACHED, cross_cylinder, curvature
from flashdet.kernels.jit import kernel
from flashdet.stages.pid import (
    CHARGE,
    MASS,
    N_SPECIES,
    by_species,
    log_momentum_covariance,
    log_momentum_variance,
    rigidity,
)
from flashdet.stages.surface import CYLINDER
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]


# --- physics ---------------------------------------------------------------------------------------------------------
def time_of_flight(path: Floats, momentum: Floats, mass: float | Floats) -> Floats:
    """Time a particle needs: t = L/(beta c) = (L/c) sqrt(1 + m^2/p^2) (special relativity).

    Parameters
    ----------
    path : (n,) float64
        Length [cm].
    momentum : (n,) float64
        Momentum [GeV].
    mass : float or (n,) float64
        Mass [GeV].

    Returns
    -------
    (n,) float64
        Time [ns].
    """
    return path / C_LIGHT * np.sqrt(1.0 + np.square(mass / momentum))


def expect_times(
    track: Mapping[str, NDArray[Any]], surface: NDArray[np.int8], bz: float, surfaces: Floats
) -> tuple[Floats, Floats, Floats]:
    """Expected time of flight from the reference point to the surface, with its error, for every hypothesis.

    The error is linear in the covariance of all five parameters. With e = sqrt(1 + m^2/p^2) and L the path,
    t = L e/c, hence dt = (e/c) dL - (L m^2/(c e p^2)) d log p. For a track from the origin this is the closed form of
    the ALICE 3 on-the-fly simulation (O2Physics, ``onTheFlyTofPid.cxx``), and without the change of the path that of
    DelphesO2 (``TOFLayer.cc``).

    Parameters
    ----------
    track : mapping of str to array
        Columns ``y z snp tgl q_over_pt cov`` of the track table.
    surface : (n,) int8
        The surface, -1 for none.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.

    Returns
    -------
    path : (n,) float64
        Path [cm]; NaN without a surface or if the measured track does not reach it.
    expected, expected_error : (n_species, n) float64
        Times and errors [ns], NaN as the path.
    """
    n = len(surface)
    path, expected, error = np.empty(n), np.empty((N_SPECIES, n)), np.empty((N_SPECIES, n))
    # rigidity, variance of the path, covariance of path and log p, variance of log p
    moments = np.empty((4, n))
    _path_kernel(
        surface, track["y"], track["z"], track["snp"], track["tgl"], track["q_over_pt"], track["cov"],
        float(bz), surfaces, path, moments,
    )  # fmt: skip
    _expect_kernel(path, moments, expected, error)
    return path, expected, error


def pulls(
    time: Floats,
    time_error: Floats,
    event_time: Floats,
    event_time_error: Floats,
    expected: Sequence[Floats] | Floats,
    expected_error: Sequence[Floats] | Floats,
) -> Floats:
    """Distance to each hypothesis in standard deviations.

    (time - event_time - expected)/sqrt(time_error^2 + event_time_error^2 + expected_error^2): independent errors, since
    the event time leaves out the track.

    Parameters
    ----------
    time, time_error, event_time, event_time_error : (n,) float64
        Measured [ns].
    expected, expected_error : (n_species, n) float64, or a list of its rows
        Expected [ns].

    Returns
    -------
    (n_species, n) float64
        NaN where an input is.
    """
    n_sigma = np.empty((len(expected), len(time)))
    variance = np.square(time_error) + np.square(event_time_error)
    # one hypothesis at a time: columns of a table need not be copied into a matrix
    for h in range(len(expected)):
        _pull_kernel(time, event_time, variance, expected[h], expected_error[h], n_sigma[h])
    return n_sigma


def timed_columns(
    time: Floats, time_error: Floats, path: Floats, event_time: Floats, event_time_error: Floats,
    expected: Sequence[Floats] | Floats, expected_error: Sequence[Floats] | Floats,
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Columns of a time-of-flight table that need the time of the collision.

    Parameters
    ----------
    time, time_error, path, event_time, event_time_error : (n,) float64
        Measured times [ns] and path [cm].
    expected, expected_error : (n_species, n) float64, or a list of its rows
        Expected times [ns].

    Returns
    -------
    dict of str to (n,) float64
        ``beta``, ``event_time``, ``event_time_error`` and ``n_sigma_<species>``.
    """
    n_sigma = pulls(time, time_error, event_time, event_time_error, expected, expected_error)
    return {
        "beta": path / (C_LIGHT * (time - event_time)),
        "event_time": event_time,
        "event_time_error": event_time_error,
        **by_species("n_sigma", n_sigma),
    }


# --- kernel ----------------------------------------------------------------------------------------------------------
@kernel
def _path_kernel(
    surface: NDArray[np.int8], y: Floats, z: Floats, snp: Floats, tgl: Floats, q_over_pt: Floats,
    cov: Floats, bz: float, surfaces: Floats, path: Floats, moments: Floats,
) -> None:  # fmt: skip
    for i in range(len(surface)):
        # NaN also into the moments: memory as it comes may hold NaNs of other bits, which would travel on
        path[i], moments[0, i], moments[1, i], moments[2, i], moments[3, i] = np.nan, np.nan, np.nan, np.nan, np.nan
        if surface[i] < 0:
            continue
        # all in the local frame: the surfaces are symmetric about the z axis, so alpha does not matter
        k, layer = curvature(q_over_pt[i], bz), surface[i]
        slope = math.sqrt(1.0 + tgl[i] * tgl[i])
        if surfaces[layer, 0] == CYLINDER:
            cos_phi = math.sqrt(1.0 - snp[i] * snp[i])
            status, s, hit_u, hit_w, _ = cross_cylinder(
                0.0, y[i], z[i], cos_phi, snp[i], tgl[i], k, surfaces[layer, 1]
            )  # fmt: skip
            if status != REACHED:
                continue
            length = s * slope
            gradient = path_to_cylinder(y[i], 0.0, snp[i], tgl[i], q_over_pt[i], bz, hit_u, hit_w, length)
        else:
            s = (surfaces[layer, 1] - z[i]) / tgl[i]
            if not 0.0 < s < np.inf:
                continue
            length = s * slope
            gradient = path_to_plane(tgl[i], length)
        path[i] = length
        moments[0, i] = rigidity(tgl[i], q_over_pt[i])
        moments[1, i] = variance(gradient, cov[i])
        moments[2, i] = log_momentum_covariance(gradient, tgl[i], q_over_pt[i], cov[i])
        moments[3, i] = log_momentum_variance(tgl[i], q_over_pt[i], cov[i])


@kernel
def _expect_kernel(path: Floats, moments: Floats, expected: Floats, error: Floats) -> None:
    # apart from the loop over tracks so that the compiler uses vector instructions (half the time of one loop)
    for h in range(expected.shape[0]):
        mass = MASS[h] / CHARGE[h]
        for i in range(expected.shape[1]):
            ratio = mass / moments[0, i]
            square = ratio * ratio
            slowness = math.sqrt(1.0 + square)
            push = path[i] * square / slowness
            spread = slowness * (slowness * moments[1, i] - 2.0 * push * moments[2, i]) + push * push * moments[3, i]
            expected[h, i] = path[i] * slowness / C_LIGHT
            # rounding may leave a vanishing variance below zero; NaN stays NaN
            error[h, i] = math.sqrt(0.0 if spread < 0.0 else spread) / C_LIGHT


@kernel
def _pull_kernel(
    time: Floats, event_time: Floats, variance: Floats, expected: Floats, expected_error: Floats, n_sigma: Floats
) -> None:  # fmt: skip
    for i in range(len(time)):
        total = variance[i] + expected_error[i] * expected_error[i]
        n_sigma[i] = (time[i] - event_time[i] - expected[i]) / math.sqrt(total)
