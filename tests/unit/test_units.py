"""Quantities with units in the text."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from flashdet import config, units


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("20 ps", "time", 0.02),
        ("85cm", "length", 85.0),
        ("3.4 m", "length", 340.0),
        ("2.5 um", "length", 2.5e-4),
        ("5 kG", "magnetic field", 0.5),
        ("-0.5 T", "magnetic field", -0.5),
        ("5.23e-3 rad", "angle", 5.23e-3),
        ("180 deg", "angle", math.pi),
        (".5 MeV", "energy", 5e-4),
        ("2 %", "fraction", 0.02),
    ],
)
def test_parse(text, dimension, value):
    assert units.parse(text, dimension) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("20", "has no unit"),
        ("20 cm", "is a length"),
        ("20 parsec", "unknown unit"),
        ("fast", "is not a number"),
        ("", ""),
    ],
)
def test_parse_says_what_is_allowed(text, what):
    with pytest.raises(ValueError, match=r"ns, ps, us, s") as caught:
        units.parse(text, "time")
    assert what in str(caught.value)


def test_constants_agree():
    """pt = 0.2998 B R per tesla and metre; B in kG and R in cm gives ALICE's 0.000299792458."""
    assert pytest.approx(units.C_LIGHT * 1e-4, rel=1e-15) == units.PT_PER_TESLA_CM


class _Config(config.StageConfig):
    radius: config.Length = "85 cm"  # type: ignore[assignment]
    spread: config.TimeOrZero = "0 ps"  # type: ignore[assignment]


def test_config_takes_text_with_units_only():
    assert _Config().radius == 85.0
    assert _Config(radius="1 m", spread="3 ns").spread == 3.0
    for bad in (85, 85.0, True, None, "85", "85 ps", "0 cm", "-1 cm"):
        with pytest.raises(ValidationError):
            _Config(radius=bad)
    with pytest.raises(ValidationError, match="Extra inputs"):
        _Config(raduis="85 cm")
    assert "unit" in _Config.model_json_schema()["properties"]["radius"]["description"]
