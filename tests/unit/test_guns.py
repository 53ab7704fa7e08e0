"""Guns: settings, distributions, reproducibility."""

import math

import numpy as np
import pytest
from hepmc_text import read

from flashdet.errors import InputError
from flashdet.io.guns import Gun, parse_gun
from flashdet.testing import assert_same_tables


def test_defaults_and_settings():
    assert parse_gun("") == Gun()
    gun = parse_gun("pdg=321/-211,pt=0.5..2,shape=log,eta=1.5,phi=0..1,n=3,particles=4,seed=9")
    assert gun == Gun((321, -211), (0.5, 2.0), "log", (1.5, 1.5), (0.0, 1.0), 3, 4, 9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("color=red", "unknown key 'color'; allowed: pdg, pt"),
        ("n=1,n=2", "repeated key 'n'"),
        ("pdg=pion", "invalid literal"),
        ("pdg=1234567", "unknown PDG codes"),
        ("pt=0..1", "must be above 0"),
        ("pt=2..1", "LOW <= HIGH"),
        ("eta=nan", "LOW <= HIGH"),
        ("shape=round", "allowed: flat, log"),
        ("n=-1", "must not be negative"),
        ("n", "invalid literal"),
    ],
)
def test_wrong_settings_are_named(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_gun(text)
    assert caught.value.where == f"gun:{text}"


def test_distributions():
    """20 000 particles: means and fractions within 5 standard deviations."""
    n = 20_000
    p = read(f"gun:pdg=211/-321,pt=1..3,eta=-2..1,n=20,particles={n // 20}")["particle"]
    pt, eta = np.hypot(p["px"], p["py"]), np.arcsinh(p["pz"] / np.hypot(p["px"], p["py"]))
    phi = np.arctan2(p["py"], p["px"])
    for values, low, high in ((pt, 1, 3), (eta, -2, 1), (phi, -math.pi, math.pi)):
        assert low - 1e-12 <= values.min() < values.max() <= high + 1e-12
        assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / math.sqrt(12 * n)
    assert abs((p["pdg"] == 211).mean() - 0.5) < 5 * 0.5 / math.sqrt(n)
    mass = np.sqrt(p["energy"] ** 2 - pt**2 - p["pz"] ** 2)
    np.testing.assert_allclose(mass, p["mass"], rtol=1e-9)
    assert set(p["mass"].tolist()) == {0.13957039, 0.493677}
    log = read(f"gun:pt=0.1..10,shape=log,n=1,particles={n}")["particle"]
    u = np.log10(np.hypot(log["px"], log["py"]))
    assert abs(u.mean()) < 5 * 2 / math.sqrt(12 * n)


def test_gun_is_the_same_in_any_batch_and_window():
    text = "gun:n=7,particles=3"
    whole = read(text)
    assert_same_tables(whole, read(text, target_particles=1))
    assert_same_tables(whole.slice_events(2, 5), read(text, first=2, events=3))
    assert read(text + ",seed=2")["particle"]["px"][0] != whole["particle"]["px"][0]
    assert whole["event"]["number"].tolist() == list(range(7))
    assert len(set(whole["event"]["key"].tolist())) == 7
    assert whole.weight_names == ("Default",)


def test_gun_without_particles():
    assert read("gun:n=2,particles=0")["particle"].n_rows == 0
