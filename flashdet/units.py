"""Units of FlashDet and the text form users write them in.

Inside the package every quantity is in GeV, cm, ns, T and rad; names carry no units. A number that a user types
carries its unit as text (``"20 ps"``); :func:`parse` turns it into internal units. This module holds no physics.
"""

from __future__ import annotations

import re

#: Speed of light in vacuum, exact by definition of the metre: 299 792 458 m/s, here in cm/ns.
C_LIGHT = 29.9792458
#: Transverse momentum [GeV/c] of charge 1 e on a circle of radius 1 cm in 1 T: c * 1e-9 * 1e-2 (exact).
PT_PER_TESLA_CM = 0.00299792458

#: unit text -> (dimension, factor to internal units)
UNITS: dict[str, tuple[str, float]] = {
    "cm": ("length", 1.0),
    "mm": ("length", 0.1),
    "m": ("length", 100.0),
    "um": ("length", 1e-4),
    "nm": ("length", 1e-7),
    "ns": ("time", 1.0),
    "ps": ("time", 1e-3),
    "us": ("time", 1e3),
    "s": ("time", 1e9),
    "GeV": ("energy", 1.0),
    "MeV": ("energy", 1e-3),
    "keV": ("energy", 1e-6),
    "TeV": ("energy", 1e3),
    "GeV/c": ("energy", 1.0),
    "MeV/c": ("energy", 1e-3),
    "T": ("magnetic field", 1.0),
    "kG": ("magnetic field", 0.1),
    "rad": ("angle", 1.0),
    "mrad": ("angle", 1e-3),
    "deg": ("angle", 0.017453292519943295),
    "%": ("fraction", 1e-2),
    "g/cm2": ("areal density", 1.0),
    "1/cm": ("inverse length", 1.0),
    "1/(cm2 ns)": ("rate per area", 1.0),
    "kHz/mm2": ("rate per area", 1e-4),
    "MHz/mm2": ("rate per area", 1e-1),
    "GeV^0.5": ("root energy", 1.0),
    "cm GeV^0.5": ("length times root energy", 1.0),
    "mm GeV^0.5": ("length times root energy", 0.1),
}

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S(?:.*\S)?)?\s*")


def parse(text: str, dimension: str) -> float:
    """Turn ``"20 ps"`` into internal units.

    Parameters
    ----------
    text : str
        A decimal number, optional blanks, a unit of `UNITS`.
    dimension : str
        The dimension wanted, e.g. ``"time"``.

    Returns
    -------
    float
        The value in GeV, cm, ns, T or rad.

    Raises
    ------
    ValueError
        No number, no unit, an unknown unit or one of another dimension. The message lists what is allowed.
    """
    allowed = [unit for unit, (dim, _) in UNITS.items() if dim == dimension]
    hint = f"write a number with a unit of {dimension}: {', '.join(allowed)}"
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a number with a unit; {hint}")
    number, unit = match.groups()
    if unit is None:
        raise ValueError(f"{text!r} has no unit; {hint}")
    if unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r} in {text!r}; {hint}")
    if UNITS[unit][0] != dimension:
        raise ValueError(f"{text!r} is a {UNITS[unit][0]}; {hint}")
    return float(number) * UNITS[unit][1]
