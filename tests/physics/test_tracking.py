"""Tracking: pulls, efficiencies, covariances, the ALICE algorithm draw for draw, nuclei, losses and counters."""

import math
import struct
from dataclasses import replace

import numpy as np
import pytest

from flashdet.errors import StageError
from flashdet.event import EventBatch, Table
from flashdet.kernels.philox import normals, uniforms
from flashdet.lut.alice import read_alice
from flashdet.lut.axis import Axis
from flashdet.lut.table import Lut
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS, SPECIES_PDG
from flashdet.stages.base import Setup
from flashdet.stages.propagate import Propagate, PropagateConfig
from flashdet.stages.tracking import Tracking, TrackingConfig
from flashdet.testing import check_stage, gun, make_events

PARAMETERS = ("y", "z", "snp", "tgl", "q_over_pt")
DIAGONAL = (0, 2, 5, 9, 14)
CORRELATION = np.eye(5)
for i, j, rho in ((0, 2, -0.65), (1, 3, -0.70), (0, 4, 0.25), (2, 4, -0.40)):
    CORRELATION[i, j] = CORRELATION[j, i] = rho


def sigmas(pt, eta, charge=1):
    """Standard deviations that follow powers of pt and exponentials of eta: linear in the coordinates of the table."""
    pt, eta = np.broadcast_arrays(pt, eta)
    stretch = np.exp(0.3 * np.asarray(eta))
    return np.stack(
        [2e-3 / pt * stretch, 3e-3 / pt * stretch, 1e-3 / pt * stretch, 2e-3 / np.sqrt(pt), 0.01 * charge / pt], -1
    )


def make_lut(species, field=2.0, efficiency=lambda nch, eta, pt: 0.8 + 0 * (nch + eta + pt), scale=1.0, **meta):
    charge, i = SPECIES_CHARGE[SPECIES.index(species)], SPECIES.index(species)
    nch = Axis("nch", "", 4, 1.0, 1e4, "log")
    radius = Axis("radius", "cm", 1, 0.0, 100.0)
    eta = Axis("eta", "", 16, -4.0, 4.0)
    pt = Axis("pt", "GeV", 20, 0.01, 100.0, "log")
    sigma = scale * sigmas(pt.centers[None, :], eta.centers[:, None], charge)
    covariance = (sigma[..., :, None] * sigma[..., None, :] * CORRELATION)[..., *np.tril_indices(5)]
    values = efficiency(nch.centers[:, None, None], eta.centers[:, None], pt.centers)
    return Lut(
        species=species,
        pdg=SPECIES_PDG[i],
        mass=SPECIES_MASS[i],
        charge=charge,
        field=field,
        efficiency_axes=(nch, eta, pt),
        efficiency=np.ascontiguousarray(values),
        covariance_axes=(radius, eta, pt),
        covariance=covariance[None],
        valid=np.ones((1, 16, 20), np.bool_),
        meta=meta,
    )


def offered(batch, bz=2.0, **config):
    """The batch after propagate."""
    result = batch.copy()
    for table in Propagate("propagate", PropagateConfig(**config), Setup(bz)).run(batch, Draw.of(1, "p")).tables:
        result.add(table)
    return result


def tracked(batch, luts, bz=2.0, seed=1, **config):
    """Tracks, the truth of each of them, and the counters."""
    setup = Setup(bz, {lut.species: lut for lut in luts})
    output = Tracking("tracking", TrackingConfig(**config), setup).run(batch, Draw.of(seed, "tracking"))
    (track,) = output.tables
    charged = batch["charged"]
    place = {key: row for row, key in enumerate(identities(charged))}
    rows = [place[key] for key in identities(track)]
    return track, {name: values[rows] for name, values in charged.items()}, output.counts


def identities(table):
    """(event, particle) of each row."""
    return list(zip(table.event_index.tolist(), table["particle_index"].tolist(), strict=True))


def deviations(track, truth):
    """(n, 5) measured minus generated parameters."""
    true = {**truth, "snp": np.zeros(track.n_rows)}
    return np.stack([track[name] - true[name] for name in PARAMETERS], -1)


@pytest.fixture(scope="module")
def all_species():
    """20 000 particles of all species over the whole table."""
    return offered(gun(n_events=40, particles=500, pt=(0.3, 30.0), eta=(-3.8, 3.8)))


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_pulls_are_standard_normal_per_parameter_species_and_region(all_species, interpolation):
    luts = [make_lut(s) for s in SPECIES]
    track, truth, counts = tracked(all_species, luts, interpolation=interpolation)
    pulls = deviations(track, truth) / np.sqrt(track["cov"][:, DIAGONAL])
    assert "lost: unphysical snp" not in counts
    regions = [truth["species"] == i for i in range(9)]
    regions += [(truth["eta"] > a) & (truth["eta"] <= a + 2) for a in (-4, -2, 0, 2)]
    regions += [(truth["pt"] > a) & (truth["pt"] <= b) for a, b in ((0.3, 1), (1, 5), (5, 30))]
    for region in regions:
        n = region.sum()
        assert n > 1000
        # 80 comparisons each: 4.5 standard deviations
        assert np.all(np.abs(pulls[region].mean(axis=0)) < 4.5 / math.sqrt(n))
        assert np.all(np.abs(pulls[region].std(axis=0) - 1.0) < 4.5 / math.sqrt(2 * n))
    correlation = np.corrcoef(pulls.T)
    np.testing.assert_allclose(correlation, CORRELATION, atol=4.5 / math.sqrt(len(pulls)))


def test_chi2_of_the_full_covariance(all_species):
    track, truth, _ = tracked(all_species, [make_lut(s) for s in SPECIES])
    matrix = np.zeros((track.n_rows, 5, 5))
    row, column = np.tril_indices(5)
    matrix[:, row, column] = matrix[:, column, row] = track["cov"]
    d = deviations(track, truth)
    chi2 = np.einsum("ni,ni->n", d, np.linalg.solve(matrix, d[..., None])[..., 0])
    n = len(chi2)
    assert chi2.mean() == pytest.approx(5.0, abs=4.5 * math.sqrt(10 / n))
    assert chi2.var() == pytest.approx(10.0, abs=4.5 * math.sqrt((8 * 10 + 480 / 4) * 10 / n))
    # 9.236 is the 90 % point for five degrees of freedom
    assert np.mean(chi2 > 9.2364) == pytest.approx(0.1, abs=4.5 * math.sqrt(0.09 / n))


def test_linear_interpolation_of_the_covariance_is_exact_for_power_laws(all_species):
    track, truth, _ = tracked(all_species, [make_lut(s) for s in SPECIES])
    inside = np.abs(truth["eta"]) < 3.7
    sigma = sigmas(truth["pt"], truth["eta"])
    sigma[:, 4] *= np.abs(truth["charge"])
    expected = (sigma[:, :, None] * sigma[:, None, :] * CORRELATION)[:, *np.tril_indices(5)]
    size = (sigma[:, :, None] * sigma[:, None, :])[:, *np.tril_indices(5)]
    np.testing.assert_allclose((track["cov"] / size)[inside], (expected / size)[inside], atol=5e-6)


def test_efficiencies_are_binomial():
    def efficiency(nch, eta, pt):
        return np.clip(0.5 + 0.1 * np.log10(pt) + 0.05 * eta - 0.04 * np.log10(nch) + 0 * nch, 0.0, 1.0)

    batch = offered(gun((211,), n_events=30, particles=1000, pt=(0.05, 20.0), eta=(-3.5, 3.5)))
    lut = make_lut("pion", efficiency=efficiency)
    track, _, counts = tracked(batch, [lut])
    charged = batch["charged"]
    dndeta = batch["event"]["dndeta"][charged.event_index]
    # linear in every coordinate of the table, so interpolation is exact inside the outer bin centres
    p = efficiency(dndeta, charged["eta"], charged["pt"])
    accepted = np.zeros(charged.n_rows, np.bool_)
    place = charged.offsets[track.event_index] + track["particle_index"]
    accepted[place] = True
    for low, high in ((-3.5, -1.2), (-1.2, 1.2), (1.2, 3.5)):
        for pt_low, pt_high in ((0.05, 0.5), (0.5, 3.0), (3.0, 20.0)):
            cell = (charged["eta"] > low) & (charged["eta"] <= high)
            cell &= (charged["pt"] > pt_low) & (charged["pt"] <= pt_high)
            sigma = math.sqrt((p * (1 - p))[cell].sum())
            assert accepted[cell].sum() == pytest.approx(p[cell].sum(), abs=4 * sigma)
    assert counts["lost: inefficiency"] == charged.n_rows - track.n_rows
    every, _, counts = tracked(batch, [lut], efficiency=False)
    assert every.n_rows == charged.n_rows
    assert counts == {}


def test_columns_agree_with_each_other(all_species):
    track, truth, _ = tracked(all_species, [make_lut(s) for s in SPECIES])
    np.testing.assert_array_equal(track["x"], 0.0)
    np.testing.assert_allclose(track["pt"], 1 / np.abs(track["q_over_pt"]))
    np.testing.assert_allclose(np.sinh(track["eta"]), track["tgl"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(np.cos(track["phi"] - track["alpha"] - np.arcsin(track["snp"])), 1.0)
    assert np.all(np.abs(track["phi"]) <= math.pi)
    np.testing.assert_array_equal(track["charge"], np.sign(track["q_over_pt"]))
    for name in ("pdg", "charge", "mass", "pt", "eta", "phi", "vx", "vy", "vz", "vt", "species"):
        np.testing.assert_array_equal(track[f"{name}_true"], truth[name])
    np.testing.assert_array_equal(track["alpha"], truth["alpha"])


# --- the ALICE algorithm ---------------------------------------------------------------------------------------------
SCALARS = [(n, "<f4") for n in ("eff", "eff2", "itof", "otof")]
ARRAYS = [("covm", "<f4", 15), ("eigval", "<f4", 5), ("eigvec", "<f4", (5, 5)), ("eiginv", "<f4", (5, 5))]
ENTRY = np.dtype([("nch", "<f4"), ("eta", "<f4"), ("pt", "<f4"), ("valid", "?"), ("padding", "V3"), *SCALARS, *ARRAYS])
MAPS = ((4, 0.5, 3.5, True), (1, 0.0, 100.0, False), (8, -4.0, 4.0, False), (10, -2.0, 2.0, True))


def write_synthetic(path, pdg, mass):
    """An ALICE file of 320 entries, invalid where pt < 0.03 and abs(eta) > 3; eigenvectors from numpy."""
    entries = np.zeros((4, 1, 8, 10), ENTRY)
    for i_nch, i_eta, i_pt in np.ndindex(4, 8, 10):
        e = entries[i_nch, 0, i_eta, i_pt]
        eta, pt = -4 + (i_eta + 0.5), 10 ** (-2 + (i_pt + 0.5) * 0.4)
        e["nch"], e["eta"], e["pt"] = 10 ** (0.5 + 0.75 * (i_nch + 0.5)), eta, pt
        e["valid"] = not (pt < 0.03 and abs(eta) > 3)
        e["eff"] = (1 - math.exp(-pt / 0.1)) * (1 - 0.05 * i_nch) * 0.98
        multiple = math.sqrt(1 + 1 / pt**2)
        s = np.array([5e-4, 6e-4, 1e-3, 1.2e-3, 0.01 / pt]) * multiple * math.cosh(eta) ** 0.3
        matrix = CORRELATION * s[:, None] * s[None, :]
        values, vectors = np.linalg.eigh(matrix)
        e["covm"] = matrix[np.tril_indices(5)]
        e["eigval"], e["eigvec"], e["eiginv"] = values[::-1], vectors[:, ::-1], np.linalg.inv(vectors[:, ::-1])
    header = struct.pack("<iiff", 20210801, pdg, mass, 2.0) + b"".join(struct.pack("<iff?3x", *m) for m in MAPS)
    path.write_bytes(header + entries.tobytes())
    assert path.stat().st_size == 80 + 312 * 320
    return entries


def find(value, n_bins, low, high, is_log):
    """Bin of ``map_t::find``: binary32, truncated towards zero, clamped."""
    value, low, high = np.float32(value), np.float32(low), np.float32(high)
    width = np.float32((high - low) / np.float32(n_bins))
    x = math.log10(value) if is_log else value
    return min(max(int((x - low) / width), 0), n_bins - 1)


def smear_track(entries, row, nch, u, g):
    """The algorithm of the ALICE TrackSmearer for one particle with recorded draws; None if it is lost."""
    p = np.array([row["y"], row["z"], 0.0, row["tgl"], row["q_over_pt"]], np.float32)
    pt = abs(row["charge"]) / abs(p[4])
    eta = math.asinh(p[3])
    entry = entries[find(nch, *MAPS[0]), 0, find(eta, *MAPS[2]), find(pt, *MAPS[3])]
    if not entry["valid"] or u > entry["eff"]:
        return None
    c = [float(np.sum(entry["eigvec"][:, k] * p, dtype=np.float64)) for k in range(5)]
    c = [c[k] + g[k] * math.sqrt(entry["eigval"][k]) for k in range(5)]
    return [sum(float(entry["eiginv"][k, i]) * c[k] for k in range(5)) for i in range(5)], entry["covm"]


@pytest.mark.parametrize(("species", "code"), [("pion", 211), ("helium3", 1000020030)])
def test_nearest_mode_is_the_alice_algorithm_draw_for_draw(tmp_path, species, code):
    entries = write_synthetic(tmp_path / "lut.dat", code, SPECIES_MASS[SPECIES.index(species)])
    lut = read_alice(tmp_path / "lut.dat")
    # beyond all axes on purpose
    batch = gun((code,), n_events=20, particles=100, pt=(0.004, 300.0), eta=(-4.9, 4.9))
    batch = offered(batch, eta_max=5.0)
    rng = np.random.default_rng(3)
    event = dict(batch["event"]) | {"dndeta": 10 ** rng.uniform(-1, 4.5, 20)}
    batch.tables["event"] = Table("event", batch["event"].offsets, event)
    track, _, counts = tracked(batch, [lut], interpolation="nearest")

    key, charged = Draw.of(1, "tracking").key, batch["charged"]
    wanted = {}
    for row in range(charged.n_rows):
        i_event, index = int(charged.event_index[row]), int(charged["particle_index"][row])
        stream = (key, event["key"][i_event], index)
        u = uniforms(*stream, 0)[0]
        g = (*normals(*stream, 1), *normals(*stream, 2), normals(*stream, 3)[0])
        values = {name: charged[name][row] for name in charged}
        smeared = smear_track(entries, values, event["dndeta"][i_event], u, g)
        if smeared is not None and abs(smeared[0][2]) < 1:
            wanted[i_event, index] = smeared
    got = identities(track)
    assert got == list(wanted)
    assert 1000 < len(got) < charged.n_rows
    params = np.array([wanted[key][0] for key in got])
    covariance = np.array([wanted[key][1] for key in got])
    np.testing.assert_array_equal(track["cov"], covariance.astype(np.float64))
    # The original keeps its parameters in single precision: rounding of a large z or tgl leaks into the others.
    sigma = np.sqrt(covariance[:, DIAGONAL].astype(np.float64))
    measured = np.stack([track[name] for name in PARAMETERS], -1)
    scale = 2.0**-23 * np.abs(params).max(axis=1, keepdims=True)
    assert np.all(np.abs(measured - params) < 0.03 * sigma + 4 * scale)
    assert np.median(np.abs(measured - params) / sigma) < 1e-3
    assert {"out of range: pt below (clamped)", "out of range: pt above (clamped)"} <= set(counts)
    assert {"out of range: nch below (clamped)", "out of range: eta above (clamped)"} <= set(counts)


# --- nuclei and particles without a LUT of their own -----------------------------------------------------------------
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("code", [1000020030, 1000020040, -1000020040])
def test_nuclei_are_looked_up_at_their_pt_not_at_their_rigidity(code, interpolation):
    """pt 2 GeV, rigidity 1: only the bin of pt = 2 is efficient."""
    species = SPECIES[SPECIES_PDG.index(abs(code))]

    def efficiency(nch, eta, pt):
        return np.where(pt > 1.3, 1.0, 0.0) + 0 * (nch + eta)

    batch = offered(make_events([code] * 400, 2.0, 0.1, 0.3))
    track, truth, counts = tracked(batch, [make_lut(species, efficiency=efficiency)], interpolation=interpolation)
    assert track.n_rows == 400, counts
    np.testing.assert_allclose(truth["q_over_pt"], math.copysign(1.0, code))
    assert track["pt"].mean() == pytest.approx(1.0, abs=0.01)
    assert np.all(track["charge"] == np.sign(code))
    assert np.all(track["pt_true"] == pytest.approx(2.0))


def test_species_without_lut_takes_the_nearest_mass_of_the_same_charge():
    batch = offered(make_events([3334, 1000010020, 321, 1000020040], 2.0, 0.1, 0.3))
    luts = [make_lut(s, efficiency=lambda nch, eta, pt: 1.0 + 0 * (nch + eta + pt)) for s in ("pion", "proton")]
    track, _, counts = tracked(batch, luts)
    # Omega (1.67), deuteron (1.88): proton; kaon (0.494): pion (0.354 away) rather than proton (0.445 away)
    assert [SPECIES[s] for s in track["species_true"]] == ["proton", "proton", "pion"]
    assert counts == {
        "lost: no LUT for this charge": 1,
        "lut stand-in: pion": 1,
        "lut stand-in: proton": 2,
    }


# --- field -----------------------------------------------------------------------------------------------------------
def test_luts_must_fit_the_field():
    with pytest.raises(StageError, match=r"LUT of pion was made for 0.5 T, the card says 2 T"):
        Tracking("tracking", TrackingConfig(), Setup(2.0, {"pion": make_lut("pion", field=0.5)}))
    Tracking("tracking", TrackingConfig(), Setup(-2.01, {"pion": make_lut("pion", field=2.0)}))
    with pytest.raises(StageError, match="no LUT"):
        Tracking("tracking", TrackingConfig(), Setup(2.0))


def test_opposite_field_flips_the_correlations_of_q_over_pt():
    """The tracker measures the curvature, q/pt times field: positions do not know the sign of the field."""
    batch = offered(make_events([211] * 20000, 1.0, 0.1, 0.3), bz=-2.0)
    for lut_field in (2.0, -2.0):
        track, truth, _ = tracked(batch, [make_lut("pion", field=lut_field)], bz=-2.0)
        correlation = np.corrcoef(deviations(track, truth).T)
        sign = np.sign(lut_field * -2.0)
        expected = CORRELATION.copy()
        expected[4, :4] *= sign
        expected[:4, 4] *= sign
        np.testing.assert_allclose(correlation, expected, atol=4.5 / math.sqrt(track.n_rows))
        quoted = track["cov"][:, [10, 12]] / np.sqrt(track["cov"][:, [0, 5]] * track["cov"][:, [14]])
        np.testing.assert_allclose(quoted, np.broadcast_to(expected[4, [0, 2]], quoted.shape), rtol=1e-4)


# --- losses ----------------------------------------------------------------------------------------------------------
def test_unphysical_angles_are_lost_and_counted():
    wide = make_lut("pion", efficiency=lambda nch, eta, pt: 1.0 + 0 * (nch + eta + pt))
    cov = wide.covariance.copy()
    cov[..., :] = 0.0
    cov[..., DIAGONAL] = (1e-6, 1e-6, 0.25, 1e-6, 1e-6)
    n = 10000
    track, _, counts = tracked(offered(make_events([211] * n, 1.0, 0.1, 0.3)), [replace(wide, covariance=cov)])
    # beyond two standard deviations on either side
    expected = n * math.erfc(2 / math.sqrt(2))
    assert counts["lost: unphysical snp"] == pytest.approx(expected, abs=4.5 * math.sqrt(expected))
    assert track.n_rows + counts["lost: unphysical snp"] == n
    assert np.all(np.abs(track["snp"]) < 1)


def test_charge_can_be_mismeasured():
    batch = offered(make_events([211] * 5000, 50.0, 0.1, 0.3))
    track, _, _ = tracked(batch, [make_lut("pion", scale=100.0)])
    # q/pt = 0.02 with an error of 0.02: one standard deviation
    wrong = 0.5 * math.erfc(1 / math.sqrt(2))
    assert np.mean(track["charge"] < 0) == pytest.approx(wrong, abs=4.5 * math.sqrt(wrong / track.n_rows))


def test_cells_that_are_not_valid():
    lut = make_lut("pion")
    valid = lut.valid.copy()
    valid[:, :8] = False
    track, truth, counts = tracked(
        offered(gun((211,), n_events=4, particles=250, eta=(-3, 3))), [replace(lut, valid=valid)]
    )
    assert np.all(truth["eta"] >= 0)
    assert 400 < counts["lost: not reconstructable"] < 600
    assert track.n_rows + counts["lost: not reconstructable"] + counts["lost: inefficiency"] == 1000


@pytest.mark.parametrize(
    ("axis", "kwargs", "side"),
    [
        ("pt", {"pt": 0.005}, "below"),
        ("pt", {"pt": 150.0}, "above"),
        ("eta", {"eta": 4.2}, "above"),
        ("radius", {"vertex": (0.0, 120.0, 0.0, 0.0)}, "above"),
    ],
)
def test_out_of_range_rules(axis, kwargs, side):
    values = {"pt": 1.0, "eta": 0.1, "phi": 0.3} | kwargs
    batch = offered(make_events([211] * 100, **values), eta_max=5, radius_max="2 m")
    luts = [make_lut("pion", scale=1e-3)]
    track, _, counts = tracked(batch, luts)
    assert track.n_rows > 50
    assert counts[f"out of range: {axis} {side} (clamped)"] == 100
    track, _, counts = tracked(batch, luts, out_of_range={axis: "reject"})
    assert track.n_rows == 0
    counts.pop("out of range: nch below (clamped)", None)
    assert counts == {f"out of range: {axis} {side} (rejected)": 100, "lost: outside the LUT": 100}
    with pytest.raises(StageError, match=rf"event 0, particle 0: a pion .*{axis} "):
        tracked(batch, luts, out_of_range={axis: "error"})


def test_multiplicity_out_of_range():
    batch = offered(make_events([211], 1.0, 0.1, 0.3))
    track, _, counts = tracked(batch, [make_lut("pion")], out_of_range={"nch": "reject"})
    assert counts == {"out of range: nch below (rejected)": 1, "lost: outside the LUT": 1}
    assert track.n_rows == 0


# --- promises --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_conformance(interpolation):
    setup = Setup(2.0, {s: make_lut(s) for s in SPECIES if s != "kaon"})
    stage = Tracking("tracking", TrackingConfig(interpolation=interpolation), setup)
    check_stage(stage, offered(gun(n_events=7, particles=15, eta=(-4, 4), pt=(0.005, 5))))


def test_rows_do_not_know_each_other(all_species):
    """Fewer particles of the same events, in another order of rows: the same numbers for each."""
    luts = [make_lut(s) for s in SPECIES]
    whole, _, _ = tracked(all_species, luts)
    charged = all_species["charged"]
    chosen = np.arange(charged.n_rows) % 7 == 3
    part = EventBatch({}, all_species.weight_names)
    part.add(all_species["event"])
    backwards = np.lexsort((-np.arange(charged.n_rows), charged.event_index))
    part.add(Table("charged", charged.offsets, {n: v[backwards] for n, v in charged.items()}).select(chosen))
    track, _, _ = tracked(part, luts)
    place = {key: row for row, key in enumerate(identities(whole))}
    rows = [place[key] for key in identities(track)]
    assert track.n_rows > 1000
    for name in whole:
        assert whole[name][rows].tobytes() == track[name].tobytes(), name


def test_seed_and_stage_name_change_the_numbers(all_species):
    luts = [make_lut(s) for s in SPECIES]
    one, _, _ = tracked(all_species, luts)
    two, _, _ = tracked(all_species, luts, seed=2)
    n = min(one.n_rows, two.n_rows)
    assert np.mean(one["y"][:n] == two["y"][:n]) < 0.001
