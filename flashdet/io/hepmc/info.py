"""What an event says about itself besides particles and vertices: number, units, weights, cross section, partons, ions.

These few lines are read by this module for every format, so that all readers mean the same by them. Layouts: HepMC3's
GenHeavyIon, GenPdfInfo and GenCrossSection attributes (from_string of each class) and the H, F and C lines of the HepMC
2 user manual, section 6.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flashdet.units import UNITS

Number = float | int

#: Factors to internal units by the names HepMC uses.
MOMENTUM_UNITS = {"GEV": UNITS["GeV"][1], "MEV": UNITS["MeV"][1]}
LENGTH_UNITS = {"MM": UNITS["mm"][1], "CM": UNITS["cm"][1]}

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,10}", re.ASCII)
_NO_VALUE = re.compile(r"[-+]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_INT32 = 2**31


class FieldError(ValueError):
    """A field of a line is missing or not what it must be."""


@dataclass
class EventInfo:
    """What the head of an event says.

    Attributes
    ----------
    number : int
        Event number.
    n_vertices, n_particles : int
        Promised numbers; -1: not promised.
    weights : list of float
        Event weights.
    weight_names : tuple of str
        Their names, empty if they have none.
    momentum_unit, length_unit : str
        Names of the units; empty: not given, which means GEV and MM.
    position : tuple of float
        Position of the event (x, y, z, ct) in its own length unit.
    has_cycles : bool
        Whether the record says that it has loops.
    columns : dict of str to number
        Values of the columns of the event table, in internal units; what is missing here was not given.
    """

    number: int = 0
    n_vertices: int = -1
    n_particles: int = -1
    weights: list[float] = field(default_factory=list)
    weight_names: tuple[str, ...] = ()
    momentum_unit: str = ""
    length_unit: str = ""
    position: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    has_cycles: bool = False
    columns: dict[str, Number] = field(default_factory=dict)


class Fields:
    """Fields of a line, taken one by one.

    Parameters
    ----------
    text : str
        Fields with blanks between them.
    """

    def __init__(self, text: str) -> None:
        self._fields, self._at = text.split(), 0

    def __len__(self) -> int:
        return len(self._fields) - self._at

    def word(self) -> str:
        """Take the next field.

        Raises
        ------
        FieldError
            There is none.
        """
        if not len(self):
            raise FieldError(f"only {len(self._fields)} fields")
        self._at += 1
        return self._fields[self._at - 1]

    def integer(self) -> int:
        """Take a 32-bit integer; it may be written as ``7.0``.

        Raises
        ------
        FieldError
            It is missing, something else or too large.
        """
        word = self.word()
        if _NUMBER.fullmatch(word) and float(word).is_integer():
            word = str(int(float(word)))
        if not _INTEGER.fullmatch(word) or not -_INT32 <= int(word) < _INT32:
            raise FieldError(f"{word!r} is no 32-bit integer")
        return int(word)

    def number(self) -> float:
        """Take a finite number.

        Raises
        ------
        FieldError
            It is missing, something else, infinite or NaN.
        """
        word = self.word()
        value = float(word) if _NUMBER.fullmatch(word) else math.nan
        if not math.isfinite(value):
            raise FieldError(f"{word!r} is no finite number")
        return value

    def given(self) -> float:
        """Take a number that may be NaN or infinite in the input: NaN then, which means not given.

        Raises
        ------
        FieldError
            It is missing or no number.
        """
        word = self.word()
        if _NO_VALUE.fullmatch(word):
            return math.nan
        self._at -= 1
        return self.number()

    def numbers(self, n: int) -> list[float]:
        """Take `n` finite numbers."""
        if n < 0 or n > len(self):
            raise FieldError(f"{n} fields promised, {len(self)} there")
        return [self.number() for _ in range(n)]


def known(value: Number) -> Number:
    """NaN for a negative value: that is how HepMC says "not given"."""
    return value if value >= 0 else math.nan


def _spectators(projectile: int, target: int) -> int:
    return projectile + target if projectile >= 0 and target >= 0 else -1


def heavy_ion(text: str) -> dict[str, Number]:
    """Columns of a heavy-ion record: an H line without its H, or a GenHeavyIon attribute (without version, v0, v1).

    Parameters
    ----------
    text : str
        The record.

    Returns
    -------
    dict of str to number
        Values of event columns.

    Raises
    ------
    FieldError
        A field is missing or no number.
    """
    f = Fields(text)
    version = f.word() if text.lstrip().startswith("v") else ""
    if version not in ("", "v0", "v1"):
        raise FieldError(f"GenHeavyIon of version {version!r}; known: v0, v1")
    names = ("n_coll_hard", "n_part_projectile", "n_part_target", "n_coll")
    values: dict[str, Number] = {name: f.integer() for name in names}
    if version != "v1":
        values["n_spectator_neutrons"], values["n_spectator_protons"] = f.integer(), f.integer()
    for _ in range(3):  # collisions of wounded nucleons: no columns of ours
        f.integer()
    values["impact_parameter"] = known(f.given())
    angle = f.given()
    # Angles in (-pi, pi] are common although HepMC3 declares negative ones as "not given"; its default is -1 sharp.
    values["event_plane_angle"] = math.nan if angle == -1.0 and math.isnan(values["impact_parameter"]) else angle
    if version != "v1":
        values["eccentricity"] = known(f.given())
    values["sigma_inel_nn"] = known(f.given())
    if len(f):  # an H line ends here
        values["centrality"] = known(f.given())
    if version == "v1":
        f.given()
        neutrons, protons = (f.integer(), f.integer()), (f.integer(), f.integer())
        values["n_spectator_neutrons"], values["n_spectator_protons"] = _spectators(*neutrons), _spectators(*protons)
    return values


def pdf_info(text: str, momentum_unit: str) -> dict[str, Number]:
    """Columns of the parton densities: an F line without its F, or a GenPdfInfo attribute.

    Parameters
    ----------
    text : str
        The record.
    momentum_unit : str
        Unit of the scale.

    Returns
    -------
    dict of str to number

    Raises
    ------
    FieldError
        A field is missing or no number.
    """
    f = Fields(text)
    values: dict[str, Number] = {name: f.integer() for name in ("pdf_id1", "pdf_id2")}
    values |= {name: f.given() for name in ("pdf_x1", "pdf_x2", "pdf_scale", "pdf_xf1", "pdf_xf2")}
    values["pdf_scale"] *= MOMENTUM_UNITS[momentum_unit or "GEV"]
    return values


def cross_section(text: str) -> dict[str, Number]:
    """Columns of the cross section [pb]: a C line without its C, or a GenCrossSection attribute.

    Parameters
    ----------
    text : str
        The record.

    Returns
    -------
    dict of str to number

    Raises
    ------
    FieldError
        A field is missing or no number.
    """
    f = Fields(text)
    return {"cross_section": f.given(), "cross_section_error": f.given()}


def read_attribute(info: EventInfo, name: str, value: str) -> None:
    """Take an event attribute of HepMC3 into `info`; unknown names are left alone.

    Parameters
    ----------
    info : EventInfo
        Its units must be known already.
    name, value : str
        As written.

    Raises
    ------
    FieldError
        The value is not what the name demands.
    """
    if name == "GenHeavyIon":
        info.columns |= heavy_ion(value)
    elif name == "GenPdfInfo":
        info.columns |= pdf_info(value, info.momentum_unit)
    elif name == "GenCrossSection":
        info.columns |= cross_section(value)
    elif name == "signal_process_id":
        _set_process(info, Fields(value).integer())
    elif name == "event_scale":
        _set_scale(info, Fields(value).given())
    elif name == "cycles":
        info.has_cycles = Fields(value).integer() != 0


def _set_process(info: EventInfo, process: int) -> None:
    if process != 0:  # IO_GenEvent must write something, and writes 0
        info.columns["signal_process"] = process


def _set_scale(info: EventInfo, scale: float) -> None:
    if scale > 0:  # IO_GenEvent must write something, and writes 0 or -1
        info.columns["event_scale"] = scale * MOMENTUM_UNITS[info.momentum_unit or "GEV"]


def _units(info: EventInfo, text: str) -> None:
    f = Fields(text)
    momentum, length = f.word(), f.word()
    if momentum not in MOMENTUM_UNITS or length not in LENGTH_UNITS:
        raise FieldError(f"units {momentum} {length}; allowed: GEV or MEV, MM or CM")
    info.momentum_unit, info.length_unit = momentum, length


def _event_asciiv3(info: EventInfo, text: str) -> None:
    f = Fields(text)
    info.number, info.n_vertices, info.n_particles = f.integer(), f.integer(), f.integer()
    if len(f):
        if f.word() != "@":
            raise FieldError("expected '@ x y z t' behind the number of particles")
        x, y, z, t = f.numbers(4)
        info.position = (x, y, z, t)


def _event_io_genevent(info: EventInfo, text: str) -> None:
    f = Fields(text)
    info.number = f.integer()
    f.integer()  # number of multi-parton interactions
    scale, _, _ = f.given(), f.given(), f.given()  # and the couplings
    process, _, info.n_vertices = f.integer(), f.integer(), f.integer()
    _set_process(info, process)
    _set_scale(info, scale)
    f.integer(), f.integer()  # barcodes of the beams
    for _ in range(f.integer()):
        f.word()  # random-number states may exceed any integer of ours
    info.weights = f.numbers(f.integer())


def _weight_names(info: EventInfo, text: str) -> None:
    names = re.findall(r'"([^"]*)"', text)
    if Fields(text).integer() != len(names):
        raise FieldError(f"{len(names)} quoted names")
    info.weight_names = tuple(names)


def _weights(info: EventInfo, text: str) -> None:
    f = Fields(text)
    info.weights = f.numbers(len(f))


_ASCIIV3: dict[str, Callable[[EventInfo, str], None]] = {"E": _event_asciiv3, "U": _units, "W": _weights}
_IO_GENEVENT: dict[str, Callable[[EventInfo, str], None]] = {
    "E": _event_io_genevent,
    "U": _units,
    "N": _weight_names,
    "C": lambda info, text: info.columns.update(cross_section(text)),
    "H": lambda info, text: info.columns.update(heavy_ion(text)),
    "F": lambda info, text: info.columns.update(pdf_info(text, info.momentum_unit)),
}


def _three(text: str) -> list[str]:
    parts = text.split(" ", 2)
    if len(parts) < 3:
        raise FieldError("an A line is 'A id name value'")
    return parts


def read_head(lines: Sequence[str], is_asciiv3: bool, weight_names: tuple[str, ...]) -> EventInfo:
    """Read the lines of an event in front of its particles and vertices.

    Parameters
    ----------
    lines : sequence of str
        From the E line on; A lines only those of the event itself.
    is_asciiv3 : bool
        Format: Asciiv3 or IO_GenEvent.
    weight_names : tuple of str
        From the run information.

    Returns
    -------
    EventInfo

    Raises
    ------
    FieldError
        Its arguments are the message and the number of the line, from 0.
    """
    info = EventInfo(weight_names=weight_names)
    read = _ASCIIV3 if is_asciiv3 else _IO_GENEVENT
    seen = set()
    # units first: some other lines are in them
    order = sorted(range(len(lines)), key=lambda i: (not lines[i].startswith("U"), not lines[i].startswith("E")))
    for i in order:
        kind, _, rest = lines[i].partition(" ")
        if not lines[i]:
            continue
        try:
            if kind == "A" and is_asciiv3:
                _, name, value = _three(rest)
                read_attribute(info, name, value.replace("\\|", "\n"))
                continue
            if kind in seen:
                raise FieldError(f"a second {kind} line")
            seen.add(kind)
            if kind not in read:
                raise FieldError(f"not one of the lines in front of particles and vertices: {', '.join(read)}")
            read[kind](info, rest)
        except FieldError as error:
            raise FieldError(str(error), i) from None
    return info
