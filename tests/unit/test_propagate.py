"""Propagate: which particles are offered to the tracker, with which truth, and what is counted."""

import math

import numpy as np
import pytest

from flashdet.errors import StageError
from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_MASS, lut_species, particle_table
from flashdet.stages.base import Setup
from flashdet.stages.codes import (
    CHARGED,
    FRACTIONAL,
    NEUTRAL,
    STRANGE,
    UNKNOWN,
    charge_of_nucleus,
    code_table,
    find_code,
)
from flashdet.stages.propagate.stage import Propagate, PropagateConfig
from flashdet.testing import check_stage, gun, make_events


def stage(bz=2.0, **config):
    return Propagate("propagate", PropagateConfig(**config), Setup(bz))


def run(batch, bz=2.0, **config):
    output = stage(bz, **config).run(batch, Draw.of(1, "propagate"))
    return {t.name: t for t in output.tables} | {"counts": output.counts}


def changed(batch, **columns):
    """The batch with other values of particle columns."""
    table = batch["particle"]
    values = dict(table)
    for name, column in columns.items():
        values[name] = np.array(np.broadcast_to(column, table.n_rows), table[name].dtype)
    result = EventBatch({}, batch.weight_names)
    result.add(Table("event", batch["event"].offsets, dict(batch["event"])))
    result.add(Table("particle", table.offsets, values))
    return result


@pytest.mark.parametrize("kind", ["charged_final", "primaries"])
def test_conformance(kind):
    batch = gun(
        (211, -2212, 22, 3112, 1000020030, 2112),
        both_charges=False,
        n_events=6,
        particles=15,
        eta=(-5, 5),
        pt=(0.05, 5),
    )
    output = check_stage(stage(multiplicity={"kind": kind}, collision_time_spread="200 ps", pt_min="60 MeV"), batch)
    assert output.counts["lost: eta outside acceptance"] > 0


def test_truth_of_a_particle():
    batch = make_events([211, -1000020030, 22], [1.0, 2.0, 1.0], [0.5, -0.2, 0.0], [0.3, 3.0, 0.0])
    charged = run(batch)["charged"]
    assert charged["particle_index"].tolist() == [0, 1]
    assert [SPECIES[s] for s in charged["species"]] == ["pion", "helium3"]
    assert charged["charge"].tolist() == [1, -2]
    np.testing.assert_allclose(charged["mass"], [SPECIES_MASS[2], SPECIES_MASS[7]])
    np.testing.assert_allclose(charged["pt"], [1.0, 2.0])
    np.testing.assert_allclose(charged["eta"], [0.5, -0.2], rtol=1e-14)
    np.testing.assert_allclose(charged["phi"], [0.3, 3.0])
    np.testing.assert_allclose(charged["tgl"], np.sinh([0.5, -0.2]))
    # the charge of a nucleus is in q/pt
    np.testing.assert_allclose(charged["q_over_pt"], [1.0, -1.0])
    np.testing.assert_allclose(charged["alpha"], charged["phi"])
    np.testing.assert_array_equal(charged["y"], 0.0)


@pytest.mark.parametrize("bz", [2.0, -2.0, 0.0])
@pytest.mark.parametrize("pdg", [211, -211])
def test_perigee_of_a_displaced_particle(bz, pdg):
    """Half a GeV at x = 20 cm along y: the circle's centre is known."""
    pt = 0.5
    batch = make_events(pdg, pt, 0.7, math.pi / 2, vertex=(20.0, 0.0, 1.0, 0.0))
    charged = run(batch, bz=bz)["charged"]
    alpha, y, z = (float(charged[name][0]) for name in ("alpha", "y", "z"))
    if bz == 0.0:
        assert (alpha, y, z) == pytest.approx((math.pi / 2, -20.0, 1.0))
        return
    radius = pt / (0.00299792458 * abs(bz))
    clockwise = bz * pdg > 0
    centre = 20.0 + radius if clockwise else 20.0 - radius
    nearest = abs(abs(centre) - radius)
    assert abs(y) == pytest.approx(nearest)
    assert (-y * math.sin(alpha), y * math.cos(alpha)) == pytest.approx((20.0, 0.0), abs=1e-9)
    assert z == pytest.approx(1.0)
    # moved on by 0.3 rad, the same helix has the same perigee
    turn = -0.3 if clockwise else 0.3
    angle = (math.pi if clockwise else 0.0) + turn
    x, y_lab = centre + radius * math.cos(angle), radius * math.sin(angle)
    moved = make_events(pdg, pt, 0.7, math.pi / 2 + turn, vertex=(x, y_lab, 1.0 + radius * 0.3 * math.sinh(0.7), 0.0))
    again = run(moved, bz=bz)["charged"]
    for name in ("alpha", "y", "z", "q_over_pt", "tgl"):
        assert again[name][0] == pytest.approx(charged[name][0], rel=1e-9, abs=1e-9)


def test_losses_are_counted_by_cause():
    batch = make_events(
        [211, 211, 211, 211, 211, 22, 211, 1000030060],
        [1.0, 1.0, 0.05, 1.0, 1.0, 1.0, 1.0, 1.0],
        [0.0, 4.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        0.1,
        status=[1, 1, 1, 1, 1, 1, 2, 1],
        vertex=np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [101, 0, 0, 0], [0, 0, -401, 0], *[[0] * 4] * 3]),
    )
    result = run(batch, pt_min="0.1 GeV")
    assert result["charged"].n_rows == 1
    assert result["counts"] == {
        "lost: eta outside acceptance": 1,
        "lost: pt below acceptance": 1,
        "lost: produced outside the tracker": 2,
        "lost: no species of this charge": 1,
    }


def test_acceptance_is_a_setting():
    batch = make_events([211, 211], 1.0, [0.0, 4.5], 0.1, vertex=np.array([[50, 0, 0, 0], [0, 0, 300, 0]]))
    assert run(batch, eta_max=5)["charged"].n_rows == 2
    assert run(batch, eta_max=5, radius_max="40 cm")["charged"]["particle_index"].tolist() == [1]
    assert run(batch, eta_max=5, z_max="2 m")["charged"]["particle_index"].tolist() == [0]


def test_unknown_codes():
    batch = changed(make_events([211, 211, 211], 1.0, 0.0, 0.0), pdg=[211, 9999999, 9999999])
    result = run(batch)
    assert result["charged"].n_rows == 1
    assert result["counts"]["lost: unknown PDG"] == 2
    assert result["counts"]["warning: unknown PDG code 9999999"] == 2
    with pytest.raises(StageError, match=r"event 0, particle 1: unknown PDG code 9999999"):
        run(batch, unknown_pdg="error")
    neutral_or_decayed = changed(batch, status=2)
    assert run(neutral_or_decayed, unknown_pdg="error")["counts"] == {}


def test_unknown_nucleus_takes_charge_from_its_digits_and_the_generated_mass():
    code, mass = 1000020990, 92.7
    assert particle_table().find(np.array([code], np.int32))[0] < 0
    batch = changed(make_events([211, 1000020040], 2.0, 0.0, 0.0), pdg=[211, code], mass=[0.1, mass])
    for pdg in (code, -code):
        charged = run(changed(batch, pdg=[211, pdg]))["charged"]
        assert charged["charge"].tolist() == [1, 2 if pdg > 0 else -2]
        assert charged["mass"][1] == mass
        assert SPECIES[charged["species"][1]] == "alpha"
    light = run(changed(batch, mass=[0.1, 2.9]))
    assert SPECIES[light["charged"]["species"][1]] == "helium3"
    assert light["counts"] == {"lut stand-in: helium3": 1}


def test_particles_without_lut_of_their_own_are_counted():
    codes = [3112, -3312, 3334, 411, 211, -2212]
    result = run(make_events(codes, 1.0, 0.0, 0.0))
    table = particle_table()
    rows = table.find(np.array(codes, np.int32))
    expected = [lut_species(int(table.charge3[r]) // 3, float(table.mass[r])) for r in rows]
    assert result["charged"]["species"].tolist() == expected
    stand_ins = [SPECIES[s] for s in expected[:4]]
    assert result["counts"] == {f"lut stand-in: {s}": stand_ins.count(s) for s in set(stand_ins)}


def test_code_table_follows_the_rule_for_every_code():
    table = code_table()
    for row in range(0, len(table.pdg), 7):
        assert find_code(int(table.pdg[row]), table.pdg, table.direct) == row
        charge3 = int(table.charge3[row])
        expected = lut_species(charge3 // 3, float(table.mass[row])) if charge3 and charge3 % 3 == 0 else -1
        assert table.species[row] == expected
        kind = NEUTRAL if charge3 == 0 else FRACTIONAL if charge3 % 3 else STRANGE if expected < 0 else CHARGED
        assert table.kind[row] == kind
    for code in (7_654_321, -4000, 2**31 - 1, -(2**31)):
        assert find_code(code, table.pdg, table.direct) == -1
    assert table.kind[-1] == UNKNOWN


@pytest.mark.parametrize(
    ("code", "expected"),
    [(1000020990, (True, 2)), (-1010010030, (True, -1)), (1000000010, (True, 0)), (2212, (False, 0)), (99, (False, 0))],
)
def test_charge_of_a_nucleus_is_in_its_digits(code, expected):
    is_nucleus, charge = charge_of_nucleus(code)
    assert (is_nucleus, charge if is_nucleus else 0) == expected


@pytest.mark.parametrize("column", ["px", "pz", "vx", "vz", "vt"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_stop_the_job(column, value):
    batch = gun((211, 22), n_events=3, particles=4, both_charges=False)
    values = batch["particle"][column].copy()
    values[6] = value
    with pytest.raises(StageError, match=r"stage propagate, event 1, particle 2: .*not finite"):
        run(changed(batch, **{column: values}))


def test_multiplicity_of_final_charged_particles():
    # eight charged within |eta| <= 2: dN/deta = 8/4; those beyond, neutral, decayed or unknown do not count
    pdg = [211] * 8 + [211, 22, 211]
    eta = np.r_[np.linspace(-2, 2, 8) * (1 - 1e-12), 2.1, 0.0, 0.0]
    batch = make_events(pdg, 0.001, eta, 0.0, status=[1] * 10 + [2])
    # the acceptance of the tracker does not matter
    assert run(batch, pt_min="1 GeV", eta_max=0.5)["event"]["dndeta"].tolist() == [2.0]
    assert run(batch, multiplicity={"eta_max": 4})["event"]["dndeta"].tolist() == [9 / 8]


def test_multiplicity_of_primaries():
    # Lambda -> p pi does not count, Xi- neither (it is no e, mu, pi, K, p), the rest does
    batch = make_events([3122, 2212, -211, 3312, 321, 11], 1.0, 0.1, 0.0, status=[2, 1, 1, 1, 1, 1])
    batch = changed(batch, production_vertex=[0, 1, 1, 0, 0, 0], end_vertex=[1, -1, -1, -1, -1, -1])
    settings = {"multiplicity": {"kind": "primaries", "eta_max": 0.8}}
    assert run(batch, **settings)["event"]["dndeta"].tolist() == [2 / 1.6]
    assert run(batch, multiplicity={"eta_max": 0.8})["event"]["dndeta"].tolist() == [5 / 1.6]


def test_collision_time():
    batch = gun(n_events=4000, particles=1)
    late = changed(batch, vt=3.0)
    result = run(late, collision_time_spread="100 ps")
    times = result["event"]["collision_time"]
    assert abs(times.mean()) < 5 * 0.1 / math.sqrt(4000)
    assert times.std() == pytest.approx(0.1, abs=5 * 0.1 / math.sqrt(8000))
    np.testing.assert_array_equal(result["charged"]["vt"], 3.0 + np.repeat(times, np.diff(result["charged"].offsets)))
    still = run(late)
    np.testing.assert_array_equal(still["event"]["collision_time"], 0.0)
    np.testing.assert_array_equal(still["charged"]["vt"], 3.0)


def test_other_particles_change_nothing():
    batch = gun(n_events=3, particles=20)
    whole = run(batch, collision_time_spread="1 ns")["charged"]
    status = np.where(np.arange(60) % 3 == 0, 1, 2)
    part = run(changed(batch, status=status), collision_time_spread="1 ns")["charged"]
    kept = whole.select(status[: whole.n_rows] == 1)
    for name in whole:
        np.testing.assert_array_equal(part[name], kept[name])


def test_reads_depend_on_the_multiplicity():
    names = {str(c) for c in stage().reads}
    more = {str(c) for c in stage(multiplicity={"kind": "primaries"}).reads}
    assert more - names == {"particle.production_vertex", "particle.end_vertex"}
