"""Energy loss in silicon layers (time over threshold): the truncated mean of a track, and what to expect of it.

The signal of each layer is made from the generated particle with the tables of :mod:`flashdet.stages.truncated`, which
follow the straggling model of :mod:`flashdet.stages.straggling`; the path lengths and the expectations come from the
measured track. Time over threshold is taken as proportional to the charge, so the measured quantity is an energy per
path length; clusters and the shape of pulses are not simulated, nor is the energy that the particle loses on its way.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import EVENT, TOT, TRACK, for_stage, pick
from flashdet.config import EnergyOrZero, Length, StageConfig
from flashdet.event import EventBatch, Table
from flashdet.kernels.helix import curvature, sinc
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import uniforms
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES, by_species, log_momentum_variance, rigidity
from flashdet.stages.surface import CYLINDER, Shape, pack
from flashdet.stages.truncated import N_PATH, N_QUANTILE, N_SPEED, TAIL, LossTables, loss_tables

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOG_MASS, _LOG_CHARGE = np.log(MASS), np.log(CHARGE)
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
#: 1 cm in um, 1 GeV in eV.
_UM_PER_CM, _EV_PER_GEV = 1e4, 1e9
#: Above this |sin| of the incidence in the transverse plane a cylinder gives no usable signal: the path is then more
#: than five times the thickness.
_MAX_SINE = 0.98
#: Stored quantiles of one distribution.
_N_NODES = 2 * (N_QUANTILE + 1)


# --- configuration ---------------------------------------------------------------------------------------------------
class TotConfig(StageConfig):
    """Energy loss in the layers of a silicon tracker."""

    shape: Shape
    """The layers: cylinders and discs, all with the same sensor."""
    thickness: Length
    """Sensitive thickness of the silicon."""
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Probability that a crossing makes a hit, before the threshold."""
    noise: EnergyOrZero = "0.36 keV"  # type: ignore[assignment]
    """Standard deviation of the noise of a layer's signal; 100 electrons at 3.6 eV each are 0.36 keV."""
    gain_spread: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Relative spread of the gain from pixel to pixel."""
    threshold: EnergyOrZero = "0.4 keV"  # type: ignore[assignment]
    """Layers with a smaller signal make no hit."""
    kept_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Part of a track's signals, the lowest ones, that enter the truncated mean."""
    min_layers: Annotated[int, Field(ge=1)] = 3
    """Tracks with fewer hits have no signal."""


# --- physics ---------------------------------------------------------------------------------------------------------
def make_signals(
    batch: EventBatch, bz: float, surfaces: Floats, config: TotConfig, tables: LossTables, draw: Draw
) -> tuple[NDArray[np.int8], Floats, Floats, int]:
    """Let the generated particles cross the layers, and take the truncated means.

    Parameters
    ----------
    batch : EventBatch
        Tables ``event`` (``key``) and ``track``.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    config : TotConfig
        Sensor.
    tables : LossTables
        Of that sensor.
    draw : Draw
        Random numbers.

    Returns
    -------
    n_layers : (n,) int8
        Hits above the threshold.
    signal : (n,) float64
        Truncated mean of the energy over path length [GeV/cm], NaN with too few hits.
    log_path : (n,) float64
        Mean over the hits of ln(path length in the sensor [cm]).
    n_clamped : int
        Particles slower than the tables, which hold from p/m = 0.08 to the plateau.
    """
    track = batch["track"]
    n = track.n_rows
    n_layers, signal, log_path = np.zeros(n, np.int8), np.full(n, np.nan), np.zeros(n)
    n_kept = np.ceil(np.arange(len(surfaces) + 1) * config.kept_fraction - 1e-9).astype(np.int64)
    n_clamped = _signal_kernel(
        track.offsets, batch["event"]["key"], track["particle_index"], track["vx_true"], track["vy_true"],
        track["vz_true"], track["pt_true"], track["eta_true"], track["phi_true"], track["mass_true"],
        track["charge_true"], track["tgl"], track["q_over_pt"], float(bz), surfaces, float(config.thickness),
        float(config.efficiency), config.min_layers, n_kept, tables.speed, tables.path, tables.chance.ravel(),
        tables.quantile.ravel(), draw.key, n_layers, signal, log_path,
    )  # fmt: skip
    return n_layers, signal, log_path, int(n_clamped)


def compare(
    batch: EventBatch, n_layers: NDArray[np.int8], signal: Floats, log_path: Floats, tables: LossTables
) -> tuple[Floats, Floats, Floats, Floats]:
    """Expected truncated mean under every hypothesis, its width, and how far the signal is from it.

    The width is that of the truncated mean of as many layers, and the error of the momentum times the slope of the
    expectation.

    Parameters
    ----------
    batch : EventBatch
        Table ``track`` with ``tgl q_over_pt cov``.
    n_layers, signal, log_path : (n,) arrays
        From `make_signals`.
    tables : LossTables
        Of the sensor.

    Returns
    -------
    expected, expected_error : (n_species, n) float64
        Expectation and width [GeV/cm], NaN without a signal.
    n_sigma : (n_species, n) float64
        (signal - expected)/width.
    log_likelihood : (n_species, n) float64
        Logarithm of the Gaussian density of the signal [1/(GeV/cm)].
    """
    track = batch["track"]
    shape = (N_SPECIES, len(signal))
    expected, error, n_sigma, log_likelihood = (np.empty(shape) for _ in range(4))
    _compare_kernel(
        track["tgl"], track["q_over_pt"], track["cov"], n_layers, signal, log_path, tables.speed, tables.path,
        tables.moments.ravel(), expected, error, n_sigma, log_likelihood,
    )  # fmt: skip
    return expected, error, n_sigma, log_likelihood


# --- kernels ---------------------------------------------------------------------------------------------------------
@inline
def _node(axis: Floats, value: float, n: int) -> tuple[int, float]:
    """Lower node and weight of the upper one on a regular axis; clamped at both ends."""
    place = min(max((value - axis[0]) * axis[1], 0.0), n - 1.0)
    lower = min(int(place), n - 2)
    return lower, place - lower


@inline
def _sample(quantile: Floats, place: int, row: int, a: float, b: float, u: float) -> float:
    """Energy over path at quantile `u`, between the four neighbouring distributions.

    `quantile` is flat, the distributions start at `place`, one after the other along the path and `row` apart along the
    speed: one index instead of three saves a third of the time.
    """
    where, first = u * N_QUANTILE, 0
    if u > 1.0 - TAIL:
        where, first = (u - (1.0 - TAIL)) / TAIL * N_QUANTILE, N_QUANTILE + 1
    k = min(int(where), N_QUANTILE - 1)
    c = where - k
    p = place + first + k
    q = p + row
    low = (1.0 - b) * ((1.0 - c) * quantile[p] + c * quantile[p + 1])
    low += b * ((1.0 - c) * quantile[p + _N_NODES] + c * quantile[p + _N_NODES + 1])
    high = (1.0 - b) * ((1.0 - c) * quantile[q] + c * quantile[q + 1])
    high += b * ((1.0 - c) * quantile[q + _N_NODES] + c * quantile[q + _N_NODES + 1])
    result: float = (1.0 - a) * low + a * high
    return result


@inline
def _crosses_cylinder(
    radius: float, half_length: float, start: float, s_start: float, d: float, h: float, k: float, z: float, tgl: float
) -> bool:
    """Whether the way out meets a cylinder within its length.

    The particle starts at distance `start` from the axis and at `z`; `d` is the signed distance of closest approach,
    h = 1 + k d, `s_start` the arc from there to the start. A point at radius r lies a chord c from the closest point,
    with c^2 = (r^2 - d^2)/h, see `flashdet.kernels.helix.to_cylinder`.
    """
    if start >= radius or not 1.0 + h > abs(k) * radius:
        return False
    square = (radius - d) * (radius + d) / h
    q = min(0.25 * k * k * square, 1.0)
    if q < 0.09:
        # the series of asin(x)/x is good to 1e-7 and saves the arcsine
        stretch = 1.0 + q * (1 / 6 + q * (3 / 40 + q * (15 / 336 + q * (105 / 3456))))
    else:
        x = math.sqrt(q)
        stretch = math.asin(x) / x
    return abs(z + tgl * (math.sqrt(square) * stretch - s_start)) <= half_length


@inline
def _crosses_disc(r_min: float, r_max: float, s: float, d: float, h: float, k: float) -> bool:
    """Whether a point `s` along the arc from the closest approach lies on a disc, in the first half turn."""
    half = 0.5 * k * s
    if abs(half) > 0.5 * math.pi:
        return False
    # sin(x)/x > 1 - x^2/6: most particles of the barrel are told from those of the discs without a sine
    least = s * (1.0 - half * half / 6.0)
    if d * d + h * least * least > r_max * r_max:
        return False
    chord = s * sinc(half)
    square = d * d + h * chord * chord
    return r_min * r_min <= square <= r_max * r_max


@inline
def _log_inverse_cosine(sine: float) -> float:
    """Logarithm of 1/cos of an angle with this sine, to 1e-5."""
    q = sine * sine
    if q < 0.1:
        return 0.5 * q * (1.0 + q * (0.5 + q * (1 / 3 + 0.25 * q)))
    return -0.5 * math.log(1.0 - q)


@inline
def _lowest(values: Floats, n: int, k: int) -> float:
    """Mean of the k lowest of the first n values, which are moved to the front.

    One pass per kept value without a branch: an insertion sort takes 40 ns more because its branches are guessed wrong.
    """
    total = 0.0
    for i in range(k):
        least = values[n - 1]
        for j in range(n - 2, i - 1, -1):
            other = values[j]
            values[j + 1] = max(least, other)
            least = min(least, other)
        total += least
    return total / k


@kernel
def _signal_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], vx: Floats, vy: Floats,
    vz: Floats, pt: Floats, eta: Floats, phi: Floats, mass: Floats, charge: NDArray[np.int8], tgl: Floats,
    q_over_pt: Floats, bz: float, surfaces: Floats, thickness: float, efficiency: float, min_layers: int,
    n_kept: Integers, speed: Floats, path: Floats, chance: Floats, quantile: Floats, key: np.uint64,
    n_layers: NDArray[np.int8], signal: Floats, log_path: Floats,
) -> int:  # fmt: skip
    log_thickness, step = math.log(thickness), N_PATH * _N_NODES
    values = np.empty(len(surfaces))
    n_clamped = 0
    for event in range(len(event_key)):
        for row in range(offsets[event], offsets[event + 1]):
            slope, k = math.sinh(eta[row]), curvature(charge[row] / pt[row], bz)
            cos_phi, sin_phi = math.cos(phi[row]), math.sin(phi[row])
            along, across = vx[row] * cos_phi + vy[row] * sin_phi, vy[row] * cos_phi - vx[row] * sin_phi
            start, inside = along * along + across * across, 1.0 + k * across
            h = math.sqrt(inside * inside + k * k * along * along)
            d = (k * start + 2.0 * across) / (1.0 + h)
            start = math.sqrt(start)
            # arc from the closest point to the start, off by k^2 along^3/3: 1 mm for 10 cm and 300 MeV in 2 T
            s_start = along / inside if inside > 0.0 else along
            inverse = 1.0 / slope if slope != 0.0 else math.inf
            log_speed = math.log(pt[row] * math.sqrt(1.0 + slope * slope) / mass[row])
            # at the upper end the energy loss is constant: nothing is lost there
            n_clamped += log_speed < speed[0]
            i, a = _node(speed, log_speed, N_SPEED)
            square = float(charge[row]) * float(charge[row])
            log_square = 0.0 if square == 1.0 else math.log(square)
            half_k = 0.5 * curvature(q_over_pt[row], bz)
            log_slope = log_thickness + 0.5 * math.log(1.0 + tgl[row] * tgl[row])
            log_disc = np.nan
            n, sum_log, pair, first, second = 0, 0.0, -1, 0.0, 0.0
            for layer in range(len(surfaces)):
                if surfaces[layer, 0] == CYLINDER:
                    sine = half_k * surfaces[layer, 1]
                    if abs(sine) > _MAX_SINE or not _crosses_cylinder(
                        surfaces[layer, 1], surfaces[layer, 2], start, s_start, d, h, k, vz[row], slope
                    ):
                        continue
                    length = log_slope + _log_inverse_cosine(sine)
                else:
                    s = (surfaces[layer, 1] - vz[row]) * inverse
                    if not s > 0.0 or not _crosses_disc(surfaces[layer, 2], surfaces[layer, 3], s + s_start, d, h, k):
                        continue
                    if math.isnan(log_disc):
                        log_disc = log_slope - math.log(max(abs(tgl[row]), 1e-9))
                    length = log_disc
                if pair != layer // 2:
                    pair = layer // 2
                    first, second = uniforms(key, event_key[event], particle_index[row], pair)
                draw = first if layer % 2 == 0 else second
                j, b = _node(path, length + log_square, N_PATH)
                at = i * N_PATH + j
                above = (1.0 - a) * ((1.0 - b) * chance[at] + b * chance[at + 1])
                above += a * ((1.0 - b) * chance[at + N_PATH] + b * chance[at + N_PATH + 1])
                above *= efficiency
                if draw < above:
                    values[n] = square * _sample(quantile, at * _N_NODES, step, a, b, draw / above)
                    sum_log += length
                    n += 1
            n_layers[row] = n
            if n >= min_layers:
                signal[row] = _lowest(values, n, n_kept[n])
                log_path[row] = sum_log / n
    return n_clamped


@kernel
def _compare_kernel(
    tgl: Floats, q_over_pt: Floats, cov: Floats, n_layers: NDArray[np.int8], signal: Floats, log_path: Floats,
    speed: Floats, path: Floats, moments: Floats, expected: Floats, error: Floats, n_sigma: Floats,
    log_likelihood: Floats,
) -> None:  # fmt: skip
    n_rows = len(signal)
    relative, log_rigidity = np.empty(n_rows), np.empty(n_rows)
    for row in range(n_rows):
        variance = log_momentum_variance(tgl[row], q_over_pt[row], cov[row])
        relative[row] = max(variance, 0.0) * speed[1] * speed[1]
        log_rigidity[row] = math.log(rigidity(tgl[row], q_over_pt[row]))
    # species after species: writing 36 columns track by track takes twice the time
    for hypothesis in range(N_SPECIES):
        shift = _LOG_CHARGE[hypothesis] - _LOG_MASS[hypothesis]
        log_square = 2.0 * _LOG_CHARGE[hypothesis]
        square = CHARGE[hypothesis] * CHARGE[hypothesis]
        for row in range(n_rows):
            i, a = _node(speed, log_rigidity[row] + shift, N_SPEED)
            j, b = _node(path, log_path[row] + log_square, N_PATH)
            at = ((n_layers[row] * N_SPEED + i) * N_PATH + j) * 2
            up = at + 2 * N_PATH
            low = (1.0 - b) * moments[at] + b * moments[at + 2]
            high = (1.0 - b) * moments[up] + b * moments[up + 2]
            own = (1.0 - a) * ((1.0 - b) * moments[at + 1] + b * moments[at + 3])
            own += a * ((1.0 - b) * moments[up + 1] + b * moments[up + 3])
            value = square * ((1.0 - a) * low + a * high)
            variance = square * square * (own * own + (high - low) * (high - low) * relative[row])
            sigma = math.sqrt(variance)
            pull = (signal[row] - value) / sigma
            if math.isnan(signal[row]):
                value, sigma, pull, variance = np.nan, np.nan, np.nan, 1.0
            expected[hypothesis, row], error[hypothesis, row] = value, sigma
            n_sigma[hypothesis, row] = pull
            log_likelihood[hypothesis, row] = -0.5 * (pull * pull + math.log(variance)) - _HALF_LOG_TWO_PI


# --- stage -----------------------------------------------------------------------------------------------------------
_MEASURED = ("tgl", "q_over_pt", "cov")
_TRUTH = (
    "particle_index", "vx_true", "vy_true", "vz_true", "pt_true", "eta_true", "phi_true", "mass_true", "charge_true",
)  # fmt: skip


class Tot(Stage):
    """Measure the energy loss in a silicon tracker; parameters as in `flashdet.stages.base.Stage`."""

    kind: ClassVar[str] = "tot"
    Config: ClassVar[type[StageConfig]] = TotConfig
    config: TotConfig

    def __init__(self, name: str, config: TotConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self._surfaces = pack(config.shape)
        self._tables: LossTables = loss_tables(
            config.thickness * _UM_PER_CM, len(self._surfaces), config.kept_fraction, config.noise * _EV_PER_GEV,
            config.gain_spread, config.threshold * _EV_PER_GEV,
        )  # fmt: skip
        self.reads = (*pick(EVENT, "key"), *pick(TRACK, *_MEASURED, *_TRUTH))
        self.writes = for_stage(TOT, self.kind, name)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see `flashdet.stages.base.Stage`.

        Counts: tracks with hits but too few for a signal, and particles too slow for the tables.
        """
        config = self.config
        n_layers, signal, log_path, n_clamped = make_signals(
            batch, self.setup.magnetic_field, self._surfaces, config, self._tables, draw
        )
        expected, error, n_sigma, log_likelihood = compare(batch, n_layers, signal, log_path, self._tables)
        columns: dict[str, NDArray[Any]] = {
            "has_signal": n_layers >= config.min_layers,
            "n_layers": n_layers,
            "signal": signal,
            **by_species("expected", expected),
            **by_species("expected_error", error),
            **by_species("n_sigma", n_sigma),
            **by_species("log_likelihood", log_likelihood),
        }
        counts = {
            "tracks with too few layers": int(np.count_nonzero((n_layers > 0) & (n_layers < config.min_layers))),
            "out of range: p/m below the tables of energy loss, edge used": n_clamped,
        }
        return StageOutput((Table(self.name, batch["track"].offsets, columns),), counts)
