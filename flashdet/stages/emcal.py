"""Electromagnetic calorimeter: clusters of photons and charged particles, matched to tracks.

Room: configuration, response, kernels, stage. Every particle that reaches the calorimeter makes a cluster of its own:
clusters are not merged, hadronic showers and material in front of the calorimeter are left out. Photons and electrons
leave their energy; every other charged particle leaves that of a minimum ionising particle. Neutral hadrons leave none.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import EMCAL, EMCAL_CLUSTER, EVENT, PARTICLE, TRACK, for_stage
from flashdet.config import Energy, EnergyOrZero, LengthOrZero, LengthRootEnergy, RootEnergy, StageConfig, StrictModel
from flashdet.event import EventBatch, Table
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import normals
from flashdet.rng import Draw
from flashdet.species import SPECIES
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import CHARGE, MASS, by_species, log_momentum_variance, rigidity
from flashdet.stages.surface import CYLINDER, Shape, first_crossing, pack

_PARTICLE = ("pdg", "status", "px", "py", "pz", "energy", "vx", "vy", "vz")
_TRACK = (
    *("particle_index", "tgl", "q_over_pt", "cov", "species_true", "charge_true", "mass_true"),
    *("pt_true", "eta_true", "phi_true", "vx_true", "vy_true", "vz_true"),
)
_ELECTRON = SPECIES.index("electron")
#: Slots of the random numbers of a particle.
_SLOT_ENERGY, _SLOT_POSITION = 0, 1
#: Mean and standard deviation of the Moyal distribution in units of its width: Euler's gamma + ln 2 and pi/sqrt(2).
_MOYAL_MEAN, _MOYAL_SIGMA = 1.2703628454614782, 2.221441469079183


# --- configuration ---------------------------------------------------------------------------------------------------
class EnergyResolution(StrictModel):
    """sigma(E)/E = sqrt((a/E)^2 + b^2/E + c^2); the defaults are those of DelphesO2's ``ECALdetector``."""

    a: EnergyOrZero = "2 MeV"  # type: ignore[assignment]
    """Noise."""
    b: RootEnergy = "0.02 GeV^0.5"  # type: ignore[assignment]
    """Fluctuations of the shower."""
    c: float = Field(default=0.01, ge=0)
    """Constant term."""


class PositionResolution(StrictModel):
    """sigma = sqrt(A^2 + B^2/E) in both directions of the surface; the defaults are DelphesO2's."""

    A: LengthOrZero = "0.15 cm"  # type: ignore[assignment]
    """Constant term."""
    B: LengthRootEnergy = "0.30 cm GeV^0.5"  # type: ignore[assignment]
    """Term that falls with the energy."""


class Mip(StrictModel):
    """Energy of a minimum ionising particle of charge 1.

    The defaults are for 20 cm of lead tungstate: 10.2 MeV/cm (PDG 2024, atomic and nuclear properties), and the width
    xi = 0.1535 MeV cm2/g Z/A rho x of Landau's theory (PDG 2024, 34.2.9).
    """

    energy: Energy = "204 MeV"  # type: ignore[assignment]
    """Most probable energy."""
    width: EnergyOrZero = "10 MeV"  # type: ignore[assignment]
    """Scale of the Moyal distribution around it."""


class EMCalConfig(StageConfig):
    """Configuration of the calorimeter."""

    shape: Shape
    """Front surfaces."""
    energy_resolution: EnergyResolution = EnergyResolution()
    """Energy resolution."""
    position_resolution: PositionResolution = PositionResolution()
    """Position resolution."""
    threshold: EnergyOrZero = "50 MeV"  # type: ignore[assignment]
    """Clusters with a measured energy up to this are lost."""
    mip: Mip = Mip()
    """Response to charged particles other than electrons."""


# --- physics and kernels ---------------------------------------------------------------------------------------------
@inline
def energy_variance(energy: float, response: NDArray) -> float:
    """Variance of a measured energy, a^2 + b^2 E + c^2 E^2 [GeV2]; `response` starts with a, b, c."""
    return float(response[0] ** 2 + response[1] ** 2 * energy + (response[2] * energy) ** 2)


@inline
def mip_energy(kinetic: float, charge2: float, deviation: float, response: NDArray) -> float:
    """Energy that a charged particle leaves by ionisation [GeV].

    The most probable energy grows with the square of the charge (Bethe formula); a slow particle stops and leaves its
    kinetic energy. `deviation` is a Moyal variable, or its mean.
    """
    return float(min(charge2 * (response[5] + response[6] * deviation), kinetic))


@kernel
def make_clusters(
    state: NDArray[np.float64],
    kind: NDArray[np.float64],
    index: NDArray[np.int64],
    event_key: NDArray[np.uint64],
    key: np.uint64,
    surfaces: NDArray[np.float64],
    response: NDArray[np.float64],
    surface: NDArray[np.int8],
    cluster: NDArray[np.float64],
) -> None:
    """Send particles to the calorimeter and measure them.

    The energy is drawn from a Gaussian around the energy left. The energy left by ionisation follows the distribution
    of J. E. Moyal (Phil. Mag. 46 (1955) 263), of which -ln(g^2) is a sample if g is a standard normal number. The
    position is moved in both directions of the surface: z and the circumference of a cylinder, x and y of a disc.

    Parameters
    ----------
    state : (6, n) float64
        x, y, z [cm], azimuth and pz/pt of the momentum, curvature [1/cm] at the production vertex.
    kind : (3, n) float64
        Energy, kinetic energy [GeV], and the squared charge of ionising particles, 0 for photons and electrons.
    index : (n,) int64
        Place of the particle in its event.
    event_key : (n,) uint64
        Random key of its event.
    key : uint64
        Key of the stage.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    response : (8,) float64
        a, b, c, A, B, MIP energy, MIP width, threshold.
    surface : (n,) int8
        Out: surface that is reached, -1 if none.
    cluster : (6, n) float64
        Out: energy, its error, x, y, z, error of the position [GeV, cm]; NaN without a cluster.
    """
    for i in range(len(index)):
        cluster[:, i] = np.nan
        x, y, z, k = state[0, i], state[1, i], state[2, i], state[5, i]
        hit, _, x, y, z, _ = first_crossing(x, y, z, state[3, i], state[4, i], k, surfaces)
        surface[i] = hit
        if hit < 0:
            continue
        noise, ionisation = normals(key, event_key[i], index[i], _SLOT_ENERGY)
        left = kind[0, i]
        if kind[2, i] > 0.0:
            left = mip_energy(kind[1, i], kind[2, i], -math.log(ionisation * ionisation), response)
        energy = left + noise * math.sqrt(energy_variance(left, response))
        if not energy > response[7]:
            continue
        move_1, move_2 = normals(key, event_key[i], index[i], _SLOT_POSITION)
        error = math.sqrt(response[3] ** 2 + response[4] ** 2 / energy)
        if surfaces[hit, 0] == CYLINDER:
            phi = math.atan2(y, x) + move_1 * error / surfaces[hit, 1]
            x, y, z = surfaces[hit, 1] * math.cos(phi), surfaces[hit, 1] * math.sin(phi), z + move_2 * error
        else:
            x, y = x + move_1 * error, y + move_2 * error
        cluster[0, i], cluster[1, i] = energy, math.sqrt(energy_variance(energy, response))
        cluster[2, i], cluster[3, i], cluster[4, i], cluster[5, i] = x, y, z, error


@kernel
def compare_hypotheses(
    tgl: NDArray[np.float64],
    q_over_pt: NDArray[np.float64],
    cov: NDArray[np.float64],
    surface: NDArray[np.int8],
    energy: NDArray[np.float64],
    response: NDArray[np.float64],
    mass: NDArray[np.float64],
    charge: NDArray[np.float64],
    expected: NDArray[np.float64],
    error: NDArray[np.float64],
    n_sigma: NDArray[np.float64],
) -> None:
    """Expected energy, its width and the distance of the measured energy to it, for every species.

    An electron of momentum p is expected at E = sqrt(p^2 + m^2) with the resolution at E and dE = (p^2/E) dp/p from the
    track; any other species at the mean energy left by ionisation with the standard deviation of its distribution.
    Outputs are (n_species, n) float64; rows of tracks that do not reach a surface are NaN.
    """
    for i in range(len(tgl)):
        if surface[i] < 0:
            expected[:, i] = np.nan
            error[:, i] = np.nan
            n_sigma[:, i] = np.nan
            continue
        r = rigidity(tgl[i], q_over_pt[i])
        relative2 = log_momentum_variance(tgl[i], q_over_pt[i], cov[i])
        for h in range(len(mass)):
            p2 = (charge[h] * r) ** 2
            total = math.sqrt(p2 + mass[h] * mass[h])
            if h == _ELECTRON:
                e = total
                spread2 = p2 * p2 / (total * total) * relative2
            else:
                charge2 = charge[h] * charge[h]
                kinetic = p2 / (total + mass[h])
                e = mip_energy(kinetic, charge2, _MOYAL_MEAN, response)
                spread2 = 0.0 if e == kinetic else (charge2 * response[6] * _MOYAL_SIGMA) ** 2
            expected[h, i] = e
            error[h, i] = math.sqrt(energy_variance(e, response) + spread2)
            n_sigma[h, i] = (energy[i] - e) / error[h, i]


# --- stage -----------------------------------------------------------------------------------------------------------
class EMCal(Stage):
    """Measure photons and charged particles in the calorimeter.

    Photons are final-state particles (status 1) of the generator record that fly straight from their production vertex
    through a surface; charged particles are the rows of ``track`` on their true helix. ``e_over_p`` divides by the
    rigidity p/|z|, which is what the tracker measures. A particle whose measured energy stays below the threshold has
    no cluster and is counted. ``n_sigma`` of ionising species takes mean and standard deviation of a skewed
    distribution.
    """

    kind = "emcal"
    Config = EMCalConfig
    config: EMCalConfig

    def __init__(self, name: str, config: EMCalConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = (
            *(c for c in EVENT if c.name == "key"),
            *(c for c in PARTICLE if c.name in _PARTICLE),
            *(c for c in TRACK if c.name in _TRACK),
        )
        self.writes = for_stage((*EMCAL, *EMCAL_CLUSTER), self.kind, name)
        e, p, m = config.energy_resolution, config.position_resolution, config.mip
        self._response = np.array([e.a, e.b, e.c, p.A, p.B, m.energy, m.width, config.threshold], np.float64)
        self._surfaces = pack(config.shape)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see :class:`flashdet.stages.base.Stage`.

        Counts: photons and tracks that reach a surface and stay below the threshold.
        """
        photons, tracks = _photons(batch), _tracks(batch, float(self.setup.magnetic_field))
        state, kind, index, event = (np.concatenate([a, b], axis=-1) for a, b in zip(photons, tracks, strict=True))
        surface, cluster = np.empty(len(index), np.int8), np.empty((6, len(index)))
        event_key = batch["event"]["key"][event]
        make_clusters(state, kind, index, event_key, draw.key, self._surfaces, self._response, surface, cluster)
        n_photons = len(photons[2])
        has_cluster = ~np.isnan(cluster[0])
        track_index = np.full(len(index), -1)
        offsets = batch["track"].offsets
        track_index[n_photons:] = np.arange(offsets[-1]) - offsets[tracks[3]]
        clusters, row = self._cluster_table(
            batch.n_events, has_cluster, event, index, track_index, surface, cluster, kind[0]
        )
        lost = (surface >= 0) & ~has_cluster
        counts = {
            "photons below threshold": int(lost[:n_photons].sum()),
            "tracks below threshold": int(lost[n_photons:].sum()),
        }
        mine = self._track_table(batch["track"], surface[n_photons:], cluster[:2, n_photons:], row[n_photons:])
        return StageOutput((mine, clusters), counts)

    def _cluster_table(
        self,
        n_events: int,
        has_cluster: NDArray[np.bool_],
        event: NDArray[np.int64],
        index: NDArray[np.int64],
        track_index: NDArray[np.int64],
        surface: NDArray[np.int8],
        cluster: NDArray[np.float64],
        energy_true: NDArray[np.float64],
    ) -> tuple[Table, NDArray[np.int32]]:
        """Clusters event by event, photons before tracks, and the row within its event of each particle's cluster."""
        made = np.flatnonzero(has_cluster)
        order = made[np.argsort(event[made], kind="stable")]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(event[made], minlength=n_events))])
        row = np.full(len(event), -1, np.int32)
        row[order] = np.arange(len(order)) - offsets[event[order]]
        energy, energy_error, x, y, z, position_error = np.ascontiguousarray(cluster[:, order])
        columns = {
            "particle_index": index[order].astype(np.int32),
            "track_index": track_index[order].astype(np.int32),
            "surface": surface[order],
            "energy": energy,
            "energy_error": energy_error,
            "x": x,
            "y": y,
            "z": z,
            "position_error": position_error,
            "eta": np.arcsinh(z / np.hypot(x, y)),
            "phi": np.arctan2(y, x),
            "energy_true": energy_true[order],
        }
        return Table(f"{self.name}_cluster", offsets, columns), row

    def _track_table(
        self, track: Table, surface: NDArray[np.int8], measured: NDArray[np.float64], row: NDArray[np.int32]
    ) -> Table:
        """Match of each track, with the expectations of all species."""
        tgl, q_over_pt, n = track["tgl"], track["q_over_pt"], track.n_rows
        energy, energy_error = np.ascontiguousarray(measured)
        expected, error, n_sigma = (np.empty((len(SPECIES), n)) for _ in range(3))
        compare_hypotheses(
            *(tgl, q_over_pt, track["cov"], surface, energy, self._response, MASS, CHARGE),
            *(expected, error, n_sigma),
        )
        columns = {
            "has_acceptance": surface >= 0,
            "has_signal": row >= 0,
            "cluster_index": row,
            "energy": energy,
            "energy_error": energy_error,
            "e_over_p": energy * np.abs(q_over_pt) / np.sqrt(1.0 + tgl * tgl),
            **by_species("expected", expected),
            **by_species("expected_error", error),
            **by_species("n_sigma", n_sigma),
        }
        return Table(self.name, track.offsets, columns)


_Objects = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def _photons(batch: EventBatch) -> _Objects:
    """Final-state photons of the generator record: state, kind, index and event, as `make_clusters` takes them."""
    p = batch["particle"]
    rows = np.flatnonzero((p["pdg"] == 22) & (p["status"] == 1))
    event = np.searchsorted(p.offsets, rows, side="right") - 1
    px, py, pz, energy, vx, vy, vz = (p[c][rows] for c in ("px", "py", "pz", "energy", "vx", "vy", "vz"))
    with np.errstate(divide="ignore", invalid="ignore"):
        # a photon along the beam has no finite slope and reaches no surface
        state = np.stack([vx, vy, vz, np.arctan2(py, px), pz / np.hypot(px, py), np.zeros(len(rows))])
    return state, np.stack([energy, energy, np.zeros(len(rows))]), rows - p.offsets[event], event


def _tracks(batch: EventBatch, field: float) -> _Objects:
    """Accepted tracks with their true helix: state, kind, index and event, as `make_clusters` takes them."""
    t = batch["track"]
    pt, charge, mass = t["pt_true"], t["charge_true"].astype(np.float64), t["mass_true"]
    tgl = np.sinh(t["eta_true"])
    k = curvature(1.0, field) * charge / pt
    state = np.stack([t["vx_true"], t["vy_true"], t["vz_true"], t["phi_true"], tgl, k])
    p2 = pt * pt * (1.0 + tgl * tgl)
    energy = np.sqrt(p2 + mass * mass)
    charge2 = np.where(t["species_true"] == _ELECTRON, 0.0, charge * charge)
    return state, np.stack([energy, p2 / (energy + mass), charge2]), t["particle_index"].astype(np.int64), t.event_index
