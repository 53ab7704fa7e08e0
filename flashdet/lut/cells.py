"""Sums over a full simulation that can be made in parts: integer counts, and a bounded choice of residuals per cell.

The choice is made by content: every residual has a priority, a 64-bit hash of its event, particle and numbers, and a
cell keeps those of lowest priority. The lowest k of a union follow from the lowest k of its parts, so any split into
parts, any order and any chunk size give the same bits. Counts are exact integers. Files of parts are in
`flashdet.lut.merge`; what becomes of the sums is in `flashdet.lut.build`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as member
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.kernels.jit import kernel
from flashdet.kernels.mix import absorb
from flashdet.lut.axis import Axis
from flashdet.lut.residuals import Residuals, residuals
from flashdet.lut.sample import SampleChunk, match
from flashdet.lut.selection import EVERYWHERE, Selection
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_PDG

#: Bins in azimuth of the counts that show whether a detector is the same all around.
N_PHI = 36
#: Rows are thinned to the chosen ones when this many wait [rows]: 100 MB.
_PENDING = 1_000_000
#: Columns of `Cells.rows`: residual (5), eta, pt, reported covariance (15).
N_COLUMNS = 22

#: Default cells: 10 % in pt, 0.2 in eta.
DEFAULT_AXES = (
    Axis("nch", "", 1, 1.0, 1e4, "log", "clamp", "linear"),
    Axis("radius", "cm", 1, 0.0, 100.0, "linear", "clamp", "none"),
    Axis("eta", "", 40, -4.0, 4.0, "linear", "reject", "linear"),
    Axis("pt", "GeV", 80, 0.05, 100.0, "log", "clamp", "linear"),
)


@dataclass(frozen=True)
class Binning:
    """Cells of a sample.

    Attributes
    ----------
    nch, radius, eta, pt : Axis
        dN_ch/deta, production radius [cm], pseudorapidity and transverse momentum [GeV] of the true particle.
    keep : int
        Residuals kept per cell: the statistical precision of standard deviations is 1/sqrt(2 keep).
    charge, phi : str, (float, float)
        Particles that count, as in `flashdet.lut.selection.Selection`: there is a table for each sign and sector.
    """

    nch: Axis = DEFAULT_AXES[0]
    radius: Axis = DEFAULT_AXES[1]
    eta: Axis = DEFAULT_AXES[2]
    pt: Axis = DEFAULT_AXES[3]
    keep: int = 1000
    charge: str = "both"
    phi: tuple[float, float] = EVERYWHERE

    def __post_init__(self) -> None:
        names = tuple(axis.name for axis in (self.nch, self.radius, self.eta, self.pt))
        if names != ("nch", "radius", "eta", "pt"):
            raise LutError(
                f"axes {', '.join(names)}: tables have nch, radius, eta and pt; make a table for each sign of the "
                "charge (--charge) or sector (--phi)"
            )
        if self.keep < 10:
            raise LutError(f"keep {self.keep} residuals per cell; allowed: 10 or more")
        _ = self.selection

    @property
    def selection(self) -> Selection:
        """Which particles count."""
        return Selection(self.charge, self.phi)


class Compared(NamedTuple):
    """What the sums of all selections need of a chunk.

    Attributes
    ----------
    row : (n_tracks,) int64
        Particle of each track, -1: none.
    species, charge : (n_particles,) int64, float64
        Species, -1: none; charge [e].
    residuals : Residuals
        Of the tracks.
    """

    row: NDArray[np.int64]
    species: NDArray[np.int64]
    charge: NDArray[np.float64]
    residuals: Residuals


def compare(chunk: SampleChunk, field: float) -> Compared:
    """Match a chunk's tracks to its particles and subtract; eight selections that share it take 0.4 of the time.

    Raises
    ------
    InputError
        Two particles of an event have one label.
    """
    row = match(chunk)
    species, charge = _species(chunk.particles.pdg)
    return Compared(row, species, charge, residuals(chunk.particles, chunk.tracks, row, charge, field))


@dataclass
class Cells:
    """Sums over a sample, for all species at once.

    Attributes
    ----------
    binning : Binning
        The cells.
    field : float
        B_z of the sample [T].
    categories : tuple of str
        ``any`` and the names of the kinds of tracks.
    generated : (n_species, 2, n_radius, n_nch, n_eta, n_pt) int64
        Particles by charge sign (negative, positive).
    found : (n_species, 2, n_categories, n_radius, n_nch, n_eta, n_pt) int64
        Those with at least one track of the category.
    clones, used : (n_species, n_radius, n_eta, n_pt) int64
        Tracks beyond the first of a particle; residuals.
    phi : (n_species, 2, N_PHI) int64
        Particles generated and found, in bins of azimuth.
    counts : dict of str to int
        Events, particles, tracks, fakes and what else was left out.
    rows : (n, N_COLUMNS) float32
        Residuals kept.
    cell : (n,) int64
        Their cell, flat over (species, radius, eta, pt).
    priority : (n,) uint64
        Their priority.
    inputs : list of (str, int)
        Files and the fingerprints of their contents.
    """

    binning: Binning
    field: float
    categories: tuple[str, ...] = ("any", "track")
    generated: NDArray[np.int64] = member(init=False)
    found: NDArray[np.int64] = member(init=False)
    clones: NDArray[np.int64] = member(init=False)
    used: NDArray[np.int64] = member(init=False)
    phi: NDArray[np.int64] = member(init=False)
    counts: dict[str, int] = member(default_factory=dict)
    rows: NDArray[np.float32] = member(init=False)
    cell: NDArray[np.int64] = member(init=False)
    priority: NDArray[np.uint64] = member(init=False)
    inputs: list[tuple[str, int]] = member(default_factory=list)
    _waiting: list[tuple[NDArray[Any], ...]] = member(default_factory=list)

    def __post_init__(self) -> None:
        b = self.binning
        n_species = len(SPECIES)
        shape = (b.radius.n_bins, b.nch.n_bins, b.eta.n_bins, b.pt.n_bins)
        self.generated = np.zeros((n_species, 2, *shape), np.int64)
        self.found = np.zeros((n_species, 2, len(self.categories), *shape), np.int64)
        self.clones = np.zeros((n_species, b.radius.n_bins, b.eta.n_bins, b.pt.n_bins), np.int64)
        self.used = np.zeros_like(self.clones)
        self.phi = np.zeros((n_species, 2, N_PHI), np.int64)
        self.rows = np.zeros((0, N_COLUMNS), np.float32)
        self.cell, self.priority = np.zeros(0, np.int64), np.zeros(0, np.uint64)

    # --- adding ------------------------------------------------------------------------------------------------------
    def start_input(self, name: str) -> None:
        """Begin a new file; the chunks that follow belong to it."""
        self.inputs.append((name, 0))

    def add(self, chunk: SampleChunk, compared: Compared | None = None) -> None:
        """Add whole events.

        Parameters
        ----------
        chunk : SampleChunk
            The events.
        compared : Compared, optional
            What `compare` says of them in the field of the sums, if it is known.

        Raises
        ------
        LutError
            The chunk's categories differ from those of the sums.
        InputError
            Two particles of an event have one label.
        """
        if ("any", *chunk.categories) != self.categories:
            raise LutError(
                f"tracks are {', '.join(chunk.categories)}; so far they were {', '.join(self.categories[1:])}",
                chunk.source,
            )
        p, t = chunk.particles, chunk.tracks
        row, species, charge, res = compared or compare(chunk, self.field)
        place, cell, n_out = self._places(chunk, species, charge)
        is_kept = cell >= 0
        known = np.where(row >= 0, row, 0)
        is_fitted = np.isfinite(t.params).all(axis=1)  # candidates whose last fit failed are in some formats
        track_ok = (row >= 0) & is_kept[known] & is_fitted if len(p.pdg) else np.zeros(len(row), np.bool_)
        self._count(chunk, row, species, place, is_kept, track_ok, n_out)
        first = _first_tracks(row, track_ok & res.is_usable)
        self._count_names("tracks without parameters (not found)", int((~is_fitted).sum()))
        self._count_names("tracks not usable", int((track_ok & ~res.is_usable).sum()))
        self._keep(chunk, first, row, cell, res)

    def _places(
        self, chunk: SampleChunk, species: NDArray[np.int64], charge: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, int]]:
        """Flat place in `generated` and flat cell of each particle; -1 outside. Counts of those left out."""
        p, b = chunk.particles, self.binning
        pt = np.hypot(p.px, p.py)
        eta = np.arcsinh(np.divide(p.pz, pt, out=np.full_like(pt, np.inf), where=pt > 0.0))
        left_out = {"particles of other species": int((species < 0).sum())}
        selected = b.selection.selects(charge, np.arctan2(p.py, p.px))
        left_out["particles of other charge or azimuth"] = int(((species >= 0) & ~selected).sum())
        ok = (species >= 0) & selected
        bins = []
        for axis, value in ((b.radius, np.hypot(p.vx, p.vy)), (b.nch, p.nch), (b.eta, eta), (b.pt, pt)):
            i = np.searchsorted(axis.edges, value, side="right") - 1
            if axis.name == "nch" and axis.out_of_range == "clamp":
                i = np.clip(i, 0, axis.n_bins - 1)
            inside = (i >= 0) & (i < axis.n_bins) & ~np.isnan(value)
            left_out[f"particles outside {axis.name}"] = int((ok & ~inside).sum())
            ok &= inside
            bins.append(np.clip(i, 0, axis.n_bins - 1))
        r, n, e, t = bins
        kind = np.where(ok, species, 0)
        place = kind * 2 + (charge > 0.0)
        for index, axis in ((r, b.radius), (n, b.nch), (e, b.eta), (t, b.pt)):
            place = place * axis.n_bins + index
        cell = ((kind * b.radius.n_bins + r) * b.eta.n_bins + e) * b.pt.n_bins + t
        return np.where(ok, place, -1), np.where(ok, cell, -1), left_out

    def _count(
        self,
        chunk: SampleChunk,
        row: NDArray[np.int64],
        species: NDArray[np.int64],
        place: NDArray[np.int64],
        is_kept: NDArray[np.bool_],
        track_ok: NDArray[np.bool_],
        left_out: dict[str, int],
    ) -> None:
        p, t = chunk.particles, chunk.tracks
        n_particles, n_categories = len(p.pdg), len(self.categories)
        n_tracks = np.zeros((n_categories, n_particles), np.int64)
        np.add.at(n_tracks[0], row[track_ok], 1)
        np.add.at(n_tracks, (t.category[track_ok] + 1, row[track_ok]), 1)
        np.add.at(self.generated.reshape(-1), place[is_kept], 1)
        per_charge = int(np.prod(self.generated.shape[2:]))
        for i, numbers in enumerate(n_tracks):
            found = place[is_kept & (numbers > 0)]
            np.add.at(
                self.found.reshape(-1), (found // per_charge * n_categories + i) * per_charge + found % per_charge, 1
            )
        extra = np.maximum(n_tracks[0] - 1, 0)
        b = self.binning
        radius_first = place // (b.nch.n_bins * b.eta.n_bins * b.pt.n_bins) % b.radius.n_bins
        plane = b.eta.n_bins * b.pt.n_bins
        clone_cell = (np.where(is_kept, species, 0) * b.radius.n_bins + radius_first) * plane + place % plane
        np.add.at(self.clones.reshape(-1), clone_cell[is_kept], extra[is_kept])
        sector = np.floor((np.arctan2(p.py, p.px) / (2.0 * np.pi) + 0.5) * N_PHI).astype(np.int64) % N_PHI
        np.add.at(self.phi[:, 0], (species[is_kept], sector[is_kept]), 1)
        found_all = is_kept & (n_tracks[0] > 0)
        np.add.at(self.phi[:, 1], (species[found_all], sector[found_all]), 1)
        self._count_names("events", len(np.unique(np.concatenate([p.event, t.event]))))
        self._count_names("particles", n_particles)
        self._count_names("tracks", len(t.label))
        self._count_names("tracks without particle (fakes)", int((t.label < 0).sum()))
        self._count_names("tracks whose particle is missing", int(((row < 0) & (t.label >= 0)).sum()))
        self._count_names("tracks beyond the first of a particle (clones)", int(extra.sum()))
        for name, n_left_out in left_out.items():
            self._count_names(name, n_left_out)

    def _count_names(self, name: str, number: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def _keep(
        self,
        chunk: SampleChunk,
        first: NDArray[np.int64],
        row: NDArray[np.int64],
        cell: NDArray[np.int64],
        res: Residuals,
    ) -> None:
        p = chunk.particles
        particle = row[first]
        cells = cell[particle]
        np.add.at(self.used.reshape(-1), cells, 1)
        pt = np.hypot(p.px[particle], p.py[particle])
        rows = np.empty((len(first), N_COLUMNS), np.float32)
        rows[:, :5] = res.value[first]
        rows[:, 5], rows[:, 6] = np.arcsinh(p.pz[particle] / pt), pt
        rows[:, 7:] = res.cov[first]
        priority = np.empty(len(first), np.uint64)
        _priorities(p.event[particle], p.label[particle], rows[:, :7].view(np.uint32).astype(np.uint64), priority)
        self._waiting.append((rows, cells, priority))
        if self.inputs:
            name, fingerprint = self.inputs[-1]
            self.inputs[-1] = (name, (fingerprint + int(np.sum(priority, dtype=np.uint64))) % 2**64)
        if sum(len(waiting[1]) for waiting in self._waiting) > _PENDING:
            self.settle()

    def settle(self) -> None:
        """Thin the residuals to the chosen ones and put them in order."""
        parts = [(self.rows, self.cell, self.priority), *self._waiting]
        self._waiting = []
        rows, cell, priority = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        bits = np.ascontiguousarray(rows[:, :7]).view(np.uint32)
        order = np.lexsort((*bits.T[::-1], priority, cell))
        cell = cell[order]
        starts = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]])) if len(cell) else np.zeros(0, np.int64)
        rank = np.arange(len(cell)) - np.repeat(starts, np.diff(np.append(starts, len(cell))))
        order = order[rank < self.binning.keep]
        self.rows, self.cell, self.priority = rows[order], cell[rank < self.binning.keep], priority[order]

    # --- adding parts ------------------------------------------------------------------------------------------------
    def merge(self, other: Cells) -> None:
        """Add the sums of another part of the sample; the result does not depend on the order.

        Raises
        ------
        LutError
            The parts have different cells, fields or categories, or share an input.
        """
        for what, mine, theirs in (
            ("particles", str(self.binning.selection), str(other.binning.selection)),
            ("binning", self.binning, other.binning),
            ("field", self.field, other.field),
            ("categories", self.categories, other.categories),
        ):
            if mine != theirs:
                raise LutError(f"parts differ in their {what}: {mine} and {theirs}")
        known = {fingerprint: name for name, fingerprint in self.inputs}
        for name, fingerprint in other.inputs:
            if fingerprint in known and fingerprint != 0:
                raise LutError(f"{name} and {known[fingerprint]} have the same contents: they would count twice")
        for name in ("generated", "found", "clones", "used", "phi"):
            getattr(self, name)[...] += getattr(other, name)
        for name, count in other.counts.items():
            self._count_names(name, count)
        other.settle()
        self._waiting.append((other.rows, other.cell, other.priority))
        self.inputs = sorted(self.inputs + other.inputs, key=lambda item: (item[1], item[0]))
        self.settle()


@kernel
def _priorities(
    event: NDArray[np.int64], label: NDArray[np.int64], bits: NDArray[np.uint64], priority: NDArray[np.uint64]
) -> None:
    for i in range(len(event)):
        state = absorb(absorb(np.uint64(7), np.uint64(event[i])), np.uint64(label[i]))
        for k in range(bits.shape[1]):
            state = absorb(state, bits[i, k])
        priority[i] = state


def _species(pdg: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Species of each code (-1: none) and its charge; negative leptons have positive codes."""
    species = np.full(len(pdg), -1, np.int64)
    charge = np.zeros(len(pdg))
    for i, (code, size) in enumerate(zip(SPECIES_PDG, SPECIES_CHARGE, strict=True)):
        mine = np.abs(pdg) == code
        species[mine] = i
        sign = -1.0 if code in (11, 13) else 1.0
        charge[mine] = sign * size * np.sign(pdg[mine])
    return species, charge


def _first_tracks(row: NDArray[np.int64], usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First usable track of each particle, in order."""
    tracks = np.flatnonzero(usable)
    _, first = np.unique(row[tracks], return_index=True)
    return tracks[np.sort(first)]


def merged(parts: Sequence[Cells]) -> Cells:
    """Sum of parts; the parts are left as they are.

    Raises
    ------
    LutError
        There is no part, or they do not fit together.
    """
    if not parts:
        raise LutError("nothing to merge")
    total = Cells(parts[0].binning, parts[0].field, parts[0].categories)
    for part in parts:
        total.merge(part)
    return total
