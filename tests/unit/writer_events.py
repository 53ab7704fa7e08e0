"""Hand-made event batches for the tests of the writers: every kind of table, every kind of column."""

from __future__ import annotations

import numpy as np

from flashdet import columns as declared
from flashdet.event import EventBatch, Table
from flashdet.io.setup import OutputSetup

KINDS = {
    "propagate": "propagate",
    "tracking": "tracking",
    "vertex": "vertex",
    "itof": "tof",
    "otof": "tof",
    "rich": "rich",
    "emcal": "emcal",
    "muon": "muon",
}
WEIGHTS = ("nominal", "up", "down")
SETUP = OutputSetup(
    stage_kinds=KINDS,
    magnetic_field=2.0,
    weight_names=WEIGHTS,
    provenance={"seed": 1, "card": {"name": "test"}},
    derived=True,
)


def _fill(rng, spec, n, skip=()):
    """Random values for declared columns; NaN in a third of the rows where the column allows it."""
    out = {}
    for c in spec:
        if c.name in skip:
            continue
        shape = (n, *c.shape)
        if c.dtype == "?":
            v = rng.random(shape) < 0.5
        elif c.dtype[0] in "iu":
            v = rng.integers(0, 100, shape).astype(c.dtype)
        else:
            v = rng.normal(size=shape)
            if c.missing:
                v[rng.random(shape) < 0.33] = np.nan
        out[c.name] = v
    return out


def _genealogy(rng, counts):
    """Trees of particles: two beams, a collision vertex, then decays, listed with daughters apart from each other."""
    production, end, status = [], [], []
    for n in counts:
        p, e, s = np.zeros(n, np.int32), np.full(n, -1, np.int32), np.ones(n, np.int32)
        if n >= 2:
            p[:2], e[:2], s[:2] = -1, 0, 4
        n_vertices = 1
        for i in range(2, n):
            if i + 1 < n and rng.random() < 0.25:
                e[i], s[i] = n_vertices, 2
                n_vertices += 1
        for i in range(2, n):
            older = e[2:i][e[2:i] >= 0]
            p[i] = rng.choice(older) if len(older) and rng.random() < 0.6 else 0
        production.append(p)
        end.append(e)
        status.append(s)
    return [np.concatenate(x) if x else np.zeros(0, np.int32) for x in (production, end, status)]


def covariances(rng, n, dimension):
    """(n, d(d+1)/2) float64: lower triangles of random covariances with correlations up to almost 1."""
    a = rng.normal(size=(n, dimension, dimension)) * 10.0 ** rng.uniform(-4, 0, (n, 1, dimension))
    a[:, -1] = a[:, 0] * rng.choice([1.0, -1.0], (n, 1)) + 1e-6 * a[:, -1]
    cov = a @ a.transpose(0, 2, 1)
    rows, cols = np.tril_indices(dimension)
    return np.ascontiguousarray(cov[:, rows, cols])


def make_batch(n_events=12, seed=1, tracks=6, particles=20):
    """A batch with all tables; some events have no particle, no track, no vertex."""
    rng = np.random.default_rng(seed)

    def offsets(mean):
        counts = rng.poisson(mean, n_events)
        counts[: n_events // 6] = 0
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    batch = EventBatch({}, WEIGHTS)
    event = _fill(rng, (*declared.EVENT, *declared.EVENT_PROPAGATE), n_events, ("weights",))
    event["weights"] = rng.normal(size=(n_events, 3))
    event["weight"] = event["weights"][:, 0].copy()
    batch.add(Table.per_event("event", n_events, event))

    po = offsets(particles)
    n = po[-1]
    particle = _fill(rng, declared.PARTICLE, n)
    production, end, status = _genealogy(rng, np.diff(po))
    particle |= {"production_vertex": production, "end_vertex": end, "status": status}
    particle["pdg"] = rng.choice(np.array([211, -211, 111, 22, 310, 2212, 21, 1000020030], np.int32), n)
    batch.add(Table("particle", po, particle))

    to = np.where(np.diff(po) > 0, rng.poisson(tracks, n_events), 0)
    to = np.concatenate([[0], np.cumsum(to)]).astype(np.int64)
    n = to[-1]
    of_event = np.repeat(np.arange(n_events), np.diff(to))
    index = (rng.random(n) * np.diff(po)[of_event]).astype(np.int32)
    track = _fill(rng, (*declared.TRACK, *declared.TRACK_VERTEX), n)
    track["particle_index"] = index
    track["x"] = np.zeros(n)
    track["alpha"] = rng.uniform(-np.pi, np.pi, n)
    track["snp"] = rng.normal(0, 1e-3, n)
    track["pt"] = 1 / np.abs(track["q_over_pt"])
    track["charge"] = np.sign(track["q_over_pt"]).astype(np.int8)
    track["eta"] = np.arcsinh(track["tgl"])
    phi = track["alpha"] + np.arcsin(track["snp"])
    track["phi"] = phi - 2 * np.pi * np.ceil((phi - np.pi) / (2 * np.pi))
    track["cov"] = covariances(rng, n, 5)
    batch.add(Table("track", to, track))

    vo = np.concatenate([[0], np.cumsum(rng.random(n_events) < 0.7)]).astype(np.int64)
    vertex = _fill(rng, declared.VERTEX, vo[-1])
    batch.add(Table("vertex", vo, vertex))

    for stage, kind in KINDS.items():
        spec = {"tof": declared.TOF, "rich": declared.RICH, "emcal": declared.EMCAL, "muon": declared.MUON}.get(kind)
        if spec is None:
            continue
        batch.add(Table(stage, to, _fill(rng, spec, n, ("cluster_index",))))
        if kind == "tof":
            values = _fill(rng, declared.TOF_EVENT, n_events)
            values["time_error"] = rng.uniform(0.001, 0.2, n_events)
            values["n_tracks"][::3] = 0
            batch.add(Table.per_event(f"{stage}_event", n_events, values))
    co = offsets(4)
    cluster = _fill(rng, declared.EMCAL_CLUSTER, co[-1])
    of_event = np.repeat(np.arange(n_events), np.diff(co))
    for name, other in (("particle_index", po), ("track_index", to)):
        counts = np.diff(other)[of_event]
        cluster[name] = np.where(counts > 0, (rng.random(co[-1]) * counts).astype(np.int32), -1).astype(np.int32)
    batch.add(Table("emcal_cluster", co, cluster))
    of_event = np.repeat(np.arange(n_events), np.diff(to))
    counts = np.diff(co)[of_event]
    matched = np.where(counts > 0, (rng.random(n) * counts).astype(np.int32), -1).astype(np.int32)
    matched[rng.random(n) < 0.3] = -1
    batch.add(Table("emcal", to, {"cluster_index": matched}))
    return batch


def concat_equal(got, want, exact=(), loose=("pt", "eta", "phi")):
    """Compare batches at float32: bitwise but for the columns that are derived from others."""
    assert set(got.tables) == set(want.tables)
    for name, table in want.tables.items():
        assert list(got[name]) == list(table), name
        np.testing.assert_array_equal(got[name].offsets, table.offsets, err_msg=name)
        for column, values in table.items():
            w = values.astype(np.float32) if values.dtype == np.float64 else values
            g = got[name][column]
            assert g.dtype == w.dtype, (name, column, g.dtype)
            if name == "track" and column in loose and name not in exact:
                np.testing.assert_allclose(g, w, rtol=3e-7, atol=3e-7, err_msg=f"{name}.{column}")
            else:
                np.testing.assert_array_equal(g, w, err_msg=f"{name}.{column}")


def narrow(batch, tables):
    """Some tables with float32 in place of float64, without columns that have no content."""
    kept = EventBatch({}, batch.weight_names)
    for name in tables:
        arrays = {
            c: v.astype(np.float32) if v.dtype == np.float64 else v
            for c, v in batch[name].items()
            if v.ndim == 1 or v.shape[1] > 0
        }
        kept.add(Table(name, batch[name].offsets, arrays))
    return kept


def jagged(offsets, content):
    """Lists over flat content as an awkward array, as uproot wants it."""
    import awkward as ak

    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), ak.contents.NumpyArray(content)))
