"""Time of flight under every hypothesis: expected times with their errors, and pulls against a measured time.

Here is what a time-of-flight stage and a stage that finds the time of the collision share; how a detector measures a
time is in :mod:`.stage`, the time of the collision in :mod:`.timesearch`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.arc import arc_to_cylinder
from flashdet.kernels.gradients import path_to_cylinder, path_to_plane, variance
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel
from flashdet.stages.pid import (
    CHARGE,
    MASS,
    N_SPECIES,
    by_species,
    log_momentum_covariance,
    log_momentum_variance,
)
from flashdet.stages.surface import CYLINDER
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Tracks of a block: what is known of their hits stays in the first two levels of cache.
BLOCK = 256
_U = np.uint64
#: Where quantities of the hits start in the scratch array (see :mod:`.hits`): parameters, radius or z of the surface,
#: path, its gradient, inverse square of the rigidity, moments, expected time and error; 15 covariances.
_Y, _Z, _SNP, _TGL, _Q, _PLACE, _PATH, _G0, _G1, _G2, _G3, _G4, _P2, _V0, _V1, _V2, _TIME, _ERROR, _COV = (
    _U(i * BLOCK) for i in range(19)
)
_N_NUMBERS = 18 + 15


class Tracks(NamedTuple):
    """Columns of measured tracks, see :data:`flashdet.columns.TRACK`."""

    y: Floats
    z: Floats
    snp: Floats
    tgl: Floats
    q_over_pt: Floats
    cov: Floats


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


class Flights(NamedTuple):
    """What measured tracks let expect at the surfaces that they hit.

    Attributes
    ----------
    has_signal : (n,) bool
        Whether the measured track reaches the surface of its hit.
    path : (n,) float64
        Path [cm]; NaN without a surface or if the measured track does not reach it.
    expected, expected_error : (n_species, n) float64
        Times and errors [ns], NaN as the path.
    """

    has_signal: NDArray[np.bool_]
    path: Floats
    expected: Floats
    expected_error: Floats


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
    path, expected, expected_error : array
        As in :class:`Flights`.
    """
    n = len(surface)
    out = Flights(np.empty(n, np.bool_), np.empty(n), np.empty((N_SPECIES, n)), np.empty((N_SPECIES, n)))
    fill_flights(track, surface, bz, surfaces, out)
    return out.path, out.expected, out.expected_error


def fill_flights(
    track: Mapping[str, NDArray[Any]], surface: NDArray[np.int8], bz: float, surfaces: Floats, out: Flights
) -> int:
    """Fill `out` as :func:`expect_times` and return how many hits the measured tracks do not reach."""
    tracks = Tracks(*(track[name] for name in Tracks._fields))
    number, row = np.empty(_N_NUMBERS * BLOCK), np.empty(BLOCK, np.int64)
    return int(_flight_kernel(surface, tracks, float(bz), surfaces, number, row, out))


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
    _fill_timed(
        time, time_error, time, event_time, event_time_error, expected, expected_error, n_sigma, np.empty_like(time)
    )
    return n_sigma


def _fill_timed(
    time: Floats, time_error: Floats, path: Floats, event_time: Floats, event_time_error: Floats,
    expected: Sequence[Floats] | Floats, expected_error: Sequence[Floats] | Floats, n_sigma: Floats, beta: Floats,
) -> None:  # fmt: skip
    """Fill `n_sigma` as :func:`pulls`, and velocities over that of light."""
    _timed_kernel(
        read_only(time), read_only(time_error), read_only(path), read_only(event_time), read_only(event_time_error),
        tuple(map(read_only, expected)), tuple(map(read_only, expected_error)), np.empty(2 * BLOCK), n_sigma, beta,
    )  # fmt: skip


def read_only(column: Floats) -> Floats:
    """The same numbers with one type for the compiler: columns of tables are read-only, new ones are not."""
    if not column.flags.writeable:
        return column
    view = column.view()
    view.flags.writeable = False
    return view


def timed_columns(
    time: Floats, time_error: Floats, path: Floats, event_time: Floats, event_time_error: Floats,
    expected: Sequence[Floats] | Floats, expected_error: Sequence[Floats] | Floats, out: Floats | None = None,
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Columns of a time-of-flight table that need the time of the collision.

    Parameters
    ----------
    time, time_error, path, event_time, event_time_error : (n,) float64
        Measured times [ns] and path [cm].
    expected, expected_error : (n_species, n) float64, or a list of its rows
        Expected times [ns].
    out : (n_species + 1, n) float64, optional
        Memory for ``n_sigma_<species>`` and ``beta``.

    Returns
    -------
    dict of str to (n,) float64
        ``beta``, ``event_time``, ``event_time_error`` and ``n_sigma_<species>``.
    """
    if out is None:
        out = np.empty((N_SPECIES + 1, len(time)))
    n_sigma, beta = out[:N_SPECIES], out[N_SPECIES]
    _fill_timed(time, time_error, path, event_time, event_time_error, expected, expected_error, n_sigma, beta)
    return {
        "beta": beta,
        "event_time": event_time,
        "event_time_error": event_time_error,
        **by_species("n_sigma", n_sigma),
    }


# --- kernel ----------------------------------------------------------------------------------------------------------
@bare_kernel
def _gather(
    begin: int, n: int, kind: float, surface: NDArray[np.int8], tracks: Tracks, surfaces: Floats, number: Floats,
    row: Integers,
) -> int:  # fmt: skip
    """Note the tracks of a block that hit a surface of one kind, with their parameters; return how many."""
    m = 0
    for at in range(begin, begin + n):
        if surface[at] < 0 or surfaces[surface[at], 0] != kind:
            continue
        j, cov = _U(m), tracks.cov[at]
        row[m] = at
        number[j + _Y], number[j + _Z], number[j + _SNP] = tracks.y[at], tracks.z[at], tracks.snp[at]
        number[j + _TGL], number[j + _Q], number[j + _PLACE] = (
            tracks.tgl[at], tracks.q_over_pt[at], surfaces[surface[at], 1],
        )  # fmt: skip
        for c in range(15):
            number[j + _COV + _U(c * BLOCK)] = cov[c]
        m += 1
    return m


@bare_kernel
def _to_cylinders(m: int, bz: float, number: Floats) -> None:
    """Paths to cylinders and their gradients, all in the local frame: the surfaces are symmetric about the z axis."""
    for j in range(_U(m)):
        y, snp, tgl, q_over_pt = number[j + _Y], number[j + _SNP], number[j + _TGL], number[j + _Q]
        cosine, k = math.sqrt(1.0 - snp * snp), curvature(q_over_pt, bz)
        radius = number[j + _PLACE]
        s, (along, across), (hit_u, hit_w) = arc_to_cylinder(y * snp, y * cosine, k, radius)
        length = s * math.sqrt(1.0 + tgl * tgl) if y * y < radius * radius else math.nan
        scale = 1.0 / math.sqrt(along * along + across * across)
        cos_alpha, sin_alpha = (cosine * across + snp * along) * scale, (snp * across - cosine * along) * scale
        hit_x, hit_y = hit_u * cos_alpha - hit_w * sin_alpha, hit_u * sin_alpha + hit_w * cos_alpha
        gradient = path_to_cylinder(y, 0.0, snp, tgl, q_over_pt, bz, hit_x, hit_y, length)
        number[j + _PATH], number[j + _G0], number[j + _G1] = length, gradient[0], gradient[1]
        number[j + _G2], number[j + _G3], number[j + _G4] = gradient[2], gradient[3], gradient[4]


@bare_kernel
def _to_discs(m: int, number: Floats) -> None:
    """Paths to discs and their gradients."""
    for j in range(_U(m)):
        tgl = number[j + _TGL]
        s = (number[j + _PLACE] - number[j + _Z]) / tgl
        length = s * math.sqrt(1.0 + tgl * tgl) if (s > 0.0) & (s < math.inf) else math.nan
        gradient = path_to_plane(tgl, length)
        number[j + _PATH], number[j + _G0], number[j + _G1] = length, gradient[0], gradient[1]
        number[j + _G2], number[j + _G3], number[j + _G4] = gradient[2], gradient[3], gradient[4]


@bare_kernel
def _set_moments(m: int, number: Floats) -> None:
    """Inverse square of the rigidity, variance of the path, its covariance with log p, variance of log p."""
    for j in range(_U(m)):
        tgl, q_over_pt = number[j + _TGL], number[j + _Q]
        gradient = number[j + _G0], number[j + _G1], number[j + _G2], number[j + _G3], number[j + _G4]
        cov: Any = (
            number[j + _COV], number[j + _COV + _U(BLOCK)], number[j + _COV + _U(2 * BLOCK)],
            number[j + _COV + _U(3 * BLOCK)], number[j + _COV + _U(4 * BLOCK)], number[j + _COV + _U(5 * BLOCK)],
            number[j + _COV + _U(6 * BLOCK)], number[j + _COV + _U(7 * BLOCK)], number[j + _COV + _U(8 * BLOCK)],
            number[j + _COV + _U(9 * BLOCK)], number[j + _COV + _U(10 * BLOCK)], number[j + _COV + _U(11 * BLOCK)],
            number[j + _COV + _U(12 * BLOCK)], number[j + _COV + _U(13 * BLOCK)], number[j + _COV + _U(14 * BLOCK)],
        )  # fmt: skip
        number[j + _P2] = q_over_pt * q_over_pt / (1.0 + tgl * tgl)
        number[j + _V0] = variance(gradient, cov)
        number[j + _V1] = log_momentum_covariance(gradient, tgl, q_over_pt, cov)
        number[j + _V2] = log_momentum_variance(tgl, q_over_pt, cov)


@bare_kernel
def _expect(m: int, mass: float, number: Floats) -> None:
    """Expected times and their errors under one hypothesis, for mass over charge."""
    for j in range(_U(m)):
        path, square = number[j + _PATH], mass * mass * number[j + _P2]
        slowness2 = 1.0 + square
        push = path * square
        spread = slowness2 * number[j + _V0] - 2.0 * push * number[j + _V1] + push * push / slowness2 * number[j + _V2]
        number[j + _TIME] = path * math.sqrt(slowness2) / C_LIGHT
        # rounding may leave a vanishing variance below zero; NaN stays NaN
        number[j + _ERROR] = math.sqrt(0.0 if spread < 0.0 else spread) / C_LIGHT


@bare_kernel
def _flight_kernel(
    surface: NDArray[np.int8], tracks: Tracks, bz: float, surfaces: Floats, number: Floats, row: Integers, out: Flights
) -> int:  # fmt: skip
    expected, error, n_rows, n_missed = out.expected, out.expected_error, len(surface), 0
    for begin in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - begin)
        end = begin + n
        out.has_signal[begin:end], out.path[begin:end] = False, math.nan
        for h in range(N_SPECIES):
            expected[h, begin:end] = math.nan
            error[h, begin:end] = math.nan
        for kind in range(2):
            m = _gather(begin, n, float(kind), surface, tracks, surfaces, number, row)
            if m == 0:
                continue
            if kind == CYLINDER:
                _to_cylinders(m, bz, number)
            else:
                _to_discs(m, number)
            _set_moments(m, number)
            for j in range(_U(m)):
                path = number[j + _PATH]
                out.path[row[j]], out.has_signal[row[j]] = path, path == path
                n_missed += path != path
            for h in range(N_SPECIES):
                _expect(m, MASS[h] / CHARGE[h], number)
                for j in range(_U(m)):
                    expected[h, row[j]], error[h, row[j]] = number[j + _TIME], number[j + _ERROR]
    return n_missed


@bare_kernel
def _timed_kernel(
    time: Floats, time_error: Floats, path: Floats, event_time: Floats, event_time_error: Floats,
    expected: tuple[Floats, ...], expected_error: tuple[Floats, ...], number: Floats, n_sigma: Floats, beta: Floats,
) -> None:  # fmt: skip
    for begin in range(0, len(time), BLOCK):
        n = min(BLOCK, len(time) - begin)
        measured, start = time[begin : begin + n], event_time[begin : begin + n]
        for i in range(_U(n)):
            number[i] = measured[i] - start[i]
        error, start_error = time_error[begin : begin + n], event_time_error[begin : begin + n]
        for i in range(_U(n)):
            number[i + _U(BLOCK)] = error[i] * error[i] + start_error[i] * start_error[i]
        length, speed = path[begin : begin + n], beta[begin : begin + n]
        for i in range(_U(n)):
            speed[i] = length[i] / (C_LIGHT * number[i])
        for h in range(len(expected)):
            place, spread = expected[h][begin : begin + n], expected_error[h][begin : begin + n]
            pull = n_sigma[h, begin : begin + n]
            for i in range(_U(n)):
                pull[i] = (number[i] - place[i]) / math.sqrt(number[i + _U(BLOCK)] + spread[i] * spread[i])
