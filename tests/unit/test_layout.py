"""Layout cards: what they say, and what is said about wrong ones."""

from dataclasses import astuple

import pytest

from flashdet.errors import CardError, LutError
from flashdet.layout import read_layout
from flashdet.lut.layout import Layout
from flashdet.shipped import shipped

HEAD = """\
schema_version: 1
name: test
magnetic_field: 2 T
minimum_hits: 4
layers:
"""
CYLINDER = (
    "  - {{name: {name}, kind: cylinder, radius: {radius}, half_length: 50 cm, x_over_x0: 0.1 %, "
    "areal_density: 0.02 g/cm2, resolution_rphi: 5 um, resolution_z: 6 um}}\n"
)
GOOD = HEAD + "".join(CYLINDER.format(name=f"L{i}", radius=f"{i + 1} cm") for i in range(4))
DISC = (
    "  - {name: D, kind: disc, mirrored: true, z: 30 cm, r_min: 1 cm, r_max: 5 cm, x_over_x0: 1 %, "
    "areal_density: 0.2 g/cm2, resolution_rphi: 5 um, resolution_r: 6 um, efficiency: 99 %}\n"
)
SHIPPED = tuple(sorted(path.stem for path in (shipped("cards") / "layouts").glob("*.yaml")))


def read(tmp_path, text):
    path = tmp_path / "card.yaml"
    path.write_text(text)
    return read_layout(path)


def test_numbers_come_out_in_internal_units(tmp_path):
    layout = read(tmp_path, GOOD + DISC)
    assert (layout.name, layout.field, layout.minimum_hits, layout.maximum_wrong_hits) == ("test", 2.0, 4, 0)
    assert astuple(layout.layers[0])[:2] == ("L0", "cylinder")
    assert astuple(layout.layers[0])[2:] == pytest.approx((1.0, -50.0, 50.0, 0.001, 0.02, 5e-4, 6e-4, 1.0, False))
    front, back = layout.layers[-2:]
    assert (front.name, front.position, back.name, back.position) == ("D+", 30.0, "D-", -30.0)
    assert (front.low, front.high, front.efficiency) == (1.0, 5.0, 0.99)
    assert layout.is_symmetric


def test_symmetry_and_hash(tmp_path):
    one_sided = read(tmp_path, GOOD + DISC.replace("mirrored: true, ", ""))
    both = read(tmp_path, GOOD + DISC)
    assert not one_sided.is_symmetric
    assert both.sha256 == read(tmp_path, GOOD + DISC).sha256
    assert both.sha256 != one_sided.sha256


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("radius: 2 cm", "radius: 2", 7, "needs a unit"),
        ("radius: 2 cm", "radius: -2 cm", 7, "greater than zero"),
        ("radius: 2 cm", "radius: 2 kg", 7, "kg"),
        ("minimum_hits: 4", "minimum_hits: 3", 4, "greater than or equal to 4"),
        ("half_length: 50 cm, ", "", 6, "half_length"),
        ("kind: cylinder", "kind: sphere", 6, "cylinder"),
        ("magnetic_field: 2 T", "magnetic_field: 0 T", 1, "no momentum"),
        ("name: L1", "name: L0", 1, "doubled: L0"),
        ("resolution_z: 6 um}", "resolution_z: 0 um}", 6, "above zero"),
        ("resolution_z: 6 um}", "resolution_z: 6 um, inert: true}", 6, "measures nothing"),
        ("x_over_x0: 0.1 %", "x_over_x0: 1e-9 %", 6, "below 1e-06"),
        ("areal_density: 0.02 g/cm2", "areal_density: 0.02 g/cm3", 6, "g/cm3"),
        ("resolution_z: 6 um}", "resolution_z: 6 um, thickness: 3 um}", 6, "unknown key"),
        ("resolution_z: 6 um}", "resolution_z: 6 um, efficiency: 120 %}", 6, "efficiency"),
        ("z: 30 cm", "z: 0 cm", 10, "z = 0"),
        ("r_min: 1 cm", "r_min: 9 cm", 10, "must be below r_max"),
        # the number that one ALICE geometry file carries, and that std::stof reads as 0.01
        ("x_over_x0: 0.1 %", "x_over_x0: 0.01*3.", 6, "x_over_x0"),
    ],
)
def test_wrong_cards_name_the_line(tmp_path, old, new, line, expected):
    text = (GOOD + DISC).replace(old, new, 1)
    assert text != GOOD + DISC
    with pytest.raises(CardError, match=r"card\.yaml") as caught:
        read(tmp_path, text)
    assert f"card.yaml:{line}:" in str(caught.value)
    assert expected in str(caught.value)


def test_all_problems_come_at_once(tmp_path):
    text = GOOD.replace("radius: 1 cm", "radius: 1").replace("radius: 3 cm", "radius: 3")
    with pytest.raises(CardError) as caught:
        read(tmp_path, text)
    assert "card.yaml:6:" in str(caught.value)
    assert "card.yaml:8:" in str(caught.value)


@pytest.mark.parametrize("text", ["", "layers: [", "- 1\n", "just text"])
def test_what_is_no_layout(tmp_path, text):
    with pytest.raises(CardError, match=r"card\.yaml"):
        read(tmp_path, text)


def test_unknown_name_lists_the_shipped_ones():
    with pytest.raises(CardError, match=r"alice3_v3.*reference_barrel"):
        read_layout("no_such_layout")


def test_layouts_check_themselves():
    layer = read_layout("reference_barrel").layers[0]
    with pytest.raises(LutError, match="measuring layers"):
        Layout("few", 2.0, (layer,))
    with pytest.raises(LutError, match="maximum_snp"):
        Layout("snp", 2.0, read_layout("reference_barrel").layers, maximum_snp=1.2)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_layouts(name):
    layout = read_layout(name)
    assert layout.is_symmetric
    assert layout.source
    # g/cm2 per radiation length, from copper (13) to beryllium (65); one public file halves its silicon to 11.6
    for layer in layout.layers:
        ratio = layer.areal_density / layer.x_over_x0
        assert 11.0 < ratio < 67.0, layer.name


def test_numbers_of_the_shipped_layouts():
    v3 = {layer.name: layer for layer in read_layout("alice3_v3.yaml").layers}
    assert v3["inner_tof"].x_over_x0 == pytest.approx(0.03)
    assert v3["inner_tof"].is_inert
    assert [v3[f"B{i:02d}"].position for i in range(11)] == [0.5, 1.2, 2.5, 7, 9, 12, 20, 30, 45, 60, 80]
    assert max(layer.high for layer in v3.values() if layer.kind == "cylinder" and not layer.is_inert) < 130
    barrel = read_layout("reference_barrel")
    assert [layer.position for layer in barrel.layers] == [0.5, 1.2, 2.5, 3.75, 7, 12, 20, 30, 45, 60, 80]
    assert {layer.high for layer in barrel.layers} == {130.0}
    assert read_layout("delphes_o2_v1").field == 0.5


OUTER = (8, 20, 25, 40, 55, 80, 100)
WERNER = (0.5, 1.2, 2.5, 3.75, 7, 12, 20, 30, 45, 60, 80, 100)


@pytest.mark.parametrize(
    ("name", "radii", "material"),
    [
        ("delphes_o2_default", (1.8, 2.8, 3.8, *OUTER), 0.0014 + 3 * 0.0005 + 7 * 0.005),
        ("delphes_o2_tof1", (1.8, 2.8, 3.8, *OUTER), 0.0014 + 3 * 0.0005 + 6 * 0.005 + 0.03),
        ("delphes_o2_tof2", (1.8, 2.8, 3.8, *OUTER), 0.0014 + 3 * 0.0005 + 7 * 0.005),
        ("delphes_o2_scenario1", (1.525, 2.8, 3.8, *OUTER), 0.0014 + 3 * 0.0005 + 7 * 0.005),
        ("delphes_o2_scenario2", (1.5075, 2.8, 3.8, *OUTER), 0.00042 + 0.0014 + 3 * 0.0005 + 7 * 0.005),
        ("delphes_o2_scenario3", (0.5075, 1.5, 2.8, 3.8, *OUTER), 0.00042 + 0.0014 + 4 * 0.0005 + 7 * 0.005),
        ("delphes_o2_scenario4", (0.5, 1.5, 2.8, 3.8, *OUTER), 0.0014 + 4 * 0.0005 + 7 * 0.005),
        ("delphes_o2_werner", WERNER, 0.00042 + 0.0014 + 3 * 0.001 + 9 * 0.01),
        ("alice3_v2", WERNER[:-1], 0.00042 + 0.0014 + 3 * 0.001 + 8 * 0.01),
        ("alice3_a3geo", (0.5, 1.2, 2.5, 7, 9, 12, 20, 30, 45, 60, 80), 0.001592 * 2 + 0.00268 + 0.0223 + 0.03 + 0.08),
        (
            "alice3_v3_extra_ml",
            (0.5, 1.2, 2.5, 7, 9, 12, 20, 30, 35, 45, 60, 80),
            0.001592 + 0.00076 + 0.00096 + 0.00167 + 0.0223 + 0.03 + 0.09,
        ),
    ],
)
def test_layouts_have_the_radii_and_the_material_of_their_source(name, radii, material):
    layout = read_layout(name)
    active = [layer.position for layer in layout.layers if not layer.is_inert]
    assert active == pytest.approx(radii)
    assert sum(layer.x_over_x0 for layer in layout.layers) == pytest.approx(material)


@pytest.mark.parametrize("name", ["delphes_o2_its1", "delphes_o2_its2", "delphes_o2_its3", "delphes_o2_v4"])
def test_time_projection_chambers_have_their_rows(name):
    """159 rows in three groups; the last ones end before the outer wall."""
    rows = [layer for layer in read_layout(name).layers if layer.name.startswith("TPC") and not layer.is_inert]
    positions = [row.position for row in rows]
    assert len(rows) == 159
    assert positions == sorted(positions)
    assert (positions[0], positions[62], positions[63], positions[126], positions[127]) == pytest.approx(
        (85.2, 131.7, 136.1, 199.1, 200.7)
    )
    assert positions[-1] < 254
    assert [row.resolution_rphi for row in rows] == pytest.approx([0.1] * 159)
