"""Masses, charges and LUT species of all kinds of PDG codes."""

from __future__ import annotations

import numpy as np
import pytest

from flashdet import species


def _row(pdg: int) -> int:
    return int(species.particle_table().find(np.array([pdg], np.int32))[0])


def test_table_is_sorted_and_charge_conjugate():
    table = species.particle_table()
    assert np.all(np.diff(table.pdg.astype(np.int64)) > 0)
    for code in (11, 211, 321, 2212, 3112, 3312, 3334, 1000020030):
        plus, minus = _row(code), _row(-code)
        assert table.charge3[plus] == -table.charge3[minus] != 0
        assert table.mass[plus] == table.mass[minus] > 0


def test_frozen_table_is_that_of_its_source():
    """`species.freeze()` writes it anew after a change of `build_table` or for a new release of the source."""
    import particle

    with np.load(species.FROZEN) as file:
        release = str(file["source"])
    if release != f"particle {particle.__version__}":
        pytest.skip(f"frozen from {release}, installed is {particle.__version__}")
    frozen, built = species.particle_table(), species.build_table()
    for name in ("pdg", "mass", "charge3", "ctau"):
        values = getattr(frozen, name)
        assert values.dtype == getattr(built, name).dtype
        np.testing.assert_array_equal(values, getattr(built, name))


def test_nuclei_are_bare():
    """The packaged nuclei are atoms: their electrons must be gone (helium-3: 1.02 MeV)."""
    table = species.particle_table()
    from particle import Particle

    for code, mass in zip(species.SPECIES_PDG, species.SPECIES_MASS, strict=True):
        assert table.mass[_row(code)] == mass
        if code > 1_000_000_000:
            atom = Particle.from_pdgid(code).mass * 1e-3
            charge = species.SPECIES_CHARGE[species.SPECIES_PDG.index(code)]
            assert mass == pytest.approx(atom - charge * species.ELECTRON_MASS, abs=2e-7)
    lead = table.mass[_row(1000822080)]
    assert lead == pytest.approx(193.687, abs=1e-3)  # 193.6877 GeV: bare lead-208


def test_neutrinos_are_known():
    """A final state with neutrinos is no final state with unknown particles."""
    for code in (12, -14, 16):
        assert species.particle_table().mass[_row(code)] == 0


def test_find_says_unknown():
    codes = np.array([211, 99999999, -99999999, np.iinfo(np.int32).max, np.iinfo(np.int32).min, 0], np.int32)
    assert (species.particle_table().find(codes) >= 0).tolist() == [True, False, False, False, False, False]


@pytest.mark.parametrize(
    ("pdg", "charge3"),
    [
        (2, 2),
        (211, 3),
        (-211, -3),
        (22, 0),
        (1000020040, 6),
        (1010010030, 3),
        (-1010010030, -3),
        (1000731829, 219),
        (99999999, None),
    ],
)
def test_charge_of_code(pdg, charge3):
    """Hypertriton (1010010030) and excited fragments are in no table: the digits of the code tell the charge."""
    assert species.charge3_of_code(pdg) == charge3


@pytest.mark.parametrize(
    ("charge", "mass", "name"),
    [
        (-1, 1.19745, "proton"),  # Sigma-
        (1, 1.32171, "proton"),  # Xi
        (-1, 1.67245, "deuteron"),  # Omega-: nearer to the deuteron than to the proton
        (1, 2.991, "triton"),  # hypertriton
        (2, 3.92, "alpha"),  # hyperhydrogen-free charge 2
        (1, 0.13957, "pion"),
        (1, 0.120, "muon"),
    ],
)
def test_lut_species_rule(charge, mass, name):
    assert species.SPECIES[species.lut_species(charge, mass)] == name


def test_no_stand_in_for_other_charges():
    assert species.lut_species(3, 6.5) == -1
    assert species.lut_species(0, 1.0) == -1
