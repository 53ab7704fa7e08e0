"""Cards: what they mean, how they are put together, and the text of every error."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from flashdet.card import Card, schema, shipped_cards
from flashdet.config import AnyTime, Length, StrictModel
from flashdet.errors import CardError, FlashDetError, LutError
from flashdet.lut import catalog
from flashdet.lut.files import write_table
from flashdet.lut.selection import split
from flashdet.pipeline import Pipeline

VALID = Path(__file__).parents[1] / "cards" / "valid"
INVALID = Path(__file__).parents[1] / "cards" / "invalid"
CASES = sorted(p.stem for p in INVALID.glob("*.yaml") if not p.stem.endswith(".part"))
TOF = "{kind: tof, name: otof, shape: {cylinder: {radius: 85 cm, half_length: 340 cm}}, time_resolution: 20 ps}"
CARD = f"schema_version: 1\ndetector: test\nmagnetic_field: 2 T\nstages:\n  - {TOF}\n"


def write(path: Path, text: str = CARD) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("case", CASES)
def test_each_invalid_card_has_its_error(case, monkeypatch):
    monkeypatch.chdir(INVALID)
    with pytest.raises(FlashDetError) as caught:
        Pipeline(Card.load(f"{case}.yaml"))
    expected = (INVALID / f"{case}.error.txt").read_text()
    assert f"{type(caught.value).__name__}\n{caught.value}\n".replace(str(INVALID), "FOLDER") == expected
    assert caught.value.exit_code == 2


def test_there_are_enough_invalid_cards_and_no_orphans():
    assert len(CASES) >= 15
    assert {p.name.removesuffix(".error.txt") for p in INVALID.glob("*.error.txt")} == set(CASES)


@pytest.mark.parametrize("path", sorted(VALID.glob("*.yaml")), ids=lambda p: p.stem)
def test_each_valid_card_makes_a_pipeline(path, tmp_path):
    card = Card.load(path)
    assert Pipeline(card).tables
    assert Card.load(write(tmp_path / "resolved.yaml", card.resolved())).hash == card.hash


@pytest.mark.parametrize("name", shipped_cards())
def test_each_shipped_card_makes_a_pipeline(name):
    pipeline = Pipeline(Card.load(name))
    assert {"event", "particle", "charged", "track", "vertex"} <= set(pipeline.tables)
    assert len(pipeline.luts) == 9
    assert len(pipeline.lut_hashes) == 9


def test_alice3_has_the_numbers_of_its_sources():
    stages = {s.name: s.config for s in Card.load("alice3").stages}
    rich = stages["rich"]
    photons = rich.photon_yield * rich.radiator_thickness * (1 - rich.refractive_index**-2) * rich.photon_efficiency
    assert photons == pytest.approx(24, rel=2e-4)  # O2Physics onTheFlyRichPid
    assert rich.model == "projective"
    emcal = stages["emcal"].shape[0].cylinder
    assert math.asinh(emcal.half_length / emcal.radius) == pytest.approx(1.5, abs=2e-3)
    tiles = stages["rich"].tiles
    assert (tiles.inner_radius, tiles.outer_radius, tiles.tile_size, tiles.n_sectors) == (85, 112, 18.4, 21)
    assert {stages[n].time_resolution for n in ("itof", "otof", "ftof")} == {0.02}


@pytest.mark.parametrize("name", shipped_cards())
def test_a_resolved_card_reads_back_as_itself(name, tmp_path):
    card = Card.load(name)
    again = Card.load(write(tmp_path / "again.yaml", card.resolved()))
    assert again.hash == card.hash
    assert again.canonical == card.canonical
    assert again.resolved() == card.resolved()
    assert again.stages == card.stages


def test_shipped_cards_are_found_with_and_without_ending(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Card.load("alice3").hash == Card.load("alice3.yaml").hash
    assert Card.load("alice3").source == "alice3.yaml"
    with pytest.raises(CardError, match="did you mean 'alice3'"):
        Card.load("alice33")
    write(tmp_path / "alice3.yaml")
    assert Card.load("alice3.yaml").model.detector == "test"  # a file wins


def test_hash_sees_meaning_not_writing(tmp_path):
    card = Card.load(write(tmp_path / "a.yaml"))
    same = CARD.replace("20 ps", "0.02 ns").replace("2 T", "20 kG") + "# a comment\noutput: {format: aod}\n"
    assert Card.load(write(tmp_path / "b.yaml", same)).hash == card.hash
    assert Card.load(write(tmp_path / "c.yaml", CARD.replace("20 ps", "21 ps"))).hash != card.hash


def test_yaml_is_version_1_2(tmp_path):
    card = Card.load(write(tmp_path / "a.yaml", CARD.replace("detector: test", "detector: no")))
    assert card.model.detector == "no"


def test_include_merges_keys_and_stages_by_name(tmp_path):
    write(tmp_path / "base.yaml", CARD + "luts: alice3\n")
    (tmp_path / "more").mkdir()
    over = (
        "include: [../base.yaml]\nmagnetic_field: 1 T\nluts: {pion: mine/pion}\nstages:\n"
        "  - {name: otof, time_resolution: 30 ps}\n  - {kind: vertex}\n"
    )
    card = Card.load(write(tmp_path / "more" / "over.yaml", over))
    assert card.model.magnetic_field == 1.0
    assert [s.name for s in card.stages] == ["otof", "vertex"]
    assert card.stages[0].config.time_resolution == pytest.approx(0.03)
    assert "radius: 85 cm" in card.resolved()
    assert card.model.luts["pion"] == "mine/pion"
    assert card.model.luts["kaon"] == "alice3/kaon"
    assert [Path(f).name for f in card.files] == ["over.yaml", "base.yaml"]


def test_later_includes_win_and_another_kind_replaces(tmp_path):
    write(tmp_path / "one.yaml", CARD)
    write(tmp_path / "two.yaml", CARD.replace("2 T", "3 T").replace("detector: test", "detector: two"))
    card = Card.load(
        write(tmp_path / "x.yaml", "include: [one.yaml, two.yaml]\ndetector: x\nstages: [{kind: vertex, name: otof}]\n")
    )
    assert (card.model.magnetic_field, card.model.detector) == (3.0, "x")
    assert [(s.kind, s.name) for s in card.stages] == [("vertex", "otof")]


def test_a_shipped_card_can_be_included(tmp_path):
    text = "include: [alice3.yaml]\nstages: [{name: otof, time_resolution: 30 ps}]\n"
    card = Card.load(write(tmp_path / "mine.yaml", text))
    assert card.model.detector == Card.load("alice3").model.detector
    assert card.hash == Card.load("alice3", ["stages.otof.time_resolution=30 ps"]).hash


def test_set_changes_one_value(tmp_path):
    path = write(tmp_path / "a.yaml")
    card = Card.load(path, ["stages.otof.time_resolution=30 ps", "output.tables=[event, otof]", "detector=x"])
    assert card.stages[0].config.time_resolution == pytest.approx(0.03)
    assert card.model.output.tables == ("event", "otof")
    assert card.model.detector == "x"
    assert Card.load(path).model.detector == "test"
    assert "time_resolution: 30 ps" in card.resolved()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stages.itof.time_resolution=1 ps", "--set stages.itof: no such entry; stages has: otof"),
        (
            "stages.otof.time_resolutoin=1 ps",
            "--set stages.otof.time_resolutoin: unknown key; did you mean 'time_resolution'?",
        ),
        ("stages.otof.time_resolution=1", "--set stages.otof.time_resolution: a time needs a unit"),
        ("magnetc_field=1 T", "--set magnetc_field: unknown key; did you mean 'magnetic_field'?"),
        ("detector.name=x", "--set detector.name: no such key: detector is the value 'test'"),
        ("detector", "--set: 'detector' is not PATH=VALUE"),
        ("=3", "--set: '=3' is not PATH=VALUE"),
        ("detector=[a", "--set detector: the value is not YAML"),
        ("magnetic_field=", "--set magnetic_field: a magnetic field needs a unit"),
    ],
)
def test_each_bad_setting_says_what_exists(setting, message, tmp_path):
    with pytest.raises(CardError) as caught:
        Card.load(write(tmp_path / "a.yaml"), [setting])
    assert message in str(caught.value)
    assert "a.yaml" not in str(caught.value)


def test_all_errors_come_at_once(tmp_path):
    text = CARD.replace("2 T", "2").replace("20 ps", "20").replace("85 cm", "-85 cm")
    with pytest.raises(CardError) as caught:
        Card.load(write(tmp_path / "a.yaml", text), ["output.format=[3]"])
    assert len(str(caught.value).splitlines()) == 4


def test_a_card_may_not_be_a_directory_or_binary(tmp_path):
    (tmp_path / "b.yaml").write_bytes(b"detector: \xff\n")
    with pytest.raises(CardError, match="not UTF-8 text: byte 10 is 0xff"):
        Card.load(tmp_path / "b.yaml")
    with pytest.raises(CardError, match="no such file and no shipped card"):
        Card.load(tmp_path)


def test_a_species_may_have_a_table_for_each_charge_or_sector(tmp_path):
    """The card lists them; together they must hold for all particles; each has its hash in the manifest."""
    lut = catalog.load_lut("reference_barrel/pion")
    for part in split(True, 2):
        write_table(replace(lut, meta=lut.meta | part.meta), tmp_path / f"pion{part.label}.lut.npz")
    names = [f"pion{part.label}.lut.npz" for part in split(True, 2)]
    path = tmp_path / "card.yaml"

    def pipeline(luts):
        text = f"schema_version: 1\ndetector: x\nmagnetic_field: {lut.field:g} T\nluts: {luts}\n"
        path.write_text(text + "stages: [{kind: propagate}, {kind: tracking}]\n")
        return Pipeline(Card.load(path))

    made = pipeline(f"{{pion: [{', '.join(names)}], kaon: reference_barrel/kaon}}")
    assert list(made.lut_hashes) == [*names, "reference_barrel/kaon"]
    assert YAML(typ="safe").load(made.card.resolved())["luts"]["pion"] == names
    good = YAML(typ="safe").load(path)
    with pytest.raises(LutError, match=r"card.yaml:4:14 luts.pion: several tables .*phi180to360"):
        pipeline(f"{{pion: [{', '.join([*names, names[0]])}]}}")
    with pytest.raises(LutError, match=r"luts.pion: no table for negative particles .* -3.142 to 0 rad; there are"):
        pipeline(f"{{pion: [{', '.join(names[:2] + names[3:])}]}}")
    with pytest.raises(LutError, match=r"luts.pion: no table for negative .*; there is pion_positive"):
        pipeline(f"{{pion: {names[0]}}}")
    with pytest.raises(LutError, match="reference_barrel/kaon is a table of kaon"):
        pipeline(f"{{pion: [{names[0]}, reference_barrel/kaon]}}")
    for wrong in ("[]", "[1, 2]"):
        with pytest.raises(CardError, match=r"luts.pion: must be a table or a list of tables; got"):
            pipeline(f"{{pion: {wrong}}}")
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema())
    assert validator.is_valid(good)
    assert not validator.is_valid(good | {"luts": {"pion": [1]}})


def test_schema_lists_all_kinds_and_can_be_written():
    found = schema()
    text = json.dumps(found)
    kinds = {
        d["properties"]["kind"]["const"]
        for d in found["$defs"].values()
        if "kind" in d.get("properties", {}) and "const" in d["properties"]["kind"]
    }
    assert {"propagate", "tracking", "vertex", "tof", "rich", "emcal", "muon"} <= kinds
    pattern = found["$defs"]["TofStage"]["properties"]["time_resolution"]["anyOf"][0]["pattern"]
    assert re.match(pattern, "20 ps")
    assert re.match(pattern, "2.5e-2ns")
    assert not re.match(pattern, "20")
    assert not re.match(pattern, "20 cm")
    assert len(text) > 1000
    references = {r["$ref"].rpartition("/")[2] for r in found["else"]["properties"]["stages"]["items"]["oneOf"]}
    assert references <= set(found["$defs"])


def test_schema_agrees_with_the_card_about_what_is_allowed():
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema())
    for path in (*VALID.glob("*.yaml"), *(VALID.parents[2] / "cards").glob("*.yaml")):
        assert not list(validator.iter_errors(YAML(typ="safe").load(path))), path
    complete = YAML(typ="safe").load(VALID.parents[2] / "cards/reference_barrel.yaml")
    assert validator.is_valid(complete)
    for key in ("detector", "magnetic_field", "stages"):
        assert not validator.is_valid({k: v for k, v in complete.items() if k != key})
    # of a stage only what changes: with something to change it in
    changed = {**complete, "stages": [{"name": "tracking", "efficiency": False}]}
    assert not validator.is_valid(changed)
    assert validator.is_valid({**changed, "include": ["reference_barrel"]})


class _Values(StrictModel):
    length: Length
    time: AnyTime


@given(st.floats(1e-9, 1e9), st.floats(-1e9, 1e9, allow_nan=False))
def test_quantities_are_written_so_that_they_read_back(length, time):
    values = _Values(length=f"{length!r} cm", time=f"{time!r} ns")
    assert _Values(**values.model_dump(mode="json")) == values
    assert values.length == length
    assert values.time == time
