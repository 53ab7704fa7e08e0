"""Layout cards from the ``.ini`` geometries of the O2Physics on-the-fly simulation (``ALICE3/Macros/Configuration``).

One line is ``layer.key: value``; ``global.magneticfield`` is in kG. That program reads the files with ROOT's TEnv and
``std::stof``, which take the beginning of a text for a number and a blank for a colon; here such lines are errors,
unless the user lets them be read as they are meant.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from flashdet.errors import InputError

#: Keys of a layer that this program knows, all of which are needed.
KEYS = ("r", "z", "x0", "xrho", "resRPhi", "resZ", "eff", "type")
#: Keys that say nothing about layers.
_GLOBAL_IGNORED = re.compile(r"lut\w+")
_LINE = re.compile(r"(?P<layer>\w+)\.(?P<key>\w+)(?P<colon>\s*:\s*|\s+)(?P<value>\S+)\s*(#.*)?")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?f?")


@dataclass
class IniGeometry:
    """A geometry file as it is meant.

    Attributes
    ----------
    layers : dict of str to dict
        Keys and numbers of each layer, in the file's order [cm, g/cm2].
    magnetic_field : float or None
        [T]; None if the file has none.
    notes : list of str
        What was read otherwise than it is written, and what was left out.
    """

    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    magnetic_field: float | None = None
    notes: list[str] = field(default_factory=list)


def read_ini(path: str | Path, lenient: bool = False) -> IniGeometry:
    """Read a geometry file.

    Parameters
    ----------
    path : path
        The file.
    lenient : bool
        Evaluate products like ``0.01*3.`` and accept lines without a colon, with a note each, instead of refusing.

    Returns
    -------
    IniGeometry

    Raises
    ------
    InputError
        All lines that cannot be read, that O2Physics reads otherwise than they look, and layers that lack keys.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from error
    geometry, problems = IniGeometry(), list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            _read_line(line.strip(), number, geometry, problems, lenient)
    for name, keys in geometry.layers.items():
        missing = [key for key in KEYS if key not in keys]
        if missing and not problems:
            problems.append(f"layer {name} lacks {', '.join(missing)}")
    if not geometry.layers:
        problems.append("there is no layer in it")
    if problems:
        hint = "mend the file, or read it as it is meant with --lenient"
        raise InputError("\n  ".join(["is not a geometry that can be trusted:", *problems]), str(path), hint)
    return geometry


def _read_line(line: str, number: int, geometry: IniGeometry, problems: list[str], lenient: bool) -> None:
    match = _LINE.fullmatch(line)
    if match is None:
        problems.append(f"line {number}: {line!r} is not 'layer.key: value'")
        return
    layer, key, text = match["layer"], match["key"], match["value"]
    if ":" not in match["colon"]:
        _doubt(f"line {number}: {line!r} has no colon", "taken as if it had", geometry, problems, lenient)
    if layer == "global" and _GLOBAL_IGNORED.fullmatch(key):
        return
    allowed = ("magneticfield",) if layer == "global" else KEYS
    if key not in allowed:
        problems.append(f"line {number}: unknown key {key!r}; allowed: {', '.join(allowed)}")
        return
    factors = [_number(part) for part in text.split("*")]
    if None in factors:
        problems.append(f"line {number}: {text!r} is not a number")
        return
    value = math.prod(factor for factor in factors if factor is not None)
    if len(factors) > 1:
        reads = f"line {number}: {layer}.{key} is {text!r}, which O2Physics reads as {factors[0]:g}"
        _doubt(reads, f"{value:g} is taken", geometry, problems, lenient)
    if layer == "global":
        geometry.magnetic_field = 0.1 * value
        return
    keys = geometry.layers.setdefault(layer, {})
    if key in keys:
        problems.append(f"line {number}: {layer}.{key} is given twice")
    keys[key] = value


def _doubt(text: str, taken: str, geometry: IniGeometry, problems: list[str], lenient: bool) -> None:
    if lenient:
        geometry.notes.append(f"{text}: {taken}")
    else:
        problems.append(text)


def _number(text: str) -> float | None:
    return float(text.rstrip("f")) if _NUMBER.fullmatch(text) else None


def layout_card(
    geometry: IniGeometry, name: str, source: str, magnetic_field: float | None = None, minimum_hits: int = 5
) -> str:
    """Text of a layout card.

    Parameters
    ----------
    geometry : IniGeometry
        What was read; gains notes about layers that are inert although they have resolutions.
    name, source : str
        Of the detector, and where the numbers come from.
    magnetic_field : float, optional
        [T], for files without one.
    minimum_hits : int
        Hits that a track needs; the file does not say. O2Physics asks for more than 4.

    Returns
    -------
    str
        YAML for `flashdet.layout.read_layout`.

    Raises
    ------
    InputError
        There is no field, or two different ones.
    """
    if geometry.magnetic_field is None and magnetic_field is None:
        raise InputError("has no global.magneticfield", source, "give the field with --field")
    bz = geometry.magnetic_field if magnetic_field is None else magnetic_field
    if geometry.magnetic_field is not None and bz != geometry.magnetic_field:
        raise InputError(f"has a field of {geometry.magnetic_field:g} T, not of {bz:g} T", source)
    lines = [
        "schema_version: 1",
        f"name: {name}",
        f"source: {source}",
        f"magnetic_field: {bz:.10g} T",
        f"minimum_hits: {minimum_hits}",
        "layers:",
    ]
    for layer, keys in geometry.layers.items():
        text = f"  - {{name: {layer}, kind: cylinder, radius: {keys['r']:.10g} cm, half_length: {keys['z']:.10g} cm, "
        text += f"x_over_x0: {100 * keys['x0']:.10g} %, areal_density: {keys['xrho']:.10g} g/cm2"
        if keys["type"] == 1:
            text += f", resolution_rphi: {1e4 * keys['resRPhi']:.10g} um, resolution_z: {1e4 * keys['resZ']:.10g} um"
            text += f", efficiency: {100 * keys['eff']:.10g} %}}"
        else:
            text += ", inert: true}"
            if keys["eff"] > 0 or keys["resRPhi"] > 0:
                geometry.notes.append(f"layer {layer} is of type 0: inert, although it has a resolution or efficiency")
        lines.append(text)
    return "\n".join(lines) + "\n"
