"""Primary vertex and distances to it: closed forms, pulls and independence from batching."""

from __future__ import annotations

import numpy as np
import pytest

from flashdet.columns import TRACK_VERTEX, VERTEX
from flashdet.event import EventBatch, Table, concat
from flashdet.rng import Draw
from flashdet.stages.base import Setup
from flashdet.stages.vertex import Vertex, VertexConfig
from flashdet.testing import check_stage

FIELD = 2.0
DRAW = Draw(np.uint64(1))


def helix_to_axis(x, y, z, phi, tgl, q_over_pt):
    """Closest point of a helix to the z axis from the circle's centre (a route independent of the package's)."""
    k = -0.00299792458 * FIELD * q_over_pt
    cx, cy = x - np.sin(phi) / k, y + np.cos(phi) / k
    alpha = np.where(k > 0, np.arctan2(-cx, cy), np.arctan2(cx, -cy))
    turn = (alpha - phi + np.pi) % (2 * np.pi) - np.pi
    return alpha, np.where(k > 0, 1, -1) * np.hypot(cx, cy) - 1 / k, z + tgl * turn / k


def make_tracks(rng, counts, vertex, displaced=0.0, scale=1.0):
    """Track table of pions-like tracks from given vertices, smeared with correlated covariances."""
    event = np.repeat(np.arange(len(counts)), counts)
    n = len(event)
    pt = 0.2 + rng.exponential(0.6, n)
    eta, phi = rng.uniform(-1.5, 1.5, n), rng.uniform(-np.pi, np.pi, n)
    q_over_pt, tgl = rng.choice([-1.0, 1.0], n) / pt, np.sinh(eta)
    origin = vertex[event].copy()
    secondary = rng.random(n) < displaced
    # half strange (cm), half charm and beauty (300 um), as seen in the transverse plane
    length = np.where(rng.random(n) < 0.5, 2.5, 0.03)
    flight = np.where(secondary, rng.exponential(length), 0.0)
    angle = phi + rng.normal(0, 0.4, n)
    origin += flight[:, None] * np.column_stack([np.cos(angle), np.sin(angle), tgl])
    alpha, y, z = helix_to_axis(*origin.T, phi, tgl, q_over_pt)
    true = np.column_stack([y, z, np.zeros(n), tgl, q_over_pt])
    # 3 um (+) 15 um GeV/p, 1 mrad/p and 1 % of q/pt, correlated like position and direction in a tracker
    p = pt * np.cosh(eta)
    pointing = scale * 1e-4 * np.hypot(3.0, 15.0 / p / np.sqrt(np.cosh(eta)))
    sigma = np.column_stack([pointing, pointing * np.cosh(eta), 1e-3 / p, 1e-3 / p, 0.01 / pt])
    rho = np.eye(5)
    rho[0, 2] = rho[2, 0] = rho[1, 3] = rho[3, 1] = -0.6
    rho[0, 4] = rho[4, 0] = rho[2, 4] = rho[4, 2] = 0.3
    cov = rho * sigma[:, :, None] * sigma[:, None, :]
    smeared = true + np.einsum("nij,nj->ni", np.linalg.cholesky(cov), rng.normal(size=(n, 5)))
    columns = dict(zip(("y", "z", "snp", "tgl", "q_over_pt"), np.ascontiguousarray(smeared.T), strict=True))
    rows, cols = np.tril_indices(5)
    columns |= {"alpha": alpha, "cov": np.ascontiguousarray(cov[:, rows, cols])}
    offsets = np.concatenate([[0], np.cumsum(counts)])
    batch = EventBatch()
    batch.add(Table.per_event("event", len(counts)))
    batch.add(Table("track", offsets, columns))
    return batch, secondary


def make_vertices(rng, n, sigma=(0.01, 0.01, 6.0)):
    return rng.normal(size=(n, 3)) * sigma


def run(batch, name="vertex", field=FIELD, **config):
    stage = Vertex(name, VertexConfig(**config), Setup(field))
    return stage, stage.run(batch, DRAW)


def assert_pull(pull, what, systematic=0.0):
    """Median 0 and width of the central 68.3 % equal to 1 (errors 1.25 and 1.18 times those of mean and deviation)."""
    n = len(pull)
    center, width = np.median(pull), np.diff(np.quantile(pull, [0.158655, 0.841345]))[0] / 2
    assert abs(center) < 4 * 1.25 / np.sqrt(n) + systematic, f"{what}: median {center:.3f} of {n}"
    assert abs(width - 1) < 4 * 1.18 / np.sqrt(n) + 0.02, f"{what}: width {width:.3f} of {n}"
    # decays within the resolution, and events where they outnumber primaries, leave a small tail
    assert (np.abs(pull) > 5).mean() < 0.004, f"{what}: {(np.abs(pull) > 5).sum()} of {n} beyond 5 sigma"


@pytest.mark.parametrize(
    ("n_events", "low", "high", "displaced"),
    [(3000, 2, 3, 0.0), (2500, 3, 9, 0.0), (1500, 8, 40, 0.15), (150, 800, 1200, 0.2)],
    ids=["two tracks", "few tracks", "pp", "Pb-Pb"],
)
def test_pulls_of_vertex_and_distances(n_events, low, high, displaced):
    rng = np.random.default_rng(n_events)
    vertices = make_vertices(rng, n_events)
    batch, secondary = make_tracks(rng, rng.integers(low, high, n_events), vertices, displaced)
    _, out = run(batch)
    table, track = out.tables
    found = np.diff(table.offsets) == 1
    # tracks beyond 3.5 sigma leave a vertex: exp(-3.5**2/2) = 0.2 % of all tracks, fatal only where two are needed
    assert found.mean() > 0.98
    true = vertices[found]
    for k, (axis, var) in enumerate(zip("xyz", (0, 2, 5), strict=True)):
        pull = (table[axis] - true[:, k]) / np.sqrt(table["cov"][:, var])
        assert_pull(pull, axis)
    good = ~secondary & found[batch["track"].event_index]
    for name in ("dca_xy", "dca_z"):
        pull = track[name][good] / track[name + "_error"][good]
        # pulls within an event share its vertex: trust only the spread of independent events for the mean
        assert_pull(pull, name, systematic=1.5 / np.sqrt(n_events))
    assert track["is_pv_contributor"][good].mean() > 0.985
    displaced_far = secondary & (np.abs(track["dca_xy"]) > 10 * track["dca_xy_error"])
    assert not track["is_pv_contributor"][displaced_far].any()


def test_covariance_of_vertex_is_full():
    """x and z pulls use only the diagonal; the whole quadratic form must be chi2 with 3 degrees of freedom."""
    rng = np.random.default_rng(2)
    vertices = make_vertices(rng, 2000)
    batch, _ = make_tracks(rng, np.full(2000, 12), vertices)
    table = run(batch)[1].tables[0]
    assert table.n_rows == 2000
    rows, cols = np.tril_indices(3)
    dense = np.zeros((2000, 3, 3))
    dense[:, rows, cols] = dense[:, cols, rows] = table["cov"]
    delta = np.column_stack([table["x"], table["y"], table["z"]]) - vertices
    chi2 = np.einsum("ni,nij,nj->n", delta, np.linalg.inv(dense), delta)
    assert chi2.mean() == pytest.approx(3.0, abs=4 * np.sqrt(6 / 2000) + 0.05)


def test_resolution_scales_with_the_square_root_of_tracks():
    """N equal tracks at eta 0 around the azimuth: sigma_x = sigma sqrt(2/N), sigma_z = sigma/sqrt(N) (Fisher)."""
    for n in (64, 1024):
        phi = 2 * np.pi * (np.arange(n) + 0.5) / n
        cov = np.zeros((n, 15))
        cov[:, [0, 2]] = 1e-6
        cov[:, [5, 9, 14]] = 1e-8
        zero = np.zeros(n)
        columns = {"y": zero, "z": zero.copy(), "alpha": phi, "snp": zero.copy(), "tgl": zero.copy()}
        columns |= {"q_over_pt": np.ones(n), "cov": cov}
        batch = EventBatch({"event": Table.per_event("event", 1), "track": Table("track", [0, n], columns)})
        spot = {"sigma_x": "1 m", "sigma_y": "1 m", "sigma_z": "1 m"}
        table = run(batch, beam_spot=spot)[1].tables[0]
        # weight of a track exactly at the vertex with cut 3.5 at temperature 1
        weight = 1 / (1 + np.exp(-0.5 * 3.5**2))
        assert np.sqrt(table["cov"][0, 0]) == pytest.approx(1e-3 * np.sqrt(2 / n / weight), rel=1e-6)
        assert np.sqrt(table["cov"][0, 2]) == pytest.approx(1e-3 * np.sqrt(2 / n / weight), rel=1e-6)
        assert np.sqrt(table["cov"][0, 5]) == pytest.approx(1e-3 / np.sqrt(n * weight), rel=1e-6)
        assert table["chi2"][0] == pytest.approx(0.0, abs=1e-9)
        assert table["n_contributors"][0] == n


def test_one_track_meets_only_the_beam_spot():
    rng = np.random.default_rng(3)
    batch, _ = make_tracks(rng, np.array([1]), np.array([[0.0, 0.0, 2.0]]))
    spot = {"sigma_x": "30 um", "sigma_y": "30 um", "sigma_z": "5 cm"}
    assert run(batch, beam_spot=spot)[1].tables[0].n_rows == 0
    table, track = run(batch, beam_spot=spot, min_tracks=1)[1].tables
    assert table["n_contributors"][0] == 1
    # leave-one-out leaves the beam spot: distance to (0, 0, 0) with its spread
    y_variance, tgl = batch["track"]["cov"][0, 0], batch["track"]["tgl"][0]
    assert track["dca_xy"][0] == pytest.approx(batch["track"]["y"][0], rel=1e-3)
    assert track["dca_xy_error"][0] == pytest.approx(np.sqrt(y_variance + 0.003**2), rel=1e-3)
    z_variance = batch["track"]["cov"][0, 2]
    assert track["dca_z_error"][0] == pytest.approx(np.sqrt(z_variance + 25 + (0.003 * tgl) ** 2), rel=1e-3)
    # along the track's direction only the beam spot constrains the vertex
    assert np.sqrt(table["cov"][0, [0, 2]]).max() <= 0.003


def test_no_vertex_means_nan():
    rng = np.random.default_rng(4)
    batch, _ = make_tracks(rng, np.array([0, 1, 6]), np.zeros((3, 3)))
    table, track = run(batch)[1].tables
    assert list(table.offsets) == [0, 0, 0, 1]
    for column in TRACK_VERTEX[:4]:
        assert np.isnan(track[column.name][:1]).all()
        assert np.isfinite(track[column.name][1:]).all()
    assert not track["is_pv_contributor"][0]


def test_declared_columns_and_types():
    rng = np.random.default_rng(5)
    batch, _ = make_tracks(rng, np.array([5, 3]), np.zeros((2, 3)))
    stage, out = run(batch, name="pv")
    got = {f"{t.name}.{c}": v for t in out.tables for c, v in t.items()}
    assert set(got) == {str(c) for c in stage.writes}
    for column in stage.writes:
        assert got[str(column)].dtype == np.dtype(column.dtype), column
        assert got[str(column)].shape[1:] == column.shape, column
    assert {c.name for c in stage.writes} == {c.name for c in (*VERTEX, *TRACK_VERTEX)}


def test_displaced_daughters_do_not_bias():
    """A charm-like pair on one side of the vertex among 12 tracks: no pull towards the pair."""
    rng = np.random.default_rng(6)
    n = 1500
    vertices = make_vertices(rng, n)
    batch, _ = make_tracks(rng, np.full(n, 12), vertices)
    track = batch["track"]
    alpha, y, z = track["alpha"].copy(), track["y"].copy(), track["z"].copy()
    # move tracks 0 and 1 of every event by +200 um in x and +400 um in z
    for row in (0, 1):
        rows = np.arange(n) * 12 + row
        y[rows] -= 0.02 * np.sin(alpha[rows])
        z[rows] += 0.04 - track["tgl"][rows] * 0.02 * np.cos(alpha[rows])
    columns = {**dict(track), "y": y, "z": z}
    moved = EventBatch({"event": batch["event"], "track": Table("track", track.offsets, columns)})
    table = run(moved)[1].tables[0]
    found = np.diff(table.offsets) == 1
    for k, (axis, var) in enumerate(zip("xyz", (0, 2, 5), strict=True)):
        pull = (table[axis] - vertices[found][:, k]) / np.sqrt(table["cov"][:, var])
        assert abs(np.median(pull)) < 4 * 1.25 / np.sqrt(n) + 0.05, axis
        assert pull.std() < 1.25, axis


def test_beam_spot_away_from_the_origin_and_far_warning():
    rng = np.random.default_rng(7)
    centre = np.array([0.3, -0.2, 4.0])
    vertices = centre + make_vertices(rng, 400, (0.002, 0.002, 5.0))
    batch, _ = make_tracks(rng, np.full(400, 20), vertices)
    spot = {"x": "3 mm", "y": "-2 mm", "z": "4 cm", "sigma_x": "20 um", "sigma_y": "20 um", "sigma_z": "5 cm"}
    out = run(batch, beam_spot=spot)[1]
    assert out.counts == {"events without a vertex": 0}
    pull = (out.tables[0]["x"] - vertices[:, 0]) / np.sqrt(out.tables[0]["cov"][:, 0])
    assert_pull(pull, "x")
    for sigma in ("20 um", "200 um"):
        wrong = run(batch, beam_spot={"sigma_x": sigma, "sigma_y": sigma})[1]
        assert [n for key, n in wrong.counts.items() if key.startswith("warning")] == [400], sigma


def test_zero_field_straight_tracks():
    """Without a field the sample's curvature must not be used: straight tracks through one point fit it exactly."""
    phi = np.array([0.1, 1.9, -2.0, 3.0])
    tgl = np.array([0.0, 1.0, -0.5, 2.0])
    point = np.array([0.02, -0.01, 3.0])
    y = -point[0] * np.sin(phi) + point[1] * np.cos(phi)
    s = point[0] * np.cos(phi) + point[1] * np.sin(phi)
    cov = np.zeros((4, 15))
    cov[:, [0, 2, 5, 9, 14]] = 1e-6, 1e-6, 1e-8, 1e-8, 1e-4
    columns = {"y": y, "z": point[2] - tgl * s, "alpha": phi, "snp": 0 * phi, "tgl": tgl}
    columns |= {"q_over_pt": np.array([1.0, -5.0, 2.0, 0.1]), "cov": cov}
    batch = EventBatch({"event": Table.per_event("event", 1), "track": Table("track", [0, 4], columns)})
    spot = {"sigma_x": "10 m", "sigma_y": "10 m", "sigma_z": "10 m"}
    table, track = run(batch, field=0.0, beam_spot=spot)[1].tables
    assert [table[a][0] for a in "xyz"] == pytest.approx(point, abs=1e-6)
    assert np.abs(track["dca_xy"]).max() < 1e-6


def test_batches_and_order_of_events_change_nothing():
    rng = np.random.default_rng(8)
    vertices = make_vertices(rng, 30)
    batch, _ = make_tracks(rng, rng.integers(0, 30, 30), vertices, 0.2)
    whole = run(batch)[1].tables
    parts = [batch.slice_events(a, b) for a, b in ((20, 30), (0, 7), (7, 20))]
    split = concat(
        [EventBatch({t.name: t for t in (p["event"], *run(p)[1].tables)}) for p in (parts[1], parts[2], parts[0])]
    )
    for table in whole:
        for name, values in table.items():
            np.testing.assert_array_equal(split[table.name][name], values)


def test_agrees_with_a_dense_least_squares_fit():
    """Independent linear algebra with the weights found: normal equations from numerical derivatives of the helix."""
    rng = np.random.default_rng(9)
    vertices = np.array([[0.004, -0.006, 1.0]])
    batch, _ = make_tracks(rng, np.array([15]), vertices)
    table, _ = run(batch, outlier_cut=50.0)[1].tables
    t = batch["track"]
    information, rhs = np.diag([1e4, 1e4, 1 / 36]), np.zeros(3)

    def residual(params, alpha, v):
        y, z, snp, tgl, qpt = params
        x0, y0 = -y * np.sin(alpha) - v[0], y * np.cos(alpha) - v[1]
        _, d, zc = helix_to_axis(x0, y0, z, alpha + np.arcsin(snp), tgl, qpt)
        return np.array([float(d), float(zc) - v[2]])

    v0 = np.array([table[a][0] for a in "xyz"])
    rows, cols = np.tril_indices(5)
    for i in range(t.n_rows):
        params = np.array([t[c][i] for c in ("y", "z", "snp", "tgl", "q_over_pt")])
        cov = np.zeros((5, 5))
        cov[rows, cols] = cov[cols, rows] = t["cov"][i]
        step = 1e-6
        jac = np.column_stack(
            [
                (residual(params + step * e, t["alpha"][i], v0) - residual(params - step * e, t["alpha"][i], v0))
                for e in np.eye(5)
            ]
        ) / (2 * step)
        design = -np.column_stack(
            [
                (residual(params, t["alpha"][i], v0 + step * e) - residual(params, t["alpha"][i], v0 - step * e))
                for e in np.eye(3)
            ]
        ) / (2 * step)
        weight = np.linalg.inv(jac @ cov @ jac.T)
        information += design.T @ weight @ design
        rhs += design.T @ weight @ residual(params, t["alpha"][i], v0)
    rhs += np.diag([1e4, 1e4, 1 / 36]) @ (-v0)
    cov = np.linalg.inv(information)
    # tracks count as straight between beam spot and vertex: below 2 % of the error of the vertex
    np.testing.assert_allclose(cov @ rhs, 0, atol=0.02 * np.sqrt(cov[0, 0]))
    np.testing.assert_allclose(cov[np.tril_indices(3)], table["cov"][0], rtol=1e-3, atol=1e-3 * cov[0, 0])


def test_promises_of_a_stage():
    """Columns, batch splits, order of events: bitwise, also with two tracks per event and a card name of its own."""
    rng = np.random.default_rng(10)
    counts = np.array([6, 0, 2, 25, 1, 2])
    batch, _ = make_tracks(rng, counts, make_vertices(rng, len(counts)), 0.2)
    check_stage(Vertex("pv", VertexConfig(), Setup(FIELD)), batch)
