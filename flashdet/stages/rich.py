"""Ring-imaging Cherenkov detector: photons, the angle of the ring, and the expected angle under every hypothesis.

The photons and the angle are made from the generated particle; the expectation uses measured values only. The ring is
described by its number of photons and its angle; where single photons land is not simulated. Surfaces are in
:mod:`flashdet.stages.surface`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import EVENT, RICH, TRACK, for_stage, pick
from flashdet.config import Angle, InverseLength, Length, StageConfig
from flashdet.event import EventBatch, Table
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import normals, poisson
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES, by_species, log_momentum_variance, rigidity
from flashdet.stages.surface import Shape, first_crossing, pack

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a track.
_SLOT_PHOTONS, _SLOT_ANGLE = 0, 1


# --- configuration ---------------------------------------------------------------------------------------------------
class RichConfig(StageConfig):
    """A ring-imaging Cherenkov detector. The defaults are the aerogel barrel of DelphesO2 (``RICHdetector.hh``)."""

    shape: Shape
    """Its radiators: one surface, or a list."""
    refractive_index: Annotated[float, Field(gt=1)] = 1.03
    """Index n of the radiator; a particle radiates above p = m/sqrt(n^2 - 1)."""
    radiator_thickness: Length = "2 cm"  # type: ignore[assignment]
    """Path of the particle in the radiator."""
    photon_yield: InverseLength = "490 1/cm"  # type: ignore[assignment]
    """Photons made per length, charge squared and sin^2 of the angle."""
    photon_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Probability that a photon is detected: 0.4 for the barrel of DelphesO2, 0.2 for its forward detector."""
    single_photon_resolution: Angle = "7 mrad"  # type: ignore[assignment]
    """Standard deviation of the angle of one photon."""
    min_photons: Annotated[int, Field(ge=1)] = 3
    """Rings with fewer detected photons are not found."""


# --- physics ---------------------------------------------------------------------------------------------------------
def cherenkov_angle(momentum: Floats, mass: float | Floats, refractive_index: float) -> Floats:
    """Angle of the photons: cos(theta) = 1/(beta n) (Frank and Tamm 1937; PDG review, eq. 34.42 of 2024).

    Parameters
    ----------
    momentum : (n,) float64
        Momentum [GeV].
    mass : float or (n,) float64
        Mass [GeV].
    refractive_index : float
        Index of the radiator.

    Returns
    -------
    (n,) float64
        Angle [rad], NaN below threshold.
    """
    cosine = np.sqrt(1.0 + np.square(mass / momentum)) / refractive_index
    return np.arccos(cosine, where=cosine < 1.0, out=np.full(np.shape(cosine), np.nan))


def mean_photons(angle: Floats, charge: float | Floats, config: RichConfig) -> Floats:
    """Mean number of detected photons: yield z^2 sin^2(theta) L efficiency (Frank and Tamm 1937).

    Parameters
    ----------
    angle : (n,) float64
        Angle [rad].
    charge : float or (n,) float64
        Charge [e].
    config : RichConfig
        Yield, thickness and efficiency.

    Returns
    -------
    (n,) float64
        NaN where the angle is.
    """
    return _photons_at_right_angle(config) * np.square(charge * np.sin(angle))


def make_rings(
    track: Mapping[str, NDArray[Any]], offsets: Integers, event_key: NDArray[np.uint64], bz: float, surfaces: Floats,
    config: RichConfig, draw: Draw,
) -> tuple[NDArray[np.bool_], NDArray[np.int32], Floats, Floats]:  # fmt: skip
    """Let the generated particles radiate and measure the rings.

    The number of detected photons is one Poisson number, the measured angle one normal number with the error
    resolution/sqrt(photons).

    Parameters
    ----------
    track : mapping of str to array
        Columns of the track table (the ``*_true`` ones and ``particle_index``).
    offsets : (n_events + 1,) int64
        Rows of each event.
    event_key : (n_events,) uint64
        Counter words of the events.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    config : RichConfig
        Radiator and photon detector.
    draw : Draw
        Random numbers.

    Returns
    -------
    has_acceptance : (n,) bool
        True if the particle crosses a radiator.
    n_photons : (n,) int32
        Detected photons.
    angle, angle_error : (n,) float64
        Measured angle and its error [rad], NaN with less than `RichConfig.min_photons`.
    """
    n = len(track["pt_true"])
    has_acceptance, n_photons, angle, error = np.empty(n, np.bool_), np.empty(n, np.int32), np.empty(n), np.empty(n)
    _ring_kernel(
        offsets, event_key, track["particle_index"], track["vx_true"], track["vy_true"], track["vz_true"],
        track["pt_true"], track["eta_true"], track["phi_true"], track["mass_true"], track["charge_true"], float(bz),
        surfaces, config.refractive_index, _photons_at_right_angle(config), config.single_photon_resolution,
        config.min_photons, draw.key, has_acceptance, n_photons, angle, error,
    )  # fmt: skip
    return has_acceptance, n_photons, angle, error


def expect_angles(
    track: Mapping[str, NDArray[Any]], has_acceptance: NDArray[np.bool_], refractive_index: float
) -> tuple[Floats, Floats]:
    """Expected angle and its error for every hypothesis.

    From cos(theta) = E/(n p) follows d theta/d p = m^2/(n E p^2 sin(theta)); the relative error of p comes from the
    covariance of tgl and q/pt.

    Parameters
    ----------
    track : mapping of str to array
        Columns ``tgl q_over_pt cov`` of the track table.
    has_acceptance : (n,) bool
        Rows to fill.
    refractive_index : float
        Index of the radiator.

    Returns
    -------
    expected, expected_error : (n_species, n) float64
        Angles and errors [rad], NaN below threshold and outside the acceptance.
    """
    n = len(has_acceptance)
    expected, error = np.empty((N_SPECIES, n)), np.empty((N_SPECIES, n))
    _expect_kernel(
        has_acceptance, track["tgl"], track["q_over_pt"], track["cov"], refractive_index, expected, error
    )  # fmt: skip
    return expected, error


def pulls(angle: Floats, angle_error: Floats, expected: Floats, expected_error: Floats) -> Floats:
    """Distance to each hypothesis: (angle - expected)/sqrt(angle_error^2 + expected_error^2).

    Parameters
    ----------
    angle, angle_error : (n,) float64
        Measured [rad].
    expected, expected_error : (n_species, n) float64
        Expected [rad].

    Returns
    -------
    (n_species, n) float64
        NaN where an input is.
    """
    n_sigma = np.empty_like(expected)
    _pull_kernel(angle, angle_error, expected, expected_error, n_sigma)
    return n_sigma


def _photons_at_right_angle(config: RichConfig) -> float:
    """Mean detected photons of charge 1, were the angle 90 degrees."""
    return float(config.photon_yield * config.radiator_thickness * config.photon_efficiency)


# --- kernel ----------------------------------------------------------------------------------------------------------
@inline
def _cosine(mass: float, momentum: float, refractive_index: float) -> float:
    ratio = mass / momentum
    return math.sqrt(1.0 + ratio * ratio) / refractive_index


@kernel
def _ring_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], vx: Floats, vy: Floats,
    vz: Floats, pt: Floats, eta: Floats, phi: Floats, mass: Floats, charge: NDArray[np.int8], bz: float,
    surfaces: Floats, refractive_index: float, yield_: float, resolution: float, min_photons: int, key: np.uint64,
    has_acceptance: NDArray[np.bool_], n_photons: NDArray[np.int32], angle: Floats, error: Floats,
) -> None:  # fmt: skip
    for event in range(len(event_key)):
        for i in range(offsets[event], offsets[event + 1]):
            n_photons[i], angle[i], error[i] = 0, np.nan, np.nan
            tgl = math.sinh(eta[i])
            k = curvature(charge[i] / pt[i], bz)
            hit, _, _, _, _, _ = first_crossing(vx[i], vy[i], vz[i], phi[i], tgl, k, surfaces)
            has_acceptance[i] = hit >= 0
            cosine = _cosine(mass[i], pt[i] * math.sqrt(1.0 + tgl * tgl), refractive_index)
            if hit < 0 or not cosine < 1.0:
                continue
            mean = yield_ * (1.0 - cosine * cosine) * charge[i] * charge[i]
            n = poisson(key, event_key[event], particle_index[i], _SLOT_PHOTONS, mean)
            n_photons[i] = n
            if n >= min_photons:
                noise, _ = normals(key, event_key[event], particle_index[i], _SLOT_ANGLE)
                sigma = resolution / math.sqrt(n)
                angle[i], error[i] = math.acos(cosine) + noise * sigma, sigma


@kernel
def _expect_kernel(
    has_acceptance: NDArray[np.bool_], tgl: Floats, q_over_pt: Floats, cov: Floats, refractive_index: float,
    expected: Floats, error: Floats,
) -> None:  # fmt: skip
    for i in range(len(has_acceptance)):
        relative = math.sqrt(max(log_momentum_variance(tgl[i], q_over_pt[i], cov[i]), 0.0))
        r = rigidity(tgl[i], q_over_pt[i])
        for h in range(N_SPECIES):
            ratio = MASS[h] / (CHARGE[h] * r)
            cosine = _cosine(MASS[h], CHARGE[h] * r, refractive_index)
            if has_acceptance[i] and cosine < 1.0:
                expected[h, i] = math.acos(cosine)
                # m^2/(n E p sin) sigma_p/p, with n cos = E/p
                slope = ratio * ratio / (refractive_index**2 * cosine * math.sqrt(1.0 - cosine * cosine))
                error[h, i] = slope * relative
            else:
                expected[h, i], error[h, i] = np.nan, np.nan


@kernel
def _pull_kernel(
    angle: Floats, angle_error: Floats, expected: Floats, expected_error: Floats, n_sigma: Floats
) -> None:  # fmt: skip
    for h in range(expected.shape[0]):
        for i in range(expected.shape[1]):
            variance = angle_error[i] * angle_error[i] + expected_error[h, i] * expected_error[h, i]
            n_sigma[h, i] = (angle[i] - expected[h, i]) / math.sqrt(variance)


# --- stage -----------------------------------------------------------------------------------------------------------
_MEASURED = ("tgl", "q_over_pt", "cov")
_TRUTH = (
    "particle_index", "vx_true", "vy_true", "vz_true", "pt_true", "eta_true", "phi_true", "mass_true", "charge_true",
)  # fmt: skip


class Rich(Stage):
    """Simulate a RICH; parameters as in `flashdet.stages.base.Stage`."""

    kind: ClassVar[str] = "rich"
    Config: ClassVar[type[StageConfig]] = RichConfig
    config: RichConfig

    def __init__(self, name: str, config: RichConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self._surfaces = pack(config.shape)
        self.reads = (*pick(EVENT, "key"), *pick(TRACK, *_MEASURED, *_TRUTH))
        self.writes = for_stage(RICH, self.kind, name)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see `flashdet.stages.base.Stage`.

        Counts: particles that radiated fewer photons than a ring needs.
        """
        track, config = batch["track"], self.config
        has_acceptance, n_photons, angle, angle_error = make_rings(
            track, track.offsets, batch["event"]["key"], self.setup.magnetic_field, self._surfaces, config, draw
        )
        expected, expected_error = expect_angles(track, has_acceptance, config.refractive_index)
        columns: dict[str, NDArray[Any]] = {
            "has_acceptance": has_acceptance,
            "has_signal": n_photons >= config.min_photons,
            "angle": angle,
            "angle_error": angle_error,
            "n_photons": n_photons,
            **by_species("expected", expected),
            **by_species("expected_error", expected_error),
            **by_species("n_sigma", pulls(angle, angle_error, expected, expected_error)),
        }
        n_faint = int(np.count_nonzero((n_photons > 0) & (n_photons < config.min_photons)))
        return StageOutput((Table(self.name, track.offsets, columns),), {"rings with too few photons": n_faint})
