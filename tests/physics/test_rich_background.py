"""RICH, projective model: dark counts, photons of other tracks, ghost rings."""

import math

import numpy as np
import pytest
from pid_tracks import make_tracks

from flashdet.event import concat
from flashdet.rng import Draw
from flashdet.stages.base import Setup
from flashdet.stages.rich.config import RichConfig
from flashdet.stages.rich.crossing import cross
from flashdet.stages.rich.optics import LIMIT_RESOLUTION, N_WINDOWS, WINDOW
from flashdet.stages.rich.rings import make_rings
from flashdet.stages.rich.stage import Rich
from flashdet.stages.rich.tiles import make_geometry

ELECTRON, MUON, PION, KAON, PROTON = range(5)
TILES = {"model": "projective", "tiles": {}, "photon_efficiency": 0.4266}
DISCS = {
    "model": "projective",
    "discs": {"z": "375 cm", "gap": "30 cm", "r_min": "13.74 cm", "r_max": "103.95 cm"},
    "photon_efficiency": 0.4266,
}
#: 1 kHz/mm2 is 1e-4 per cm2 and ns: 0.01 hits per cm2.
DARK = {"dark_count_rate": "50 kHz/mm2", "time_window": "2 ns", "overlap": False}
RADIUS = 6.611


def stage(base, **settings):
    return Rich("rich", RichConfig.model_validate({**base, **settings}), Setup(2.0))


def run(batch, base=TILES, **settings):
    return stage(base, **settings).run(batch, Draw.of(1, "rich"))


def tracks(n, species=ELECTRON, p=50.0, per_event=1, eta=0.0, phi=0.1):
    return make_tracks(species, p / np.cosh(eta), np.full(n, eta), phi, np.zeros(15), smear=False,
                       sizes=[per_event] * (n // per_event))  # fmt: skip


def rings(batch, base=TILES, **settings):
    config = RichConfig.model_validate({**base, **settings})
    geometry, track = make_geometry(config), batch["track"]
    crossings = cross(track, 2.0, geometry)
    draw = Draw.of(1, "rich")
    return (
        geometry,
        crossings,
        make_rings(track, track.offsets, batch["event"]["key"], crossings, geometry, config, draw),
    )


def poisson_tail(least, mean):
    return 1 - sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(least))


# --- dark counts -----------------------------------------------------------------------------------------------------
def test_dark_counts_add_photons_in_the_window():
    n = 20000
    batch = tracks(n)
    dark, clean = (run(batch, **more).tables[0] for more in ({"background": DARK}, {}))
    optic = make_geometry(RichConfig.model_validate(TILES)).optics[10]
    # six standard deviations of 5.23 mrad, 28.5 cm per radian
    assert optic[WINDOW] == pytest.approx(6 * 5.23e-3 * 28.5, rel=0.01)
    mean = 0.01 * 2 * math.pi * RADIUS * optic[WINDOW]
    extra = dark["n_photons"] - clean["n_photons"]
    assert extra.min() == 0
    assert extra.mean() == pytest.approx(mean, rel=0.002, abs=5 * math.sqrt(mean / n))


def test_background_widens_rings_and_their_errors_know():
    n = 20000
    batch = tracks(n)
    for rate in (50, 500, 2000):
        noisy = {**DARK, "dark_count_rate": f"{rate} kHz/mm2"}
        table = run(batch, background=noisy).tables[0]
        own = table["has_signal"] & (abs(table["n_sigma_electron"]) < 6)
        assert table["n_sigma_electron"][own].std() == pytest.approx(1, abs=0.03 if rate < 2000 else 0.1)
        clean = run(batch).tables[0]
        assert table["angle"][own].std() > 1.01 * clean["angle"].std() or rate == 50


def test_ghosts_follow_from_the_fullest_window():
    """Particles that do not radiate: the rate of rings is that of the largest of some Poisson numbers."""
    n = 40000
    batch = tracks(n, PROTON, p=2.0)
    output = run(batch, background={**DARK, "dark_count_rate": "100 kHz/mm2"})
    table = output.tables[0]
    optic = make_geometry(RichConfig.model_validate(TILES)).optics[10]
    windows = optic[N_WINDOWS]
    assert windows == pytest.approx(0.24195 / (6 * 5.23e-3), rel=1e-3)
    mean = 0.02 * math.pi * RADIUS**2 / windows
    full = 0.02 * 2 * math.pi * RADIUS * optic[WINDOW]
    least = max(3, math.ceil(full + 3 * math.sqrt(full)))
    wanted = 1 - (1 - poisson_tail(least, mean)) ** windows
    assert wanted > 0.002
    assert table["has_signal"].mean() == pytest.approx(wanted, abs=5 * math.sqrt(wanted / n))
    assert output.counts["ghost rings"] == table["has_signal"].sum()
    angle = table["angle"][table["has_signal"]]
    assert angle.max() < 0.242
    # the area of a ring grows with its radius
    assert angle.mean() == pytest.approx(2 / 3 * 0.242, abs=5 * 0.242 / math.sqrt(18 * len(angle)))
    # no background, no ghosts
    assert not run(batch).tables[0]["has_signal"].any()


def test_ghosts_are_tails_of_true_rings():
    """Few photons near the threshold lose against a fuller window: such rings are far from the expectation."""
    n = 20000
    p = 0.62
    table = run(tracks(n, PION, p=p), background={**DARK, "dark_count_rate": "100 kHz/mm2"}).tables[0]
    pull = table["n_sigma_pion"][table["has_signal"]]
    clean = run(tracks(n, PION, p=p)).tables[0]["n_sigma_pion"]
    assert (abs(pull) > 6).mean() > 5 * max((abs(clean) > 6).mean(), 1e-4)


# --- overlapping rings -----------------------------------------------------------------------------------------------
def test_density_is_that_of_the_other_tracks_of_the_event_on_the_tile():
    """Against sums in loops; own photons and other events do not count."""
    rng = np.random.default_rng(1)
    sizes = [0, 40, 1, 300, 0, 150]
    n = sum(sizes)
    for base, eta in ((TILES, rng.uniform(-0.4, 0.4, n)), (DISCS, rng.choice([-1, 1], n) * rng.uniform(2.2, 3.5, n))):
        batch = make_tracks(
            ELECTRON, 3 / np.cosh(eta), eta, rng.uniform(-0.5, 0.5, n), np.zeros(15), smear=False, sizes=sizes
        )
        geometry, crossings, found = rings(batch, base, background={})
        _, _, clean = rings(batch, base)
        photons = clean.n_photons[crossings.rows]
        event = np.repeat(np.arange(len(sizes)), sizes)[crossings.rows]
        n_inside = len(crossings.rows)
        assert n_inside > 0.5 * n
        assert len(np.unique(crossings.cell)) > 5
        for i in range(n_inside):
            same = (event == event[i]) & (crossings.cell == crossings.cell[i]) & (np.arange(n_inside) != i)
            wanted = photons[same].sum() / geometry.areas[crossings.cell[i]]
            assert found.density[i] == pytest.approx(wanted, abs=1e-12)
        assert found.density.max() > 0.05


def test_areas_of_cells_add_up():
    barrel = make_geometry(RichConfig.model_validate({**TILES, "tiles": {"n_azimuthal_tiles": 36}}))
    assert barrel.areas.sum() == pytest.approx(21 * 36 * 18.4**2)
    discs = make_geometry(RichConfig.model_validate(DISCS))
    assert discs.areas.sum() == pytest.approx(2 * math.pi * (103.95**2 - 13.74**2))


def test_neighbours_disturb_rings_and_crowds_hide_them():
    """On one tile: 1, 3, 10 and 30 tracks."""
    found, width, error = [], [], []
    for crowd in (1, 3, 10, 30):
        n = 6000
        table = run(tracks(n, per_event=crowd), background={}).tables[0]
        found.append(table["has_signal"].mean())
        width.append(table["angle"][table["has_signal"]].std())
        error.append(np.median(table["angle_error"][table["has_signal"]]))
    assert found[0] == 1
    assert found[0] >= found[1] >= found[2] > found[3]
    assert width[0] < width[1] < width[2]
    assert error[0] < error[1] < error[2]


@pytest.mark.parametrize("crowd", [3, 10, 20, 30])
def test_pulls_have_unit_width_in_any_crowd(crowd):
    """Up to two background photons per cm2, as in the middle of the discs in central Pb-Pb.

    Rings are found where the background fluctuates upwards: taking the expected background off the photons leaves too
    many for the ring's own, and pulls 1.07, 1.21 and 1.34 wide in the last three.
    """
    n = crowd * (12000 // crowd)
    table = run(tracks(n, per_event=crowd), background={}).tables[0]
    pull = table["n_sigma_electron"][table["has_signal"]]
    assert len(pull) > 4000
    assert (abs(pull) > 5).mean() < 0.005
    pull = pull[abs(pull) < 5]
    assert pull.std() == pytest.approx(1, abs=0.02 + 3 / math.sqrt(2 * len(pull)))
    assert pull.mean() == pytest.approx(0, abs=0.01 + 3 / math.sqrt(len(pull)))


@pytest.mark.parametrize("crowd", [60, 100, 150])
def test_pulls_have_no_tails_where_background_hides_most_rings(crowd):
    """Four to ten background photons per cm2, as near the beam pipe in the most central Pb-Pb events.

    Rings are only found where they and the background fluctuate upwards. Taking those of twice the photons for doubly
    charged particles leaves 2, 10 and 16 % of the pulls beyond 5.
    """
    table = run(tracks(crowd * (90000 // crowd), per_event=crowd), background={}).tables[0]
    found = table["has_signal"]
    assert 1000 < found.sum() < 0.5 * len(found)
    pull = table["n_sigma_electron"][found]
    assert (abs(pull) > 5).mean() < 2e-3
    assert pull.std() == pytest.approx(1, abs=0.02 + 3 / math.sqrt(2 * len(pull)))


def test_doubly_charged_particles_have_their_own_photons():
    """Four times the photons of charge 1 are not taken for background: alphas among electrons on one tile."""
    n, crowd, alpha = 12000, 6, 8
    species, p = np.where(np.arange(n) % crowd == 0, alpha, ELECTRON), np.where(np.arange(n) % crowd == 0, 60.0, 50.0)
    batch = make_tracks(species, p, np.zeros(n), 0.1, np.zeros(15), smear=False, sizes=[crowd] * (n // crowd))
    table = run(batch, background={}).tables[0]
    pull = table["n_sigma_alpha"][(species == alpha) & table["has_signal"]]
    assert len(pull) > 1800
    assert pull.std() == pytest.approx(1, abs=0.02 + 3 / math.sqrt(2 * len(pull)))


def test_tracks_do_not_see_other_events():
    alone, crowd = tracks(1), tracks(200, per_event=200)
    both = concat([alone, crowd])
    first = stage(TILES, background={}).run(alone, Draw.of(1, "rich")).tables[0]
    joint = stage(TILES, background={}).run(both, Draw.of(1, "rich")).tables[0]
    for name, column in first.items():
        assert column[0] == joint[name][0] or (np.isnan(column[0]) and np.isnan(joint[name][0]))


def test_window_covers_six_standard_deviations():
    for optic in make_geometry(RichConfig.model_validate(TILES)).optics:
        assert 0.0045 < optic[LIMIT_RESOLUTION] < 0.008
        assert optic[N_WINDOWS] * 6 * optic[LIMIT_RESOLUTION] == pytest.approx(0.24195, rel=1e-3)
