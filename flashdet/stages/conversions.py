"""Photon conversions: photons that make an electron and a positron in the material of the tracker.

Here are the material, the probability and the kinematics of the pair. The pairs are a table of their own that
`propagate` adds to the charged particles, so that they are tracked like any other. The generator record is not changed:
the photons stay in it, and what sees photons later (the calorimeter) leaves out those whose pair was made.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import CONVERSIONS_PAIR, EVENT, PARTICLE, for_stage, pick
from flashdet.config import StageConfig
from flashdet.errors import StageError
from flashdet.event import EventBatch, Table
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.material import SILICON_X0, shell_factor
from flashdet.kernels.philox import uniforms
from flashdet.layout import read_layout
from flashdet.rng import Draw
from flashdet.species import ELECTRON_MASS
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.rows import empty_columns
from flashdet.stages.surface import CYLINDER, DISC, crossing
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]

#: Slots of the random numbers of a photon.
_SLOT_DEPTH_SHARE, _SLOT_ANGLE, _SLOT_AZIMUTH = range(3)
#: Pair production on silicon by J. H. Hubbell, H. A. Gimm, I. Overbo, J. Phys. Chem. Ref. Data 9 (1980) 1023, as fitted
#: for Geant (Physics Reference Manual, gamma conversion): sigma = Z (Z + 1) (F1 + F2 Z + F3/Z) microbarn, F polynomials
#: in X = ln(E/m) with these coefficients, from 1.5 MeV to 100 GeV. Here they are summed for Z = 14.
_F1 = (8.7842e2, -1.9625e3, 1.2949e3, -2.0028e2, 1.2575e1, -2.8333e-1)
_F2 = (-1.0342e1, 1.7692e1, -8.2381, 1.3063, -9.0815e-2, 2.3586e-3)
_F3 = (-4.5263e2, 1.1161e3, -8.6749e2, 2.1773e2, -2.0467e1, 6.5372e-1)
_Z = 14.0
_F = np.array([a + _Z * b + c / _Z for a, b, c in zip(_F1, _F2, _F3, strict=True)])
_E_LOW, _E_HIGH = 1.5e-3, 100.0
#: Pairs per radiation length at high energy (Y.-S. Tsai, Rev. Mod. Phys. 46 (1974) 815; PDG review eq. 34.32).
_HIGH_ENERGY = 7.0 / 9.0
#: Angles in units of m/E: d u (exp(-a u) + d exp(-3 a u)), Tsai (1974, 1977) as in the Geant manual.
_A, _D = 0.625, 27.0


# --- configuration ---------------------------------------------------------------------------------------------------
class ConversionsConfig(StageConfig):
    """Configuration of the conversions."""

    layout: str = Field(min_length=1)
    """Tracker layout whose layers are the material: name of a shipped one or path."""


# --- kernels ---------------------------------------------------------------------------------------------------------
class Photons(NamedTuple):
    """Columns of ``particle`` that are read."""

    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    px: Floats
    py: Floats
    pz: Floats
    energy: Floats
    vx: Floats
    vy: Floats
    vz: Floats
    vt: Floats


class Pairs(NamedTuple):
    """Columns of :data:`flashdet.columns.CONVERSIONS_PAIR`, in its order."""

    particle_index: NDArray[np.int32]
    photon_index: NDArray[np.int32]
    layer: NDArray[np.int16]
    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    px: Floats
    py: Floats
    pz: Floats
    mass: Floats
    vx: Floats
    vy: Floats
    vz: Floats
    vt: Floats


@inline
def pairs_per_length(energy: float) -> float:
    """Mean number of pairs per radiation length of silicon: 7/9 times the cross section over that at 100 GeV.

    Below 1.5 MeV it is 0; from 100 GeV on 7/9.
    """
    if energy < _E_LOW:
        return 0.0
    return _HIGH_ENERGY * _polynomial(min(energy, _E_HIGH)) / _polynomial(_E_HIGH)


@inline
def _polynomial(energy: float) -> float:
    x = math.log(energy / ELECTRON_MASS)
    return float(_F[0] + x * (_F[1] + x * (_F[2] + x * (_F[3] + x * (_F[4] + x * _F[5])))))


@inline
def energy_share(u: float) -> float:
    """Part x of the energy for one of the two, of density 1 - 4/3 x (1 - x) (PDG review eq. 34.31, full screening).

    The distribution function is a cubic in x - 1/2 with one real root.
    """
    return 0.5 + 2.0 * math.sqrt(0.5) * math.sinh(math.asinh(1.75 * (u - 0.5) * math.sqrt(2.0)) / 3.0)


@inline
def _thickness(
    i: int, x: float, y: float, z: float, phi: float, tgl: float, surfaces: Floats, layers: Floats
) -> tuple[float, float, float, float, float]:
    """Radiation lengths of a layer on a straight line (0 if it misses), and where: path, x, y, z."""
    is_reached, path, hx, hy, hz, _ = crossing(x, y, z, phi, tgl, 0.0, surfaces, i)
    if not is_reached:
        return 0.0, path, hx, hy, hz
    radius = math.sqrt(hx * hx + hy * hy)
    if surfaces[i, 0] == CYLINDER:
        if not layers[i, 1] <= hz <= layers[i, 2]:
            return 0.0, path, hx, hy, hz
        cosine = abs(hx * math.cos(phi) + hy * math.sin(phi)) / radius
        factor = shell_factor(cosine, layers[i, 0] * SILICON_X0 / radius) * math.sqrt(1.0 + tgl * tgl)
    else:
        if not layers[i, 1] <= radius <= layers[i, 2]:
            return 0.0, path, hx, hy, hz
        factor = math.sqrt(1.0 + 1.0 / (tgl * tgl))
    return layers[i, 0] * factor, path, hx, hy, hz


@inline
def _convert(
    px: float, py: float, pz: float, energy: float, u: float, first: float, second: float, which: float, azimuth: float,
    sign: int,
) -> tuple[float, float, float]:  # fmt: skip
    """Momentum of the positron (`sign` 1) or electron (-1) of a pair.

    Both leave at angles u m/E to the photon, on opposite sides; u is a sum of two exponential numbers of length 1/a or
    1/(3 a).
    """
    share = energy_share(u)
    part = share if sign > 0 else 1.0 - share
    e = ELECTRON_MASS + part * (energy - 2.0 * ELECTRON_MASS)
    p = math.sqrt(max(e * e - ELECTRON_MASS * ELECTRON_MASS, 0.0))
    length = 1.0 / _A if which < 9.0 / (9.0 + _D) else 1.0 / (3.0 * _A)
    angle = -length * math.log(first * second) * ELECTRON_MASS / e
    along, across = p * math.cos(angle), sign * p * math.sin(angle)
    pt = math.sqrt(px * px + py * py)
    norm = math.sqrt(pt * pt + pz * pz)
    cos_phi, sin_phi, cos_theta, sin_theta = px / pt, py / pt, pz / norm, pt / norm
    # axes across the photon: towards larger polar angle, and azimuthal
    a, b = across * math.cos(azimuth), across * math.sin(azimuth)
    radial = along * sin_theta + a * cos_theta
    return radial * cos_phi - b * sin_phi, radial * sin_phi + b * cos_phi, along * cos_theta - a * sin_theta


@kernel
def convert_photons(
    photons: Photons, offsets: NDArray[np.int64], event_key: NDArray[np.uint64], key: np.uint64, surfaces: Floats,
    layers: Floats, most: Floats, pairs: Pairs, pair_offsets: NDArray[np.int64],
) -> None:  # fmt: skip
    """Let photons convert in the layers that they cross.

    A photon converts after a depth that is exponential with the mean of `pairs_per_length`, in the layer where that
    many radiation lengths, along its line from its production vertex, are passed.

    Parameters
    ----------
    photons : Photons
        The generator record; codes 22 of status 1 are used.
    offsets : (n_events + 1,) int64
        Rows of the events.
    event_key : (n_events,) uint64
        Random keys of the events.
    key : uint64
        Key of the stage.
    surfaces : (n_layers, 4) float64
        As from `flashdet.stages.surface.pack`.
    layers : (n_layers, 3) float64
        x/X0 along the normal, lowest and highest z (cylinders) or radius (discs) [cm].
    most : (3,) float64
        x/X0 of all cylinders, of all discs, and half the smallest radius of a cylinder.
    pairs : Pairs
        Out: positron and electron of each photon that converts, one after the other.
    pair_offsets : (n_events + 1,) int64
        Out: rows of the events in `pairs`.
    """
    n = 0
    n_layers = len(layers)
    depth, path, point = np.empty(n_layers), np.empty(n_layers), np.empty((n_layers, 3))
    for event in range(len(event_key)):
        pair_offsets[event] = n
        for i in range(offsets[event], offsets[event + 1]):
            px, py, pz, energy = photons.px[i], photons.py[i], photons.pz[i], photons.energy[i]
            pt = math.sqrt(px * px + py * py)
            if photons.pdg[i] != 22 or photons.status[i] != 1 or not pt > 0.0:
                continue
            rate = pairs_per_length(energy)
            index = i - offsets[event]
            u_depth, u_share = uniforms(key, event_key[event], index, _SLOT_DEPTH_SHARE)
            wanted = -math.log(u_depth)
            if wanted >= rate * _most_material(photons.vx[i], photons.vy[i], pz / pt, most):
                continue
            total = 0.0
            for layer in range(n_layers):
                depth[layer], path[layer], point[layer, 0], point[layer, 1], point[layer, 2] = _thickness(
                    layer, photons.vx[i], photons.vy[i], photons.vz[i], math.atan2(py, px), pz / pt, surfaces, layers
                )
                total += rate * depth[layer]
            if wanted >= total:
                continue
            hit = _layer_at(wanted / rate, depth, path)
            first, second = uniforms(key, event_key[event], index, _SLOT_ANGLE)
            which, turn = uniforms(key, event_key[event], index, _SLOT_AZIMUTH)
            for sign in (1, -1):
                pairs.px[n], pairs.py[n], pairs.pz[n] = _convert(
                    px, py, pz, energy, u_share, first, second, which, 2.0 * math.pi * turn, sign
                )
                pairs.particle_index[n] = -2 - 2 * index - (0 if sign > 0 else 1)
                pairs.photon_index[n], pairs.layer[n] = index, hit
                pairs.pdg[n], pairs.status[n], pairs.mass[n] = -11 * sign, 1, ELECTRON_MASS
                pairs.vx[n], pairs.vy[n], pairs.vz[n] = point[hit, 0], point[hit, 1], point[hit, 2]
                pairs.vt[n] = photons.vt[i] + path[hit] / C_LIGHT
                n += 1
    pair_offsets[len(event_key)] = n


@inline
def _most_material(x: float, y: float, tgl: float, most: Floats) -> float:
    """Upper limit of the radiation lengths on a line from (x, y), which spares most photons the layers.

    From within half the radius of a cylinder the transverse angle of incidence is below 30 degrees. Measured: 3 times
    less time in the barrel.
    """
    if x * x + y * y > most[2] * most[2]:
        return np.inf
    slope2 = tgl * tgl
    discs: float = most[1] * math.sqrt(1.0 + 1.0 / slope2) if slope2 > 0.0 else 0.0
    return discs + 1.1547005383792517 * float(most[0]) * math.sqrt(1.0 + slope2)


@inline
def _layer_at(wanted: float, depth: Floats, path: Floats) -> int:
    """Layer in which a sum of thicknesses, in the order of the path, passes `wanted`; the last one crossed at most."""
    passed = -1.0
    layer = -1
    while wanted >= 0.0:
        following = -1
        for i in range(len(depth)):
            # of two layers at the same place the later row comes second
            is_ahead = path[i] > passed or (path[i] == passed and i > layer)
            if depth[i] > 0.0 and is_ahead and (following < 0 or path[i] < path[following]):
                following = i
        if following < 0:
            break
        layer, passed = following, path[following]
        wanted -= depth[layer]
    return layer


# --- stage -----------------------------------------------------------------------------------------------------------
class Conversions(Stage):
    """Convert photons in the material of a layout; comes before `propagate`, whose ``secondaries`` name its table.

    Photons are final-state particles (status 1) of the generator record. ``particle_index`` of the pair is negative,
    because the pair has no row in that record: -2 - 2 i for the positron and -3 - 2 i for the electron of the photon in
    row i (`flashdet.stages.secondaries.photon_row` finds it). So random numbers of later stages are those of two
    particles of their own, and labels of output formats are -1, "no particle".

    A pair made at a large radius crosses few layers; whether the tracker finds it is for the LUT to say. Tables made
    from layouts have one bin of production radius, for particles from the beam line: with the rule ``clamp`` every pair
    is tracked as if made there, which finds too many; with ``out_of_range: {radius: reject}`` in the `tracking` stage
    none is. Tables of a full simulation with an axis of radii serve pairs as they should.
    """

    kind: ClassVar[str] = "conversions"
    Config: ClassVar[type[StageConfig]] = ConversionsConfig
    config: ConversionsConfig

    def __init__(self, name: str, config: ConversionsConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = (*pick(EVENT, "key"), *pick(PARTICLE, *Photons._fields))
        self.writes = for_stage(CONVERSIONS_PAIR, self.kind, name)
        layers = [layer for layer in read_layout(config.layout).layers if layer.x_over_x0 > 0.0]
        if not layers:
            raise StageError(f"the layout {config.layout!r} has no material", f"stage {name}")
        self._surfaces = np.array(
            [(CYLINDER if layer.kind == "cylinder" else DISC, layer.position, 0.0, 0.0) for layer in layers]
        )
        self._layers = np.array([(layer.x_over_x0, layer.low, layer.high) for layer in layers])
        is_cylinder = self._surfaces[:, 0] == CYLINDER
        half = 0.5 * min((layer.position for layer in layers if layer.kind == "cylinder"), default=np.inf)
        self._most = np.array([self._layers[is_cylinder, 0].sum(), self._layers[~is_cylinder, 0].sum(), half])
        #: Names of the layers, by the column ``layer``.
        self.layer_names = tuple(layer.name for layer in layers)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see :class:`flashdet.stages.base.Stage`.

        Counts: photons that convert.
        """
        particle = batch["particle"]
        n_photons = int(np.count_nonzero((particle["pdg"] == 22) & (particle["status"] == 1)))
        pairs = Pairs(*empty_columns(CONVERSIONS_PAIR, 2 * n_photons))
        offsets = np.empty(batch.n_events + 1, np.int64)
        convert_photons(
            Photons(*(particle[c] for c in Photons._fields)), particle.offsets, batch["event"]["key"], draw.key,
            self._surfaces, self._layers, self._most, pairs, offsets,
        )  # fmt: skip
        rows = {name: values[: offsets[-1]] for name, values in pairs._asdict().items()}
        table = Table(f"{self.name}_pair", offsets, rows)
        return StageOutput((table,), {"photons converted": int(offsets[-1]) // 2})
