"""Calorimeter beyond single particles: hadronic showers, merging, matching of measured tracks, time, width, regions."""

from __future__ import annotations

import math

import numpy as np
import pid_tracks
import pytest
from pid_tracks import packed
from pydantic import ValidationError
from scipy import special, stats

from flashdet.columns import CHARGED
from flashdet.event import EventBatch, Table
from flashdet.kernels.helix import curvature, perigee
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_MASS
from flashdet.stages.base import Setup
from flashdet.stages.emcal.config import EMCalConfig
from flashdet.stages.emcal.showers import LATERAL, available_energy, gamma_share, make_hadrons, mean_response
from flashdet.stages.emcal.stage import EMCal
from flashdet.testing import check_stage, make_events
from flashdet.units import C_LIGHT

BARREL = {"cylinder": {"radius": "125 cm", "half_length": "270 cm"}}
ENDCAP = {"disc": {"z": "-450 cm", "r_min": "15 cm", "r_max": "160 cm"}}
PERFECT = {"energy_resolution": {"a": "0 MeV", "b": "0 GeV^0.5", "c": 0}, "threshold": "0 MeV"}
EXACT = {"position_resolution": {"A": "0 cm", "B": "0 cm GeV^0.5"}}


def make_stage(field=2.0, **config):
    return EMCal("emcal", EMCalConfig(**({"shape": [BARREL, ENDCAP]} | config)), Setup(field))


def run(batch, seed=1, **config):
    out = make_stage(**config).run(batch, Draw.of(seed, "emcal"))
    return *out.tables, out.counts


def make_tracks(*args, **kwargs):
    """Tracks, and a generator record without neutral particles."""
    batch = pid_tracks.make_tracks(*args, **kwargs)
    nothing = make_events([], [], [], [], sizes=[0] * batch.n_events)
    batch.add(nothing["particle"])
    track = batch["track"]
    batch.add(Table("charged", track.offsets.copy(), {"particle_index": track["particle_index"].copy()}))
    return batch


def tracks(species, p, n, eta=0.2, **kwargs):
    return make_tracks(
        np.full(n, SPECIES.index(species)), p / np.cosh(eta), eta, np.linspace(-3, 3, n), packed(), **kwargs
    )


def neutrals(pdg, energy, eta, phi, sizes=None):
    """Massless or massive neutral particles and no tracks."""
    batch = make_events(pdg, energy / np.cosh(eta), eta, phi, sizes=sizes)
    lonely = tracks("pion", 1.0, 0)
    empty = Table("track", np.zeros(batch.n_events + 1, np.int64), dict(lonely["track"]))
    batch.add(empty)
    batch.add(Table("charged", np.zeros(batch.n_events + 1, np.int64), {"particle_index": np.zeros(0, np.int32)}))
    batch["event"].attach("collision_time", np.zeros(batch.n_events))
    return batch


# --- hadronic showers ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("a", "x"), [(0.6165, 0.9), (1.3, 4.9), (2.8, 0.01), (0.9, 14.0), (1.5, 0.0)])
def test_incomplete_gamma(a, x):
    assert gamma_share(a, x) == pytest.approx(special.gammainc(a, x), abs=1e-12)


def test_available_energy():
    """Mesons give all, baryons the kinetic energy, antibaryons annihilate."""
    assert available_energy(2.0, 0.4, 211) == 2.0
    assert available_energy(2.0, 0.9, 2212) == pytest.approx(1.1)
    assert available_energy(2.0, 0.9, -2212) == pytest.approx(2.9)


@pytest.mark.parametrize("depth", [0.5, 0.987, 3.0])
def test_fraction_that_interacts(depth):
    """exp(-depth) of the hadrons go through and ionise; muons and electrons never shower."""
    n = 20000
    showers = {"interaction_lengths": depth}
    table, _, _ = run(tracks("pion", 20.0, n), hadronic_showers=showers, **PERFECT)
    # ionisation of 204 MeV +- 10 MeV ends below 0.4 GeV; showers of 20 GeV hardly start there
    ionising = table["energy"] < 0.4
    assert ionising.mean() == pytest.approx(math.exp(-depth), abs=4 * np.sqrt(0.25 / n) + 0.01)
    muon, _, _ = run(tracks("muon", 20.0, 2000), hadronic_showers=showers, **PERFECT)
    assert muon["energy"].max() < 0.5
    electron, _, _ = run(tracks("electron", 20.0, 200), hadronic_showers=showers, **PERFECT)
    assert electron["energy"] == pytest.approx(20.0, rel=1e-6)


def independent_mean(energy, depth, radiation, h_over_e, n=200_000):
    """Mean signal of a pion by direct sampling of the profile of Bock et al., scipy's gamma function."""
    rng = np.random.default_rng(1)
    start = rng.exponential(size=n) / depth
    hits = start < 1
    left = 1 - start[hits]
    a = 0.6165 + 0.3183 * np.log(energy)
    em = special.gammainc(a, 0.2198 * radiation * left)
    had = h_over_e * special.gammainc(a, (0.9099 - 0.0237 * np.log(energy)) * depth * left)
    w = 0.9268 * rng.random(hits.sum())
    mip = 0.204 + 0.010 * (np.euler_gamma + np.log(2))
    return np.concatenate([energy * (w * em + (1 - w) * had) + start[hits] * mip, np.full((~hits).sum(), mip)])


@pytest.mark.parametrize("p", [2.0, 10.0])
def test_response_to_pions(p):
    """Distribution against an independent sample, and mean and width of n-sigma."""
    n = 20000
    sample = independent_mean(math.hypot(p, SPECIES_MASS[2]), 0.987, 22.5, 0.42)
    table, clusters, _ = run(tracks("pion", p, n), hadronic_showers={}, **PERFECT)
    energy = table["energy"]
    assert energy.mean() == pytest.approx(sample.mean(), abs=5 * sample.std() / np.sqrt(n) + 0.003 * p)
    assert energy.std() == pytest.approx(sample.std(), rel=0.03)
    assert np.quantile(energy, 0.9) == pytest.approx(np.quantile(sample, 0.9), rel=0.04)
    assert energy.max() < p
    assert clusters["energy_true"] == pytest.approx(math.hypot(p, SPECIES_MASS[2]))
    table, _, _ = run(tracks("pion", p, n), hadronic_showers={})
    pull = table["n_sigma_pion"]
    assert abs(pull.mean()) < 5 / np.sqrt(n) + 0.01
    assert pull.std() == pytest.approx(1.0, abs=0.03)


def test_mean_response_is_what_slow_particles_can_leave():
    """Expectation of a proton never exceeds what is there, also averaged with the antiproton's annihilation."""
    hadrons = make_hadrons(0.987, 22.5, 0.42)
    table = mean_response(0.204, 0.010, hadrons)
    rigidity = np.geomspace(0.1, 100.0, table.shape[1])
    total = np.hypot(rigidity, SPECIES_MASS[4])
    assert (table[4, :, 0] * rigidity <= total).all()
    assert (table[SPECIES.index("pion"), -1, 0]) < 0.7
    assert not table[:2].any()


def test_electron_pion_separation():
    """E/p > 0.9 keeps electrons and rejects pions at 3 GeV; the width helps on what is left."""
    n = 4000
    pion, _, _ = run(tracks("pion", 3.0, n), hadronic_showers={})
    electron, _, _ = run(tracks("electron", 3.0, n), hadronic_showers={})
    assert (electron["e_over_p"] > 0.9).mean() > 0.99
    fakes = pion["e_over_p"] > 0.9
    assert fakes.mean() < 0.03
    assert (fakes & (pion["n_sigma_width"] < 2)).mean() < 0.3 * fakes.mean()
    assert np.mean(pion["n_sigma_width"][pion["energy"] > 1.0]) > 3
    assert abs(electron["n_sigma_width"].mean()) < 4 / np.sqrt(n)
    assert electron["n_sigma_width"].std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * n))


def test_neutral_hadrons():
    """Neutrons and K0L leave energy only with hadronic showers, and only if they interact."""
    n = 4000
    batch = neutrals(np.full(n, 2112), 5.0, np.full(n, 0.2), np.linspace(-3, 3, n))
    assert run(batch)[1].n_rows == 0
    _, clusters, counts = run(batch, hadronic_showers={"interaction_lengths": 0.987})
    made = clusters.n_rows + counts["neutral hadrons below threshold"]
    assert stats.binomtest(made, n, 1 - math.exp(-0.987)).pvalue > 1e-4
    assert clusters.n_rows > 0.5 * made
    # a slow particle arrives late: beta of a neutron
    p = 5.0 * 1.0
    beta = p / math.hypot(p, 0.93956542)
    assert clusters["time"].min() == pytest.approx(125 * np.cosh(0.2) / (beta * C_LIGHT), rel=1e-4)


# --- merging ---------------------------------------------------------------------------------------------------------
def pair(gap, energies=(3.0, 1.0), **config):
    """Two photons `gap` cm apart on the barrel."""
    batch = neutrals([22, 22], np.array(energies), np.zeros(2), np.array([0.5, 0.5 + gap / 125]))
    return run(batch, merging={"distance": 1.5}, **PERFECT, **EXACT, **config)[1]


def test_two_photons_merge_below_the_distance():
    """1.5 Moliere radii of 1.959 cm: 2.94 cm. Energies and positions add, the width holds their distance."""
    assert pair(3.0).n_rows == 2
    merged = pair(2.9)
    assert merged.n_rows == 1
    assert merged["energy"][0] == pytest.approx(4.0)
    assert merged["energy_true"][0] == pytest.approx(4.0)
    assert merged["n_particles"][0] == 2
    assert merged["particle_index"][0] == 0
    assert merged["phi"][0] == pytest.approx(0.5 + 0.25 * 2.9 / 125, rel=1e-5)
    assert np.hypot(merged["x"], merged["y"])[0] == pytest.approx(125.0)
    single = pair(30.0)["width"]
    own = 0.75 * single[0] ** 2 + 0.25 * single[1] ** 2
    assert merged["width"][0] ** 2 == pytest.approx(own + 0.5 * 0.75 * 0.25 * 2.9**2, rel=1e-3)
    # the leader is the most energetic, whatever its place in the record
    assert pair(2.9, (1.0, 3.0))["particle_index"][0] == 1


def test_merging_across_the_seam_and_in_the_end_cap():
    """phi = pi and -pi are neighbours; so are points of a disc."""
    batch = neutrals([22, 22], 2.0, np.zeros(2), np.array([math.pi - 0.005, -math.pi + 0.005]))
    assert run(batch, merging={})[1].n_rows == 1
    eta = np.arcsinh(450 / np.array([-60.0, -62.0]))
    assert run(neutrals([22, 22], 2.0, eta, np.zeros(2)), merging={})[1].n_rows == 1
    eta = np.arcsinh(450 / np.array([-60.0, -64.0]))
    assert run(neutrals([22, 22], 2.0, eta, np.zeros(2)), merging={})[1].n_rows == 2


@pytest.mark.parametrize("sizes", [[60, 0, 1, 120], [100, 0, 1, 900]], ids=["few", "more neighbours than deposits"])
def test_merging_against_brute_force(sizes):
    """Many photons in a few events: the same clusters as an O(n^2) search, events do not mix."""
    rng = np.random.default_rng(4)
    n = sum(sizes)
    energy = rng.uniform(0.2, 5, n)
    eta, phi = rng.uniform(-0.15, 0.15, n), rng.uniform(-0.2, 0.2, n)
    batch = neutrals(np.full(n, 22), energy, eta, phi, sizes)
    _, clusters, _ = run(batch, merging={"distance": 1.0}, **PERFECT, **EXACT)
    x, y, z = 125 * np.cos(phi), 125 * np.sin(phi), 125 * np.sinh(eta)
    for event, (first, last) in enumerate(zip(batch["particle"].offsets, batch["particle"].offsets[1:], strict=False)):
        leaders: dict[int, list[int]] = {}
        for i in first + np.argsort(-energy[first:last], kind="stable"):
            gaps = {j: math.dist((x[i], y[i], z[i]), (x[j], y[j], z[j])) for j in leaders}
            near = min(gaps, key=gaps.get, default=None)
            if near is not None and gaps[near] < 1.959:
                leaders[near].append(i)
            else:
                leaders[i] = [i]
        mine = clusters.slice_events(event, event + 1)
        assert mine.n_rows == len(leaders)
        for k in range(mine.n_rows):
            members = leaders[first + mine["particle_index"][k]]
            assert mine["n_particles"][k] == len(members)
            assert mine["energy"][k] == pytest.approx(energy[members].sum())
            assert mine["z"][k] == pytest.approx(np.average(z[members], weights=energy[members]))


def test_merging_keeps_energy_and_changes_nothing_far_away():
    n = 40
    batch = neutrals(np.full(n, 22), 2.0, np.linspace(-1, 1, n), np.linspace(-3, 3, n))
    apart, plain = run(batch, merging={})[1], run(batch)[1]
    for name in plain:
        np.testing.assert_array_equal(apart[name], plain[name])


# --- tracks ----------------------------------------------------------------------------------------------------------
def test_measured_tracks_take_the_nearest_cluster():
    """Distances of electrons follow the position resolution in two directions; a lone photon is not taken."""
    n = 3000
    batch = tracks("electron", 2.0, n, sizes=[1] * n)
    table, clusters, _ = run(batch, matching={"distance": "3 cm"})
    assert table["has_signal"].all()
    assert (clusters["track_index"] == 0).all()
    square = (table["distance"] / clusters["position_error"]) ** 2
    # chi2 of two degrees of freedom: mean 2
    assert square.mean() == pytest.approx(2.0, abs=4 * 2 / np.sqrt(n))
    far = np.isfinite(run(batch, matching={"distance": "0.2 cm"})[0]["distance"])
    expected = 1 - np.exp(-0.5 * 0.04 / (0.15**2 + 0.3**2 / 2.0))
    assert far.mean() == pytest.approx(expected, abs=4 / np.sqrt(4 * n) + 0.02)


def test_a_cluster_of_two_tracks_names_the_nearest():
    """e+ e- of the same direction in no field merge: both tracks have the cluster, it has one of them."""
    batch = make_tracks([0, 0], 2.0, 0.1, [0.3, 0.305], packed(), bz=0.0, sign=[1, -1])
    table, clusters, _ = run(batch, merging={}, matching={"distance": "3 cm"}, field=0.0)
    assert clusters.n_rows == 1
    assert list(table["cluster_index"]) == [0, 0]
    assert clusters["track_index"][0] == int(np.argmin(table["distance"]))
    table, clusters, _ = run(batch, merging={}, field=0.0)
    assert list(table["cluster_index"]) == [0, 0]
    assert clusters["n_particles"][0] == 2


def with_charged(batch, keep):
    """Add the table ``charged`` with all particles and keep some of the tracks."""
    track = batch["track"]
    n = track.n_rows
    closest = np.array(
        [
            perigee(track["vx_true"][i], track["vy_true"][i], track["phi_true"][i],
                    curvature(track["charge_true"][i] / track["pt_true"][i], 2.0))
            for i in range(n)
        ]
    )  # fmt: skip
    values = {
        "particle_index": track["particle_index"], "tgl": np.sinh(track["eta_true"]), "y": closest[:, 1],
        "alpha": closest[:, 0], "z": track["z"], "q_over_pt": track["charge_true"] / track["pt_true"],
    }  # fmt: skip
    columns = {
        c.name: np.ascontiguousarray(values[c.name] if c.name in values else track[f"{c.name}_true"], c.dtype)
        for c in CHARGED
    }
    return EventBatch(
        {**batch.tables, "track": track.select(keep), "charged": Table("charged", track.offsets.copy(), columns)}
    )


def test_lost_particles_leave_energy_too():
    """charged: all gives the same clusters however many tracks there are, and links the tracks to theirs."""
    n = 60
    batch = tracks("electron", 2.0, n, sizes=[20, 0, 40])
    keep = np.arange(n) % 3 == 0
    table, clusters, _ = run(with_charged(batch, keep), charged="all")
    everything, all_clusters, _ = run(batch)
    np.testing.assert_array_equal(clusters["energy"], all_clusters["energy"])
    np.testing.assert_array_equal(table["energy"], everything["energy"][keep])
    assert (clusters["track_index"] >= 0).sum() == keep.sum()
    assert table["has_acceptance"].all()


def test_converted_photons_leave_nothing():
    """The pair of a photon replaces it: its rows of charged name it by -2 - 2 i and -3 - 2 i."""
    batch = neutrals([22, 22, 22], 2.0, np.zeros(3), np.array([0.1, 1.1, 2.1]), [1, 2])
    pair = Table("charged", np.array([0, 0, 2]), {"particle_index": np.array([-4, -5], np.int32)})
    _, clusters, _ = run(EventBatch({**batch.tables, "charged": pair}))
    assert list(clusters["particle_index"]) == [0, 0]
    assert list(clusters.offsets) == [0, 1, 2]
    assert clusters["phi"] == pytest.approx([0.1, 1.1], abs=0.02)


# --- time, regions, configuration ------------------------------------------------------------------------------------
def test_time():
    """Arrival of the true particle, smeared: constant and noise term in quadrature."""
    n = 8000
    batch = tracks("electron", 2.0, n, vertex=(0, 0, 0, 0.7))
    config = {"time_resolution": {"constant": "30 ps", "at_1_gev": "80 ps"}}
    exact = run(batch)[1]["time"]
    _, clusters, _ = run(batch, **config)
    pull = (clusters["time"] - exact) / clusters["time_error"]
    assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * n))
    assert clusters["time_error"].mean() == pytest.approx(np.hypot(0.03, 0.08 / 2), rel=0.01)
    # path of the helix: arc of the chord 125 cm, at the speed of light
    pt = 2.0 / np.cosh(0.2)
    radius = pt / (0.00299792458 * 2.0)
    arc = 2 * radius * np.arcsin(125 / (2 * radius)) * np.cosh(0.2)
    assert exact == pytest.approx(0.7 + arc / C_LIGHT, rel=1e-6)


def test_regions_have_their_own_resolution():
    n = 3000
    two = [{"a": "0 MeV", "b": "0 GeV^0.5", "c": 0.01}, {"a": "0 MeV", "b": "0 GeV^0.5", "c": 0.05}]
    config = {"energy_resolution": two}
    for eta, c in ((0.3, 0.01), (-2.5, 0.05)):
        batch = neutrals(np.full(n, 22), 2.0, np.full(n, eta), np.linspace(-3, 3, n))
        _, clusters, _ = run(batch, **config)
        assert (clusters["energy"] / 2.0).std() == pytest.approx(c, rel=4 / np.sqrt(2 * n))
    table, _, _ = run(tracks("electron", 8.0, 500, eta=-2.5), **config)
    width = (table["energy"] - table["expected_electron"]) / table["n_sigma_electron"]
    assert width == pytest.approx(0.05 * 8.0, rel=1e-3)
    with pytest.raises(ValidationError, match="3 energy resolutions for 2 surfaces"):
        EMCalConfig(shape=[BARREL, ENDCAP], energy_resolution=[{}] * 3)


def test_regions_have_their_own_threshold():
    """A lone value is that of all surfaces."""
    n = 400
    for eta, kept in ((0.3, True), (-2.5, False)):
        batch = neutrals(np.full(n, 22), 0.2, np.full(n, eta), np.linspace(-3, 3, n))
        _, clusters, counts = run(batch, threshold=["50 MeV", "1 GeV"])
        assert (clusters.n_rows, counts["photons below threshold"]) == ((n, 0) if kept else (0, n))
    assert EMCalConfig(shape=[BARREL, ENDCAP], threshold="70 MeV").threshold == (0.07,)
    with pytest.raises(ValidationError, match="needs a unit"):
        EMCalConfig(shape=[BARREL, ENDCAP], threshold=0.07)


def test_width_of_a_shower():
    """90 % of an exponential density within one Moliere radius."""
    assert special.gammainc(2, math.sqrt(3) / LATERAL) == pytest.approx(0.9)
    n = 4000
    batch = neutrals(np.full(n, 22), 2.0, np.full(n, 0.1), np.linspace(-3, 3, n))
    _, clusters, _ = run(batch)
    assert np.median(clusters["width"]) == pytest.approx(LATERAL * 1.959, rel=4 * 0.1 * 1.25 / np.sqrt(n))


def test_promises_with_everything_on():
    rng = np.random.default_rng(7)
    sizes = [20, 0, 30, 1]
    batch = make_tracks(
        rng.integers(0, 9, 51), rng.uniform(0.4, 4, 51), rng.uniform(-1.2, 1.2, 51), rng.uniform(-3, 3, 51),
        packed(y=0.001, z=0.001, snp=1e-4, tgl=1e-4, q_over_pt=np.full(51, 0.01)), sizes=sizes,
    )  # fmt: skip
    batch = with_charged(batch, rng.random(51) < 0.7)
    config = {"hadronic_showers": {}, "merging": {"distance": 5}, "matching": {"distance": "10 cm"}, "charged": "all"}
    output = check_stage(make_stage(**config), batch)
    clusters = output.tables[1]
    assert clusters["n_particles"].sum() >= clusters.n_rows
