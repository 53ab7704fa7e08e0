"""Charge and azimuth as axes of the LUTs: a lopsided detector is recovered, mirror images are turned back."""

import math
from dataclasses import replace

import numpy as np
import pytest
from toy_sample import BZ, efficiency, sigmas, toy
from tracking_tables import DIAGONAL, deviations, make_lut, offered, tracked

from flashdet.errors import LutError, StageError
from flashdet.lut.axis import Axis
from flashdet.lut.build import build_sample_luts
from flashdet.lut.cells import Binning, Cells
from flashdet.lut.sample import SampleChunk, SampleParticles, SampleTracks
from flashdet.lut.selection import Selection, split
from flashdet.species import SPECIES
from flashdet.stages.base import Setup
from flashdet.stages.tracking.stage import Tracking, TrackingConfig
from flashdet.testing import check_stage, make_events

#: Positive and negative particles, each at negative and positive azimuth.
QUARTERS = split(True, 2)
KEPT, SCALES = (1.0, 0.5, 0.8, 0.3), (1.0, 2.0, 1.5, 3.0)
#: In nominal standard deviations of y, z, snp, tgl and q/pt; of the tracks themselves, not of their mirror images.
BIASES = np.array([[0.3, 0, 0, 0, 0], [0, 0.5, 0, 0, -0.4], [-0.6, 0, 0.4, 0, 0.5], [0.9, 0, 0, -0.7, 0]])
MIRROR = np.array([-1.0, 1.0, -1.0, 1.0, -1.0])
PT = (1.0, 10.0)


def sign(quarter):
    return -1.0 if quarter.charge == "negative" else 1.0


def lopsided(n, seed=11):
    """Chunks of a full simulation that differs from quarter to quarter; `n` particles before they are dealt."""
    rng = np.random.default_rng(seed)
    for i, quarter in enumerate(QUARTERS):
        bias = BIASES[i] * (MIRROR if sign(quarter) < 0 else 1.0)
        chunk, (_, _, charge, found, _) = toy(
            n, first=i * n, seed=seed, pt=PT, bias=bias, tail_fraction=0.0, scale=SCALES[i]
        )
        p, t = chunk.particles, chunk.tracks
        mine = quarter.selects(charge, np.arctan2(p.py, p.px))
        seen = mine[found] & (rng.random(found.sum()) < KEPT[i])
        yield SampleChunk(
            "lopsided",
            SampleParticles(*(getattr(p, name)[mine] for name in SampleParticles.__dataclass_fields__)),
            SampleTracks(*(getattr(t, name)[seen] for name in SampleTracks.__dataclass_fields__)),
        )


@pytest.fixture(scope="module")
def quarters():
    axes = {
        "eta": Axis("eta", "", 4, -1.0, 1.0, "linear", "reject", "linear"),
        "pt": Axis("pt", "GeV", 4, *PT, "log", "clamp", "linear"),
    }
    all_cells = [Cells(Binning(**axes, keep=4000, charge=q.charge, phi=q.phi), BZ) for q in QUARTERS]
    for chunk in lopsided(160_000):
        for cells in all_cells:
            cells.add(chunk)
    return [build_sample_luts(cells, ["pion"])["pion"] for cells in all_cells]


def pions(n, charges=(1, -1), seed=5):
    """Pions as the toy makes them."""
    rng = np.random.default_rng(seed)
    code = 211 * rng.choice(charges, n)
    pt, eta = PT[0] * (PT[1] / PT[0]) ** rng.random(n), rng.uniform(-1, 1, n)
    return offered(make_events(code, pt, eta, rng.uniform(-np.pi, np.pi, n)))


@pytest.mark.parametrize("smearing", ["gaussian", "library", "nearest"])
def test_each_quarter_of_a_lopsided_detector_is_recovered(quarters, smearing):
    n = 60_000
    batch = pions(n)
    how = {"interpolation": "nearest"} if smearing == "nearest" else {"smearing": smearing}
    track, truth, _ = tracked(batch, quarters, **how)
    charged = batch["charged"]
    deviation = deviations(track, truth) / sigmas(truth["eta"], truth["pt"])
    for i, quarter in enumerate(QUARTERS):
        offered_here = quarter.selects(charged["charge"], charged["phi"])
        here = quarter.selects(truth["charge"], truth["phi"])
        # the table's own error counts too: 40 000 particles a quarter made it, 15 000 are tracked
        chance = KEPT[i] * efficiency(charged["eta"], charged["pt"])[offered_here].mean()
        error = math.sqrt(chance * (1.0 - chance) * (1.0 / offered_here.sum() + 1.0 / 40_000))
        assert here.sum() / offered_here.sum() == pytest.approx(chance, abs=4.0 * error)
        width = deviation[here].std(axis=0) / SCALES[i]
        # 3 %: the toy's widths bend within and between the four cells of pt
        assert width == pytest.approx(np.ones(5), abs=0.03 + 4.0 / math.sqrt(here.sum()))
        if smearing != "nearest":  # ALICE's algorithm knows no bias
            expected = BIASES[i]
            error = SCALES[i] * math.sqrt(1.0 / here.sum() + 1.0 / (40_000 * chance))
            assert deviation[here].mean(axis=0) == pytest.approx(expected, abs=4.5 * error + 0.03)
        pull = deviations(track, truth)[here] / np.sqrt(track["cov"][here][:, DIAGONAL])
        assert pull.std(axis=0) == pytest.approx(np.ones(5), abs=0.03 + 4.0 / math.sqrt(here.sum()))


def test_order_of_the_tables_does_not_matter(quarters):
    batch = pions(3000)
    one, _, _ = tracked(batch, quarters, smearing="library")
    other, _, _ = tracked(batch, [quarters[k] for k in (2, 0, 3, 1)], smearing="library")
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


def chosen(lut, selection, **changes):
    return replace(lut, meta=lut.meta | selection.meta, **changes)


def flat(chance, species="pion"):
    return make_lut(species, efficiency=lambda nch, eta, pt: chance + 0 * (nch + eta + pt))


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_equal_tables_are_as_good_as_one(interpolation):
    """Sectors of any kind, with stand-ins, displaced tables and species of one table beside them: bit by bit."""
    inner = replace(flat(0.8), covariance_axes=(Axis("radius", "cm", 1, 0, 2), *flat(0.8).covariance_axes[1:]))
    outer = replace(flat(0.4), covariance_axes=(Axis("radius", "cm", 1, 2, 5), *flat(0.8).covariance_axes[1:]))
    whole, proton = replace(inner, displaced=(outer,)), flat(0.7, "proton")
    cut = [
        Selection("positive", (3.0, 4.0)),
        Selection("positive", (4.0 - 2 * np.pi, 3.0)),
        Selection("negative", (0.5, 0.5 + 2 * np.pi)),
    ]
    n = 4000
    rng = np.random.default_rng(2)
    code = rng.choice([211, -211, 321, -321, 2212, -2212], n)
    phi, radius = rng.uniform(-np.pi, np.pi, n), rng.uniform(0, 4, n)
    vertex = np.stack([radius * np.cos(phi), radius * np.sin(phi), 0 * phi, 0 * phi], -1)
    batch = offered(make_events(code, np.full(n, 1.0), np.full(n, 0.2), phi, vertex=vertex), radius_max="1 m")
    one, _, counts = tracked(batch, [whole, proton], interpolation=interpolation)
    many, _, counts_many = tracked(batch, [*(chosen(whole, s) for s in cut), proton], interpolation=interpolation)
    assert counts == counts_many
    assert one.n_rows > 1500
    for name in one:
        assert one[name].tobytes() == many[name].tobytes(), name


def test_edges_of_sectors():
    """Each particle is served by the sector that its azimuth lies in, up to the ends of the turn."""
    parts = Selection("both", (-2.0, 1.0)), Selection("both", (1.0, 2 * np.pi - 2.0))
    luts = [chosen(flat(chance), part) for chance, part in zip((1.0, 0.0), parts, strict=True)]
    phi = np.array([-np.pi + 1e-9, -2.0 - 1e-9, -2.0 + 1e-9, 0.0, 1.0 - 1e-9, 1.0 + 1e-9, 3.0, np.pi - 1e-9])
    batch = offered(make_events(np.full(8, 211), np.full(8, 1.0), np.zeros(8), phi))
    track, _, _ = tracked(batch, luts)
    assert track["particle_index"].tolist() == [2, 3, 4]


def test_conformance():
    n = 300
    rng = np.random.default_rng(4)
    luts = {s: [chosen(flat(0.8, s), part) for part in QUARTERS] for s in SPECIES if s != "kaon"}
    events = make_events(
        rng.choice([211, -321], n), np.full(n, 1.0), np.zeros(n), rng.uniform(-3, 3, n), sizes=[100, 0, 200]
    )
    setup = Setup(2.0, {s: some[0] for s, some in luts.items()}, None, {s: tuple(some[1:]) for s, some in luts.items()})
    assert check_stage(Tracking("tracking", TrackingConfig(), setup), offered(events)).tables[0].n_rows > 150


def test_tables_that_do_not_make_a_whole_are_refused():
    positive, negative = (chosen(flat(0.8), Selection(charge)) for charge in ("positive", "negative"))
    batch = pions(10)
    with pytest.raises(LutError, match=r"no table for negative particles at phi -3\.142 to 3\.142 rad"):
        tracked(batch, [positive])
    with pytest.raises(LutError, match="several tables for positive particles"):
        tracked(batch, [positive, negative, flat(0.8)])
    tracked(batch, [positive, negative])
    opposite = [replace(lut, field=-2.0) for lut in (positive, negative)]
    with pytest.raises(StageError, match="one sign of the charge was made for -2 T"):
        tracked(batch, opposite)
    halves = [chosen(replace(flat(0.8), field=-2.0), part) for part in split(False, 2)]
    tracked(batch, halves)
    with pytest.raises(LutError, match="different fields"):
        tracked(batch, [halves[0], replace(halves[1], field=-2.01)])
