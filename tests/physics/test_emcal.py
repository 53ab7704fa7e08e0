"""Calorimeter: resolution, acceptance, ionisation, matching, and slips of other programs that must not come back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS, SPECIES_PDG
from flashdet.stages.base import Setup
from flashdet.stages.emcal.config import EMCalConfig
from flashdet.stages.emcal.stage import EMCal
from flashdet.testing import check_stage, make_events

DRAW = Draw.of(1, "emcal")
BARREL = {"cylinder": {"radius": "125 cm", "half_length": "270 cm"}}
ENDCAP = {"disc": {"z": "-450 cm", "r_min": "15 cm", "r_max": "160 cm"}}


def make_stage(field=2.0, name="emcal", **config):
    config = {"shape": [BARREL, ENDCAP]} | config
    return EMCal(name, EMCalConfig(**config), Setup(field))


def add_tracks(batch, rows=None, relative=0.005):
    """Perfectly measured tracks for the charged particles of hand-made events (or for the given rows)."""
    p = batch["particle"]
    code = np.abs(p["pdg"])
    charged = np.isin(code, SPECIES_PDG) if rows is None else rows
    species = np.array([SPECIES_PDG.index(c) for c in code[charged]], np.int64)
    charge = np.sign(p["pdg"][charged]) * np.array(SPECIES_CHARGE)[species] * np.where(species < 2, -1, 1)
    px, py, pz = (p[c][charged] for c in ("px", "py", "pz"))
    pt = np.hypot(px, py)
    cov = np.zeros((len(pt), 15))
    cov[:, 14] = (relative * charge / pt) ** 2
    counts = np.add.reduceat(np.append(charged, False), p.offsets[:-1]) if len(charged) else np.zeros(batch.n_events)
    counts = np.where(np.diff(p.offsets) == 0, 0, counts)
    columns = {
        "particle_index": (np.flatnonzero(charged) - p.offsets[p.event_index[charged]]).astype(np.int32),
        "tgl": pz / pt,
        "eta": np.arcsinh(pz / pt),
        "pt": pt / np.abs(charge),
        "q_over_pt": charge / pt,
        "cov": cov,
        "species_true": species.astype(np.int8),
        "pdg_true": p["pdg"][charged],
        "charge_true": charge.astype(np.int8),
        "mass_true": np.array(SPECIES_MASS)[species],
        "pt_true": pt,
        "eta_true": np.arcsinh(pz / pt),
        "phi_true": np.arctan2(py, px),
        **{f"{c}_true": p[c][charged] for c in ("vx", "vy", "vz", "vt")},
    }
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    batch.add(Table("track", offsets, {k: np.ascontiguousarray(v) for k, v in columns.items()}))
    index = {"particle_index": batch["track"]["particle_index"].copy()}
    batch.add(Table("charged", offsets.copy(), index))
    batch["event"].attach("collision_time", np.zeros(batch.n_events))
    return batch


def simulate(batch, stage=None, draw=DRAW):
    stage = stage or make_stage()
    out = stage.run(batch, draw)
    tracks, clusters = out.tables
    return tracks, clusters, out.counts


def photons(n, energy, eta=0.3, **kwargs):
    phi = np.linspace(-3, 3, n)
    eta = np.broadcast_to(eta, n)
    return add_tracks(make_events(np.full(n, 22), energy / np.cosh(eta), eta, phi, **kwargs))


@pytest.mark.parametrize(("energy", "percent"), [(0.1, 6.7), (1.0, 2.24), (2.0, 1.73), (10.0, 1.18)])
def test_energy_resolution(energy, percent):
    """sigma(E)/E of DelphesO2's crystal-like numbers: 6.7, 2.24, 1.73, 1.18 % at 0.1, 1, 2, 10 GeV."""
    n = 20000
    _, clusters, _ = simulate(photons(n, energy), make_stage(threshold="0 MeV"))
    assert clusters.n_rows == n
    closed = np.sqrt((0.002 / energy) ** 2 + 0.02**2 / energy + 0.01**2)
    assert round(100 * closed, 1 if energy < 1 else 2) == percent
    ratio = clusters["energy"] / energy - 1
    assert abs(ratio.mean()) < 4 * closed / np.sqrt(n)
    assert ratio.std() == pytest.approx(closed, rel=4 / np.sqrt(2 * n))
    assert clusters["energy_error"] == pytest.approx(closed * energy, rel=0.25)
    assert stats.kstest(ratio / closed, "norm").pvalue > 1e-4
    assert clusters["energy_true"] == pytest.approx(energy)


def test_positions_are_smeared_on_the_surface():
    """sigma_x = 0.335 cm at 1 GeV in both directions; the stored position is the smeared one."""
    n, eta = 20000, 0.3
    _, clusters, _ = simulate(photons(n, 1.0, eta))
    x, y, z = clusters["x"], clusters["y"], clusters["z"]
    assert np.hypot(x, y) == pytest.approx(125.0, rel=1e-12)
    order = np.argsort(clusters["particle_index"])
    true_phi = np.linspace(-3, 3, n)
    along = 125 * ((np.arctan2(y, x)[order] - true_phi + np.pi) % (2 * np.pi) - np.pi)
    for shift in (along, z - 125 * np.sinh(eta)):
        assert shift.std() == pytest.approx(np.hypot(0.15, 0.30), rel=4 / np.sqrt(2 * n) + 1e-3)
        assert abs(shift.mean()) < 4 * 0.34 / np.sqrt(n)
    assert np.median(clusters["position_error"]) == pytest.approx(0.3354, rel=1e-3)
    assert clusters["eta"] == pytest.approx(np.arcsinh(z / 125))
    assert clusters["phi"] == pytest.approx(np.arctan2(y, x))


def test_positions_on_an_end_cap():
    n = 5000
    _, clusters, _ = simulate(photons(n, 4.0, -2.5))
    assert clusters.n_rows == n
    assert (clusters["surface"] == 1).all()
    assert (clusters["z"] == -450.0).all()
    radius = 450 / np.sinh(2.5)
    shift = clusters["x"] - radius * np.cos(np.linspace(-3, 3, n))
    assert shift.std() == pytest.approx(np.hypot(0.15, 0.15), rel=4 / np.sqrt(2 * n) + 1e-3)


def test_only_final_photons_count():
    """Intermediate copies, decayed photons and photons of any other status leave nothing."""
    batch = add_tracks(make_events([22] * 5, 1.0, 0.1, np.arange(5) - 2.0, status=[1, 2, 44, 62, 1]))
    _, clusters, _ = simulate(batch)
    assert list(clusters["particle_index"]) == [0, 4]


def test_acceptance_from_the_production_vertex():
    """Real edges in z as seen from the vertex; a photon made outside or flying past leaves nothing."""
    edge = np.arcsinh(270 / 125)
    assert simulate(photons(3, 2.0, edge - 0.01))[1].n_rows == 3
    assert simulate(photons(3, 2.0, edge + 0.01))[1].n_rows == 0
    # 100 cm downstream the same direction leaves the barrel 100 cm earlier
    moved = np.arcsinh(170 / 125)
    assert simulate(photons(3, 2.0, moved - 0.01, vertex=(0, 0, 100, 0)))[1].n_rows == 3
    assert simulate(photons(3, 2.0, moved + 0.01, vertex=(0, 0, 100, 0)))[1].n_rows == 0
    assert simulate(photons(3, 2.0, 0.0, vertex=(130, 0, 0, 0)))[1].n_rows == 0
    # end-cap only at negative z
    assert simulate(photons(3, 2.0, -2.5))[1].n_rows == 3
    assert simulate(photons(3, 2.0, 2.5))[1].n_rows == 0
    # straight from a displaced vertex: hits where geometry says
    batch = add_tracks(make_events(22, 50.0, 0.0, 0.0, vertex=(10, 20, 5, 0)))
    _, clusters, _ = simulate(batch)
    assert clusters["y"][0] == pytest.approx(20, abs=1.0)
    assert clusters["z"][0] == pytest.approx(5, abs=1.0)


def test_photon_along_the_beam_is_harmless():
    batch = add_tracks(make_events(22, 0.0, 0.0, 0.0))
    batch["particle"]["pz"].flags.writeable = True
    batch["particle"]["pz"][:] = 10.0
    assert simulate(batch)[1].n_rows == 0


def test_threshold_is_counted():
    batch = photons(2000, 0.05)
    tracks, clusters, counts = simulate(batch, make_stage(threshold="50 MeV"))
    assert clusters["energy"].min() > 0.05
    assert clusters.n_rows + counts["photons below threshold"] == 2000
    assert 900 < clusters.n_rows < 1100
    assert tracks.n_rows == 0


@pytest.mark.parametrize("charge", [1, -1])
def test_electrons_match_on_their_helix(charge):
    n = 4000
    batch = add_tracks(make_events(np.full(n, -11 * charge), 2.0, 0.2, np.linspace(-3, 3, n)))
    tracks, clusters, _ = simulate(batch)
    assert tracks["has_acceptance"].all()
    assert tracks["has_signal"].all()
    row = tracks["cluster_index"]
    assert (clusters["track_index"][row] == np.arange(n)).all()
    assert (clusters["energy"][row] == tracks["energy"]).all()
    # chord of a circle of radius p/(0.3 B): the hit turns by asin(R / 2 r), clockwise for positive charge in +B
    turn = -charge * np.arcsin(125 / (2 * 2.0 / (0.00299792458 * 2.0)))
    shift = (clusters["phi"][row] - np.linspace(-3, 3, n) - turn + np.pi) % (2 * np.pi) - np.pi
    assert abs(shift.mean()) < 4 * 0.3 / 125 / np.sqrt(n)
    pull = tracks["n_sigma_electron"]
    # the track is perfect here, so that its error only widens the expectation
    energy = 2.0 * np.cosh(0.2)
    own = np.sqrt((0.002 / energy) ** 2 + 0.02**2 / energy + 0.01**2)
    assert pull.std() == pytest.approx(own / np.hypot(own, 0.005), rel=4 / np.sqrt(2 * n) + 0.01)
    assert abs(pull.mean()) < 4 / np.sqrt(n)
    assert tracks["e_over_p"].mean() == pytest.approx(1.0, abs=4 * own / np.sqrt(n))
    assert (tracks["n_sigma_pion"] > 20).all()


def test_momentum_error_enters_the_pull():
    n = 8000
    rng = np.random.default_rng(1)
    batch = add_tracks(make_events(np.full(n, 11), 3.0, 0.2, np.linspace(-3, 3, n)), relative=0.02)
    track = batch["track"]
    moved = {**dict(track), "q_over_pt": track["q_over_pt"] * (1 + 0.02 * rng.normal(size=n))}
    smeared = EventBatch({**batch.tables, "track": Table("track", track.offsets, moved)})
    pull = simulate(smeared)[0]["n_sigma_electron"]
    assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * n) + 0.02)


def test_low_momentum_tracks_curl_up():
    """pt below 0.3 B R/2 = 0.375 GeV at 2 T never reaches 125 cm."""
    batch = add_tracks(make_events([211, 211], [0.37, 0.38], 0.0, 0.0))
    tracks, _, _ = simulate(batch)
    assert list(tracks["has_acceptance"]) == [False, True]
    assert tracks["cluster_index"][0] == -1
    assert np.isnan(tracks["expected_pion"][0])
    assert np.isfinite(tracks["expected_pion"][1])


@pytest.mark.parametrize(("pdg", "charge"), [(13, 1), (211, 1), (2212, 1), (1000020040, 2)])
def test_ionisation(pdg, charge):
    """Energy left by other charged particles: Moyal around 204 MeV z^2; n-sigma of mean 0 and width 1."""
    n = 6000
    batch = add_tracks(make_events(np.full(n, pdg), 12.0, 0.2, np.linspace(-3, 3, n)))
    # neither resolution nor threshold: the deposit itself
    perfect = make_stage(energy_resolution={"a": "0 MeV", "b": "0 GeV^0.5", "c": 0}, threshold="0 MeV")
    tracks, _, _ = simulate(batch, perfect)
    moyal = stats.moyal(0.204 * charge**2, 0.010 * charge**2)
    assert stats.kstest(tracks["energy"], moyal.cdf).pvalue > 1e-4
    tracks, _, _ = simulate(batch)
    pull = tracks[f"n_sigma_{SPECIES[SPECIES_PDG.index(pdg)]}"]
    assert abs(pull.mean()) < 4 / np.sqrt(n)
    # kurtosis of the Moyal part (4, diluted) widens the error of the width
    assert pull.std() == pytest.approx(1.0, abs=4 * np.sqrt((4 + 2) / 4 / n))
    assert (tracks["n_sigma_electron"] < -20).all()


def test_slow_particles_leave_their_kinetic_energy():
    """An alpha of kinetic energy 0.2 GeV stops before it leaves 4 x 204 MeV: both energies are the kinetic one."""
    kinetic, mass = 0.2, SPECIES_MASS[8]
    p = np.sqrt(kinetic * (kinetic + 2 * mass))
    n = 500
    batch = add_tracks(make_events(np.full(n, 1000020040), p, 0.0, np.linspace(-3, 3, n)), relative=0.0)
    tracks, _, _ = simulate(batch, make_stage(field=0.5))
    assert tracks["expected_alpha"] == pytest.approx(kinetic, rel=1e-9)
    assert tracks["energy"].mean() == pytest.approx(kinetic, rel=0.01)


def test_unknown_species_ionise():
    """A Sigma- takes the LUT of the proton; its signal follows its own charge and mass."""
    batch = add_tracks(make_events([2212], 4.0, 0.1, 0.5))
    track = batch["track"]
    moved = {**dict(track), "pdg_true": np.array([3112], np.int32), "charge_true": np.array([-1], np.int8)}
    moved["mass_true"] = np.array([1.197449])
    tracks, _, _ = simulate(EventBatch({**batch.tables, "track": Table("track", track.offsets, moved)}))
    assert 0.15 < tracks["energy"][0] < 0.5


def mixed_events(seed=5):
    rng = np.random.default_rng(seed)
    sizes = [7, 0, 12, 1, 30]
    n = sum(sizes)
    code = rng.choice([22, 11, -11, 211, -211, 13, 2212, 1000020040, 2112], n)
    vertex = np.column_stack([rng.normal(size=(n, 2)), 5 * rng.normal(size=n), np.zeros(n)])
    events = make_events(
        code, rng.uniform(0.2, 5, n), rng.uniform(-2.5, 2, n), rng.uniform(-3, 3, n), sizes=sizes, vertex=vertex
    )
    return add_tracks(events)


def test_promises_of_a_stage():
    """Columns, batch splits, order of events: bitwise."""
    output = check_stage(make_stage(name="ecal"), mixed_events())
    assert {t.name for t in output.tables} == {"ecal", "ecal_cluster"}


def test_losing_other_rows_changes_nothing():
    """A cluster depends on its own particle only, not on the tracks that others make."""
    batch = mixed_events()
    keep = np.arange(batch["track"].n_rows) % 2 == 0
    fewer = EventBatch({**batch.tables, "track": batch["track"].select(keep)})
    all_tracks, all_clusters, _ = simulate(batch)
    some_tracks, some_clusters, _ = simulate(fewer)
    np.testing.assert_array_equal(all_tracks["energy"][keep], some_tracks["energy"])
    is_photon = all_clusters["track_index"] < 0
    photon_again = some_clusters["track_index"] < 0
    np.testing.assert_array_equal(all_clusters["x"][is_photon], some_clusters["x"][photon_again])


def test_indices_are_consistent():
    batch = mixed_events()
    tracks, clusters, _ = simulate(batch)
    for event in range(batch.n_events):
        t = tracks.slice_events(event, event + 1)
        c = clusters.slice_events(event, event + 1)
        source = batch["track"].slice_events(event, event + 1)
        for i in np.flatnonzero(t["has_signal"]):
            j = t["cluster_index"][i]
            assert c["track_index"][j] == i
            assert c["particle_index"][j] == source["particle_index"][i]
            assert c["energy"][j] == t["energy"][i]
        lone = c["particle_index"][c["track_index"] < 0]
        assert (batch["particle"].slice_events(event, event + 1)["pdg"][lone] == 22).all()
