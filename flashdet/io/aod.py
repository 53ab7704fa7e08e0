"""The `aod` format: ALICE AO2D tables that O2 reads, and FlashDet's own tables beside them.

One directory ``DF_<n>`` per chunk, one tree per table. Every event is one bunch crossing, one collision and one
generated collision, in this order; an event without a reconstructed vertex has a collision with 0 contributors at
(0, 0, 0) and zero covariance, so that its tracks keep their event. Indices count rows of the same directory.
Generated particles are put in the order of their production vertices, because O2 wants daughters as one range of rows.
FlashDet's own trees are called ``O2fd<table>``: tables with one row per track follow the rows of O2track, those with
one row per event the rows of O2collision, others bear ``fIndexCollisions``. Names and packed words are in
:mod:`flashdet.io.aod_tables`, reading in :mod:`flashdet.io.aod_read`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flashdet import pruning, truth
from flashdet.event import EventBatch, Table
from flashdet.io import aod_tables as names
from flashdet.io import rootfile
from flashdet.io.output import Writer, header_text
from flashdet.io.rootpack import Lists, Scratch
from flashdet.io.roottree import write_trees
from flashdet.io.setup import OutputSetup, Particles, check_alignment
from flashdet.species import SPECIES, SPECIES_MASS
from flashdet.units import C_LIGHT

Branches = dict[str, Any]
#: Mass of the hypothesis that `PION_HYPOTHESIS` names [GeV].
_PION_MASS = SPECIES_MASS[SPECIES.index("pion")]
#: Kinds of tables with a time of the collision.
_EVENT_TIMES = ("tof_event", "event_time_event")


class AodWriter(Writer):
    """Writes AO2D tables and detector tables with one row per track."""

    format: ClassVar[str] = "aod"
    suffix: ClassVar[str] = ".aod.root"
    default_particles: ClassVar[Particles] = "acceptance"

    #: Only with several threads, and once there is a chunk.
    _pool: ThreadPoolExecutor | None = None

    def _begin(self, header: dict[str, Any], first: EventBatch | None) -> None:
        self._n_frames = 0
        self._n_crossings = 0
        self._written = tuple(header["tables"])
        self._scratch = Scratch()
        self._pool = ThreadPoolExecutor(self.setup.threads, "flashdet-zip") if self.setup.threads > 1 else None
        self._root = rootfile.RootFile(self._file, header_text(header))

    def _write_chunk(self, batch: EventBatch) -> None:
        check_alignment(batch, self._written, self.setup)
        self._n_frames += 1
        trees = build_trees(batch, self.setup, self._written, self._n_frames, self._n_crossings)
        self._n_crossings += batch.n_events
        directory = self._root.mkdir(f"DF_{self._n_frames}")
        write_trees(directory, trees, self._scratch, self.setup.compression, self._pool)
        directory.close()

    def _finish(self) -> None:
        self._root.close()
        self._abandon()

    def _abandon(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _also_needed(self, batch: EventBatch) -> tuple[str, ...]:
        """Vertices and event times make O2collision, even if their own tables are not asked for."""
        return tuple(n for n, t in batch.tables.items() if len(t) and self.setup.kind(n) in ("vertex", *_EVENT_TIMES))


def build_trees(
    batch: EventBatch, setup: OutputSetup, written: tuple[str, ...], frame: int, first_crossing: int
) -> dict[str, Branches]:
    """All trees of one directory.

    Parameters
    ----------
    batch : EventBatch
        One chunk, float32.
    setup : OutputSetup
    written : tuple of str
        Tables of the batch that are written.
    frame : int
        Number of the directory.
    first_crossing : int
        Number of the bunch crossing of the first event.

    Returns
    -------
    dict of str to dict of str to array
        Branches by tree.
    """
    event, n = batch["event"], batch.n_events
    order = ParticleOrder(batch) if "particle" in written else None
    trees: dict[str, Branches] = {
        "O2origin": {"fDataframeID": np.array([frame], np.uint64)},
        "O2bc_001": {
            "fRunNumber": np.full(n, setup.run_number, np.int32),
            "fGlobalBC": np.arange(first_crossing, first_crossing + n, dtype=np.uint64),
            "fTriggerMask": np.zeros(n, np.uint64),
            "fInputMask": np.zeros(n, np.uint64),
        },
        "O2collision_001": _collisions(batch, setup),
        "O2mccollision_001": _generated_collisions(event),
        "O2mccollisionlabel": {"fIndexMcCollisions": np.arange(n, dtype=np.int32), "fMcMask": np.zeros(n, np.uint16)},
        **_generator_information(event),
    }
    if order is not None:
        trees["O2mcparticle_001"] = _particles(batch, order)
    if "track" in written:
        trees |= _tracks(batch, setup, order)
    for name in written:
        trees[names.tree_name(name)] = _own_tree(batch, name, setup, written, order)
    return {k: v for k, v in trees.items() if v}


class ParticleOrder:
    """Order of the generated particles on disk: by event and production vertex, so that daughters are one range.

    Parameters
    ----------
    batch : EventBatch
        Reads ``particle.production_vertex`` and ``particle.end_vertex``.

    Attributes
    ----------
    rows : (n,) int64
        Row in the batch of each particle on disk.
    rank : (n,) int64
        Place on disk of each row of the batch.
    daughters : (n, 2) int32
        First and last daughter on disk of each particle on disk, -1 if it has none.
    mothers : Lists
        Places on disk of the mothers of each particle on disk.
    """

    def __init__(self, batch: EventBatch) -> None:
        self.rows, self.daughters, offsets, index = truth.by_production_vertex(batch)
        self.mothers = Lists(offsets, index)
        self.rank = np.empty_like(self.rows)
        self.rank[self.rows] = np.arange(len(self.rows))


def _collisions(batch: EventBatch, setup: OutputSetup) -> Branches:
    n = batch.n_events
    branches: Branches = {"fIndexBCs": np.arange(n, dtype=np.int32)}
    position = np.zeros((n, 3), np.float32)
    cov = np.zeros((n, 6), np.float32)
    chi2, contributors = np.zeros(n, np.float32), np.zeros(n, np.uint16)
    vertex = next((t for name, t in batch.tables.items() if setup.kind(name) == "vertex"), None)
    if vertex is not None:
        found = np.flatnonzero(np.diff(vertex.offsets) > 0)
        row = vertex.offsets[found]
        position[found] = np.stack([vertex[c][row] for c in ("x", "y", "z")], axis=1)
        cov[found] = vertex["cov"][row]
        chi2[found] = vertex["chi2"][row]
        # the format has 16 bits: 65535 says "so many or more"
        contributors[found] = np.minimum(vertex["n_contributors"][row], np.iinfo(np.uint16).max)
    branches |= {f"fPos{c}": position[:, i].copy() for i, c in enumerate("XYZ")}
    branches |= {f"fCov{c}": cov[:, i].copy() for i, c in enumerate(("XX", "XY", "YY", "XZ", "YZ", "ZZ"))}
    time, error = _event_time(batch, setup)
    return branches | {
        "fFlags": np.zeros(n, np.uint16),
        "fChi2": chi2,
        "fNumContrib": contributors,
        "fCollisionTime": time,
        "fCollisionTimeRes": error,
    }


def _event_time(batch: EventBatch, setup: OutputSetup) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Event time relative to the bunch crossing [ns] and its error, from the stage that found it best.

    Without a TOF that used a track the time is that of the crossing, 0, and the error `NOT_MEASURED`.
    """
    time = np.zeros(batch.n_events, np.float32)
    error = np.full(batch.n_events, np.inf, np.float32)
    for name, table in batch.tables.items():
        if setup.kind(name) in _EVENT_TIMES:
            better = (table["n_tracks"] > 0) & (table["time_error"] < error)
            time[better], error[better] = table["time"][better], table["time_error"][better]
    error[np.isinf(error)] = names.NOT_MEASURED
    return time, error


def _generated_collisions(event: Table) -> Branches:
    n = event.n_rows
    offset = event["collision_time"] if "collision_time" in event else np.float32(0)
    return {
        "fIndexBCs": np.arange(n, dtype=np.int32),
        "fGeneratorsID": np.zeros(n, np.int16),
        "fPosX": event["vx"],
        "fPosY": event["vy"],
        "fPosZ": event["vz"],
        "fT": event["vt"] + offset,
        "fWeight": event["weight"],
        # O2 writes what its event header starts with, 0, for generators without heavy ions
        "fImpactParameter": np.nan_to_num(event["impact_parameter"], nan=0.0),
        "fEventPlaneAngle": np.nan_to_num(event["event_plane_angle"], nan=0.0),
    }


def _generator_information(event: Table) -> dict[str, Branches]:
    """Cross section, PDF and heavy-ion trees: a row for each event whose input gives them."""

    def rows(given: NDArray[np.bool_], columns: dict[str, str], constants: Branches) -> Branches:
        kept = np.flatnonzero(given)
        branches: Branches = {
            "fIndexMcCollisions": kept.astype(np.int32),
            "fGeneratorsID": np.zeros(len(kept), np.int16),
        }
        branches |= {branch: event[column][kept] for branch, column in columns.items()}
        return branches | {k: np.full(len(kept), v) for k, v in constants.items()}

    heavy_ion = np.isfinite(event["impact_parameter"]) | (event["n_coll"] >= 0) | (event["n_part_projectile"] >= 0)
    unknown = np.int32(-1)
    return {
        "O2hepmcxsection": rows(
            np.isfinite(event["cross_section"]),
            names.CROSS_SECTION_COLUMNS,
            {"fAccepted": np.uint64(0), "fAttempted": np.uint64(0), "fNMPI": unknown},
        ),
        "O2hepmcpdfinfo": rows(
            np.isfinite(event["pdf_x1"]), names.PDF_COLUMNS, {"fPdfId1": unknown, "fPdfId2": unknown}
        ),
        "O2hepmcheavyion": rows(
            heavy_ion,
            names.HEAVY_ION_COLUMNS,
            {
                "fNNwoundedCollisions": unknown,
                "fNwoundedNCollisions": unknown,
                "fNwoundedNwoundedCollisions": unknown,
            },
        ),
    }


def _particles(batch: EventBatch, order: ParticleOrder) -> Branches:
    particle = batch["particle"]
    flags = np.where(truth.is_physical_primary(batch), names.PHYSICAL_PRIMARY, 0).astype(np.uint8)
    return {
        "fIndexMcCollisions": _event_index(particle),
        "fStatusCode": names.pack_status(particle["status"][order.rows]),
        "fFlags": flags[order.rows],
        "fIndexArray_Mothers": order.mothers,
        "fIndexSlice_Daughters": order.daughters,
        "fWeight": np.ones(particle.n_rows, np.float32),
        **{branch: particle[column].take(order.rows) for branch, column in names.PARTICLE_COLUMNS.items()},
    }


def _tracks(batch: EventBatch, setup: OutputSetup, order: ParticleOrder | None) -> dict[str, Branches]:
    track = batch["track"]
    n, event = track.n_rows, track.event_index
    flags = np.full(n, names.PION_HYPOTHESIS, np.uint32)
    if "is_pv_contributor" in track:
        flags |= np.where(track["is_pv_contributor"], names.PV_CONTRIBUTOR, 0).astype(np.uint32)
    time, error = _event_time(batch, setup)
    label = np.full(n, -1, np.int32)
    if order is not None:
        label = _global_index(track, "particle_index", batch["particle"], order)
    return {
        "O2track": {
            "fIndexCollisions": _event_index(track),
            "fTrackType": np.full(n, names.TRACK_TYPE, np.uint8),
            **{branch: track[column] for branch, column in names.TRACK_PARAMETERS.items()},
        },
        "O2trackcov": dict(names.pack_covariance(track["cov"])),
        "O2trackextra_002": {
            "fFlags": flags,
            **{k: np.full(n, v) for k, v in names.TRACKEXTRA_ABSENT.items()},
            **_time_of_flight(batch, setup, {"fTrackTime": time[event], "fTrackTimeRes": error[event]}),
        },
        "O2mctracklabel": {"fIndexMcParticles": label, "fMcMask": np.zeros(n, np.uint16)},
    }


def _time_of_flight(batch: EventBatch, setup: OutputSetup, event_time: Branches) -> Branches:
    """Columns in which O2 analyses find a time of flight: the farthest hit of each track, of whichever TOF.

    As in O2 (``AODProducerWorkflowSpec.cxx``), ``fTOFExpMom`` is the momentum that gives the expected time with the
    length, ``fTrackTime`` the measured time less the one expected for the mass of the track fit, a pion, and a chi2
    of 0 or more says that there is a TOF. Tracks without one keep the time of the event.
    """
    track = batch["track"]
    length = np.zeros(track.n_rows, np.float32)
    time, error = event_time["fTrackTime"].copy(), event_time["fTrackTimeRes"].copy()
    momentum = np.sqrt(1.0 + np.square(track["tgl"], dtype=np.float64)) / np.abs(track["q_over_pt"], dtype=np.float64)
    slowness = np.sqrt(1.0 + np.square(_PION_MASS / momentum)) / C_LIGHT
    for name, table in batch.tables.items():
        if setup.kind(name) != "tof":
            continue
        farther = np.flatnonzero(table["path_length"] > length)
        length[farther] = table["path_length"][farther]
        time[farther] = table["time"][farther] - slowness[farther] * table["path_length"][farther]
        error[farther] = table["time_error"][farther]
    has_hit = length > 0.0
    return {
        "fTOFChi2": np.where(has_hit, np.float32(0), names.NOT_MEASURED),
        "fLength": np.where(has_hit, length, names.NOT_MEASURED),
        "fTOFExpMom": np.where(has_hit, momentum, names.NOT_MEASURED).astype(np.float32),
        "fTrackTime": time,
        "fTrackTimeRes": error,
    }


def _own_tree(
    batch: EventBatch, name: str, setup: OutputSetup, written: tuple[str, ...], order: ParticleOrder | None
) -> Branches:
    """Tree of a table for what the AO2D trees do not hold exactly."""
    table = batch[name]
    branches: Branches = {}
    if not (setup.is_per_event(name) or setup.is_per_track(name) or name in ("particle", "track")):
        branches["fIndexCollisions"] = _event_index(table)
    left_out = _left_out(batch, name, written)
    for column, values in table.items():
        if column in left_out:
            continue
        target = names.index_target(name, column, written)
        if target is not None:
            to_disk = order if target == "particle" else None
            branches[names.index_branch(target)] = _global_index(table, column, batch[target], to_disk)
        elif name == "particle" and order is not None:
            branches[names.branch_name(column)] = values.take(order.rows)
        else:
            branches[names.branch_name(column)] = values
    if name == "particle" and order is not None:
        # mostly 0 or the same as before, which costs nothing to keep
        branches["fRowShift"] = (order.rows - np.arange(len(order.rows))).astype(np.int32)
    return branches


def _left_out(batch: EventBatch, name: str, written: tuple[str, ...]) -> set[str]:
    """Columns of a table that the AO2D trees hold."""
    if name == "particle":
        held = set(names.PARTICLE_COLUMNS.values())
        return held | {"status"} if names.fits_status(batch["particle"]["status"]) else held
    if name == "track":
        held = {*names.TRACK_PARAMETERS.values(), *names.TRACK_DERIVED}
        return held | ({"particle_index"} if "particle" in written else set())
    return set()


def _global_index(table: Table, column: str, target: Table, order: ParticleOrder | None) -> NDArray[np.int32]:
    """Turn rows within the event into rows of the directory; -1 stays, what comes from a photon stays below it."""
    values = table[column]
    behind = pruning.origin(values)
    rows = np.where(behind >= 0, behind + target.offsets[:-1][table.event_index], -1)
    if order is not None and len(order.rank):
        rows = np.where(rows >= 0, order.rank[np.maximum(rows, 0)], -1)
    return pruning.moved(values, rows).astype(np.int32)


def _event_index(table: Table) -> NDArray[np.int32]:
    """Event of each row."""
    return np.repeat(np.arange(table.n_events, dtype=np.int32), np.diff(table.offsets))
