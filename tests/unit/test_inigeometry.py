"""ALICE .ini geometries: what is written comes out, and what O2Physics misreads is an error."""

import pytest

from flashdet.cli.main import execute
from flashdet.errors import InputError
from flashdet.io.inigeometry import layout_card, read_ini
from flashdet.layout import read_layout

LAYER = (
    "{n}.r: {r}\n{n}.z: 250\n{n}.x0: {x0}\n{n}.xrho: 0.2\n{n}.resRPhi: {res}\n{n}.resZ: {res}\n"
    "{n}.eff: {eff}\n{n}.type: {t}\n"
)
GOOD = (
    "# comment\n"
    + LAYER.format(n="pipe", r=0.48, x0="0.001f", res="0.0f", eff="0.0f", t=0)
    + "".join(LAYER.format(n=f"B{i}", r=f"{i + 1}.", x0="1e-2", res="0.00025", eff="0.99", t=1) for i in range(6))
    + "global.lutPi: ccdb:somewhere\nglobal.magneticfield: 20\n"
)


def layout(tmp_path, text, lenient=False, field=None):
    (tmp_path / "geo.ini").write_text(text)
    geometry = read_ini(tmp_path / "geo.ini", lenient)
    (tmp_path / "geo.yaml").write_text(layout_card(geometry, "geo", "geo.ini", field))
    return read_layout(tmp_path / "geo.yaml"), geometry


def test_numbers(tmp_path):
    made, geometry = layout(tmp_path, GOOD)
    assert (made.field, made.minimum_hits, len(made.layers), geometry.notes) == (2.0, 5, 7, [])
    pipe, first = made.layers[:2]
    assert (pipe.is_inert, pipe.position, pipe.x_over_x0) == (True, 0.48, pytest.approx(0.001))
    assert (first.name, first.position, first.high, first.areal_density) == ("B0", 1.0, 250.0, 0.2)
    assert (first.resolution_rphi, first.resolution_z, first.efficiency) == pytest.approx((2.5e-4, 2.5e-4, 0.99))


def test_products_are_refused_or_evaluated(tmp_path):
    text = GOOD.replace("B3.x0: 1e-2", "B3.x0: 0.01*3.")
    with pytest.raises(InputError, match=r"B3\.x0 is '0\.01\*3\.', which O2Physics reads as 0\.01"):
        layout(tmp_path, text)
    made, geometry = layout(tmp_path, text, lenient=True)
    assert made.layers[4].x_over_x0 == pytest.approx(0.03)
    assert any("0.03 is taken" in note for note in geometry.notes)


def test_missing_colons(tmp_path):
    text = GOOD.replace("B1.r: 2.", "B1.r 2.")
    with pytest.raises(InputError, match=r"line \d+: 'B1\.r 2\.' has no colon"):
        layout(tmp_path, text)
    made, geometry = layout(tmp_path, text, lenient=True)
    assert made.layers[2].position == 2.0
    assert len(geometry.notes) == 1


def test_missing_globals(tmp_path):
    text = GOOD.replace("global.magneticfield: 20\n", "")
    with pytest.raises(InputError, match=r"has no global\.magneticfield"):
        layout(tmp_path, text)
    assert layout(tmp_path, text, field=0.5)[0].field == 0.5
    with pytest.raises(InputError, match="field of 2 T, not of 1 T"):
        layout(tmp_path, GOOD, field=1.0)


def test_inert_layers_with_resolutions_are_told(tmp_path):
    made, geometry = layout(tmp_path, GOOD.replace("B5.type: 1", "B5.type: 0"))
    assert made.layers[-1].is_inert
    assert geometry.notes == ["layer B5 is of type 0: inert, although it has a resolution or efficiency"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("B2.eff: 0.99", "B2.eff: full", "'full' is not a number"),
        ("B2.eff: 0.99\n", "", "layer B2 lacks eff"),
        ("B2.eff: 0.99", "B2.dead: 1", "unknown key 'dead'"),
        ("B2.eff: 0.99", "B2.r: 3", "given twice"),
        ("B2.eff: 0.99", "B2.eff 0.99 x", "is not 'layer.key: value'"),
    ],
)
def test_other_mistakes(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(InputError, match=message):
        layout(tmp_path, GOOD.replace(old, new, 1))


def test_command(tmp_path, capsys):
    (tmp_path / "geo.ini").write_text(GOOD.replace("B3.x0: 1e-2", "B3.x0: 0.01*3."))
    arguments = ["lut", "import-ini", str(tmp_path / "geo.ini"), "-o", str(tmp_path / "geo.yaml")]
    assert execute(arguments) == 3
    assert execute([*arguments, "--lenient"]) == 0
    assert "0.03 is taken" in capsys.readouterr().err
    assert execute([*arguments, "--lenient"]) == 1
