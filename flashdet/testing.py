"""Kit for tests of stages, ours and yours: hand-made events, hypothesis strategies, and a conformance check.

Nothing in the package imports this module; hypothesis is imported only by the strategies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flashdet import columns
from flashdet.columns import Column
from flashdet.event import EventBatch, Table, concat
from flashdet.rng import Draw
from flashdet.species import SPECIES_PDG, particle_table
from flashdet.stages.base import Stage, StageOutput


def make_events(
    pdg: ArrayLike,
    pt: ArrayLike,
    eta: ArrayLike,
    phi: ArrayLike,
    *,
    sizes: Sequence[int] | None = None,
    vertex: ArrayLike = (0.0, 0.0, 0.0, 0.0),
    status: ArrayLike = 1,
    first_number: int = 0,
) -> EventBatch:
    """Events of given particles, as a reader would deliver them.

    Parameters
    ----------
    pdg, pt, eta, phi, status : array_like, broadcast to (n,)
        PDG code, transverse momentum [GeV], pseudorapidity, azimuth [rad], HepMC status.
    sizes : sequence of int, optional
        Particles per event; their sum is n. Default: one event.
    vertex : array_like, broadcast to (n, 4)
        Production vertices x, y, z [cm] and t [ns].
    first_number : int
        Number of the first event; the key of an event is made of its number.

    Returns
    -------
    EventBatch
        Tables ``event`` and ``particle`` with all columns of a reader. All particles of an event come from one vertex
        of the event record.
    """
    pdg, pt, eta, phi, status = np.broadcast_arrays(*map(np.atleast_1d, (pdg, pt, eta, phi, status)))
    n = len(pdg)
    counts = np.array([n] if sizes is None else sizes, np.int64)
    if counts.sum() != n:
        raise ValueError(f"sizes add up to {counts.sum()}, but there are {n} particles")
    offsets = np.concatenate([[0], np.cumsum(counts)])
    table = particle_table()
    row = table.find(pdg.astype(np.int32))
    if np.any(row < 0):
        raise ValueError(f"unknown PDG codes {sorted(set(pdg[row < 0].tolist()))}")
    position = np.broadcast_to(np.asarray(vertex, np.float64), (n, 4))
    px, py, pz, mass = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), table.mass[row]
    values: dict[str, Any] = {
        "pdg": pdg,
        "status": status,
        "px": px,
        "py": py,
        "pz": pz,
        "energy": np.sqrt(px * px + py * py + pz * pz + mass * mass),
        "mass": mass,
        **{name: position[:, i] for i, name in enumerate(("vx", "vy", "vz", "vt"))},
        "production_vertex": np.zeros(n),
        "end_vertex": np.full(n, -1),
    }
    batch = EventBatch(weight_names=("Default",))
    batch.add(_events(len(counts), first_number))
    batch.add(Table("particle", offsets, _typed(columns.PARTICLE, values, n)))
    return batch


def _typed(declared: Iterable[Column], values: dict[str, Any], n: int) -> dict[str, NDArray[Any]]:
    """Contiguous copies of `values` with the declared dtypes; columns without a value get what "not given" means."""
    typed = {}
    for column in declared:
        absent = np.nan if column.missing else -1 if np.dtype(column.dtype).kind == "i" else 0
        typed[column.name] = np.array(np.broadcast_to(values.get(column.name, absent), n), column.dtype)
    return typed


def _events(n: int, first_number: int) -> Table:
    number = np.arange(first_number, first_number + n)
    # A Weyl sequence spreads small numbers over 64 bits: enough to tell test events apart.
    key = (number.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    table = Table.per_event("event", n, _typed(columns.EVENT, {"number": number, "key": key, "weight": 1.0}, n))
    table.attach("weights", np.ones((n, 1)))
    return table


def gun(
    species: Sequence[int] = SPECIES_PDG,
    *,
    n_events: int = 10,
    particles: int = 20,
    pt: tuple[float, float] = (0.3, 10.0),
    eta: tuple[float, float] = (-1.0, 1.0),
    both_charges: bool = True,
    seed: int = 1,
) -> EventBatch:
    """Events of independent particles: log-uniform pt, flat eta and azimuth.

    Parameters
    ----------
    species : sequence of int
        PDG codes to choose from with equal chance.
    n_events, particles : int
        Number of events and of particles in each.
    pt : tuple of float
        Range of the transverse momentum [GeV].
    eta : tuple of float
        Range of the pseudorapidity.
    both_charges : bool
        Give every other particle the opposite code.
    seed : int
        Seed of the counter-based generator.

    Returns
    -------
    EventBatch
    """
    from flashdet.kernels.philox import uniforms

    key = Draw.of(seed, "gun").key
    rows = [
        (*uniforms(key, np.uint64(event), i, 0), *uniforms(key, np.uint64(event), i, 1))
        for event in range(n_events)
        for i in range(particles)
    ]
    u = np.array(rows).reshape(-1, 4)
    code = np.asarray(species)[(u[:, 3] * len(species)).astype(int)]
    sign = np.where(np.arange(len(u)) % 2 == 0, 1, -1) if both_charges else 1
    return make_events(
        code * sign,
        pt[0] * (pt[1] / pt[0]) ** u[:, 0],
        eta[0] + (eta[1] - eta[0]) * u[:, 1],
        np.pi * (2 * u[:, 2] - 1),
        sizes=[particles] * n_events,
    )


def event_batches(max_events: int = 5, max_particles: int = 12) -> Any:
    """Hypothesis strategy: small batches of events of all species, all directions, displaced vertices included.

    Parameters
    ----------
    max_events, max_particles : int
        Largest number of events and of particles in one event.

    Returns
    -------
    hypothesis.strategies.SearchStrategy of EventBatch
        Events without particles occur.
    """
    from hypothesis import strategies as st

    number = st.floats(0.0, 1.0)
    codes = st.sampled_from([sign * code for code in SPECIES_PDG for sign in (1, -1)] + [22, 2112, 310])
    one = st.tuples(codes, *[number] * 6)

    def build(events: list[list[tuple[float, ...]]]) -> EventBatch:
        sizes = [len(event) for event in events]
        u = np.array([row for event in events for row in event], np.float64).reshape(-1, 7)
        vertex = np.stack([4 * u[:, 4] - 2, 4 * u[:, 5] - 2, 20 * u[:, 6] - 10, u[:, 4]], axis=1)
        return make_events(
            u[:, 0].astype(np.int64),
            0.05 * 1000 ** u[:, 1],
            9 * u[:, 2] - 4.5,
            np.pi * (2 * u[:, 3] - 1),
            sizes=sizes,
            vertex=vertex,
        )

    return st.lists(st.lists(one, max_size=max_particles), min_size=1, max_size=max_events).map(build)


def assert_same_tables(first: EventBatch, second: EventBatch) -> None:
    """Assert that two batches have bitwise equal tables.

    Parameters
    ----------
    first, second : EventBatch

    Raises
    ------
    AssertionError
        Names the first table or column that differs.
    """
    assert list(first.tables) == list(second.tables), f"tables {list(first.tables)} and {list(second.tables)}"
    for name, table in first.tables.items():
        other = second[name]
        np.testing.assert_array_equal(table.offsets, other.offsets, err_msg=f"offsets of {name}")
        assert list(table) == list(other), f"columns of {name}: {list(table)} and {list(other)}"
        for column in table:
            a, b = table[column], other[column]
            assert a.dtype == b.dtype, f"dtype of {name}.{column}: {a.dtype} and {b.dtype}"
            assert a.tobytes() == b.tobytes(), f"values of {name}.{column} differ"


def check_stage(stage: Stage, batch: EventBatch, seed: int = 1) -> StageOutput:
    """Conformance test of a stage on a batch that has the columns it reads.

    Checked: the columns promised in ``writes`` and no others, their dtypes, shapes, lengths and finite values; the
    columns in ``reads`` suffice; a second run, any split into events and another order of events give bitwise the same
    rows; counters add up; batches without rows and without events work.

    Parameters
    ----------
    stage : Stage
        The stage.
    batch : EventBatch
        A few events with the columns of ``stage.reads``.
    seed : int
        Seed of the run.

    Returns
    -------
    StageOutput
        Of the whole batch, for further tests.

    Raises
    ------
    AssertionError
        Says which promise is broken.
    """
    draw = Draw.of(seed, stage.name)
    seen = _only(batch, stage.reads)
    output = stage.run(seen, draw)
    check_output(stage, seen, output)
    whole = _as_batch(seen, output)
    assert_same_tables(whole, _as_batch(seen, stage.run(seen, draw)))

    n = batch.n_events
    pieces = [seen.slice_events(i, i + 1) for i in range(n)]
    results = [stage.run(piece, draw) for piece in pieces]
    assert_same_tables(whole, concat([_as_batch(p, r) for p, r in zip(pieces, results, strict=True)]))
    total: dict[str, int] = {}
    for result in results:
        for key, count in result.counts.items():
            total[key] = total.get(key, 0) + count
    nonzero = {key: count for key, count in output.counts.items() if count}
    assert nonzero == {key: count for key, count in total.items() if count}, "counters do not add up over batches"

    order = list(reversed(range(n)))
    turned = concat([pieces[i] for i in order])
    again = _as_batch(turned, stage.run(turned, draw))
    assert_same_tables(whole, concat([again.slice_events(n - 1 - i, n - i) for i in range(n)]))

    empty = seen.slice_events(0, 0)
    check_output(stage, empty, stage.run(empty, draw))
    return output


def check_output(stage: Stage, batch: EventBatch, output: StageOutput) -> None:
    """Assert that `output` holds exactly the promised columns of `stage`, well formed.

    Parameters
    ----------
    stage : Stage
    batch : EventBatch
        What the stage was given.
    output : StageOutput
        What it returned.

    Raises
    ------
    AssertionError
        Says which column is wrong.
    """
    delivered = {f"{t.name}.{c}" for t in output.tables for c in t}
    promised = {str(c) for c in stage.writes}
    assert delivered == promised, f"missing {sorted(promised - delivered)}, not promised {sorted(delivered - promised)}"
    tables = {t.name: t for t in output.tables}
    for column in stage.writes:
        table = tables[column.table]
        values = table[column.name]
        assert table.n_events == batch.n_events, f"{column}: {table.n_events} events, not {batch.n_events}"
        assert values.dtype == np.dtype(column.dtype), f"{column}: dtype {values.dtype}, not {column.dtype}"
        assert values.shape == (table.n_rows, *column.shape), f"{column}: shape {values.shape}"
        if values.dtype.kind == "f" and not column.missing:
            assert np.isfinite(values).all(), f"{column}: not finite"


def _only(batch: EventBatch, reads: Iterable[Column]) -> EventBatch:
    """Return a batch with nothing but the columns that a stage says it reads (and the event table's rows)."""
    result = EventBatch({}, batch.weight_names)
    result.add(Table("event", batch["event"].offsets))
    for column in reads:
        result.add(Table(column.table, batch[column.table].offsets, {column.name: batch.column(column)}))
    return result


def _as_batch(batch: EventBatch, output: StageOutput) -> EventBatch:
    result = EventBatch({}, batch.weight_names)
    result.add(Table("event", batch["event"].offsets))
    for table in output.tables:
        result.add(Table(table.name, table.offsets, dict(table)))
    return result
