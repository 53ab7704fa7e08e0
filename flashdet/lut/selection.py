"""Tables for one sign of the charge or one sector in azimuth: how they say so, and whether several make a whole.

A table made of such particles only says so in its ``meta``: ``charge`` is ``positive`` or ``negative``, ``phi`` is
``[low, high]``, the azimuths of the momentum at production in rad from the first to the second in the positive sense,
``low`` in [-pi, pi). What is not given is not restricted. Several tables of a species make up charge and azimuth as
axes: together they must hold for every particle, and each particle for one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.lut.table import Lut

#: All azimuths [rad].
EVERYWHERE = (-np.pi, np.pi)
#: Signs of the charge in the order of arrays.
SIGNS = ("negative", "positive")
#: Edges that differ by less are one [rad]: they may be written with four digits.
_TOLERANCE = 2e-4
_TURN = 2.0 * np.pi


@dataclass(frozen=True)
class Selection:
    """Particles for which a table holds.

    Attributes
    ----------
    charge : {"both", "positive", "negative"}
        Sign of their charge.
    phi : (float, float)
        Azimuth of the momentum at production [rad], from the first to the second in the positive sense.
    """

    charge: str = "both"
    phi: tuple[float, float] = EVERYWHERE

    def __post_init__(self) -> None:
        if self.charge not in ("both", *SIGNS):
            raise LutError(f"charge {self.charge}; allowed: both, positive, negative")
        low, high = self.phi
        if not (-np.pi <= low < np.pi and low < high <= low + _TURN):
            raise LutError(f"phi from {low:g} to {high:g}; allowed: from -pi up, at most a turn")

    @classmethod
    def of(cls, lut: Lut) -> Selection:
        """What a table says of itself.

        Raises
        ------
        LutError
            Its ``meta`` does not follow the form.
        """
        charge, phi = lut.meta.get("charge", "both"), lut.meta.get("phi", EVERYWHERE)
        is_pair = isinstance(phi, Sequence) and len(phi) == 2
        if not is_pair or any(isinstance(x, bool) or not isinstance(x, int | float) for x in phi):
            raise LutError(f"meta phi {phi!r}; allowed: [low, high] in rad")
        return cls(charge, (float(phi[0]), float(phi[1])))

    @property
    def meta(self) -> dict[str, Any]:
        """What `of` reads."""
        charge = {} if self.charge == "both" else {"charge": self.charge}
        return charge | ({} if self.phi == EVERYWHERE else {"phi": list(self.phi)})

    @property
    def label(self) -> str:
        """For names of files, azimuths in degrees: ``_positive_phi90to180``; empty for all particles."""
        low, high = (round(float(np.degrees(angle)), 3) for angle in self.phi)
        charge = "" if self.charge == "both" else f"_{self.charge}"
        turn = 360.0 if low < 0.0 else 0.0
        return charge + ("" if self.phi == EVERYWHERE else f"_phi{low + turn:.6g}to{high + turn:.6g}")

    def __str__(self) -> str:
        charge = "both charges" if self.charge == "both" else f"{self.charge} particles"
        return charge + ("" if self.phi == EVERYWHERE else f" at phi {self.phi[0]:.4g} to {self.phi[1]:.4g} rad")

    def selects(self, charge: Any, phi: Any) -> NDArray[np.bool_]:
        """Which particles it holds for, by their charges and azimuths [rad]."""
        sign = {"both": 0.0, "positive": 1.0, "negative": -1.0}[self.charge]
        inside = (phi - self.phi[0]) % _TURN < self.phi[1] - self.phi[0]
        return np.asarray((charge * sign >= 0.0) & (inside | (self.phi == EVERYWHERE)))


def split(signs: bool, n_sectors: int, whole: Selection | None = None) -> tuple[Selection, ...]:
    """Selections that share out particles.

    Parameters
    ----------
    signs : bool
        One for each sign of the charge.
    n_sectors : int
        Equal sectors in azimuth.
    whole : Selection, optional
        What is shared out; default: all particles.

    Returns
    -------
    tuple of Selection

    Raises
    ------
    LutError
        There is one sign only.
    """
    whole = whole or Selection()
    if signs and whole.charge != "both":
        raise LutError(f"{whole.charge} particles cannot be split by the sign of their charge")
    charges = SIGNS[::-1] if signs else (whole.charge,)
    sectors = [whole.phi]
    if n_sectors > 1:
        edges = np.linspace(*whole.phi, n_sectors + 1).tolist()
        turns = [_TURN if low >= np.pi else 0.0 for low in edges]
        sectors = [(low - turn, high - turn) for low, high, turn in zip(edges, edges[1:], turns, strict=False)]
    return tuple(Selection(charge, phi) for charge in charges for phi in sectors)


def sectors(tables: Sequence[Lut], names: Sequence[str] | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Tell which of the tables of a species serves which particle.

    Parameters
    ----------
    tables : sequence of Lut
        All of one species.
    names : sequence of str, optional
        For messages; default: what they hold for.

    Returns
    -------
    edges : (n,) float64
        Azimuths where sectors begin, in order [rad]; the last one goes on to the first edge.
    place : (2, n) int64
        Table of each sign of the charge (negative, positive) and sector.

    Raises
    ------
    LutError
        Some particles have no table, or several; or the tables were made in different fields. All of it at once.
    """
    boxes = [Selection.of(lut) for lut in tables]
    called = [str(box) for box in boxes] if names is None else [f"{n} ({b})" for n, b in zip(names, boxes, strict=True)]
    edges = _edges(boxes)
    ends = np.append(edges[1:], edges[0] + _TURN)
    place = np.zeros((2, len(edges)), np.int64)
    problems = []
    if len({lut.field for lut in tables}) > 1:
        fields = ", ".join(f"{name}: {lut.field:g} T" for name, lut in zip(called, tables, strict=True))
        problems.append(f"the tables were made in different fields: {fields}")
    for i, sign in enumerate(SIGNS):
        for j, (low, high) in enumerate(zip(edges, ends, strict=True)):
            serving = [k for k, box in enumerate(boxes) if box.selects(2.0 * i - 1.0, 0.5 * (low + high))]
            if len(serving) == 1:
                place[i, j] = serving[0]
                continue
            what = f"{sign} particles at phi {low:.4g} to {high:.4g} rad"
            several = ", ".join(called[k] for k in serving)
            problems.append(f"several tables for {what}: {several}" if serving else f"no table for {what}")
    if problems:
        problems.append(f"there {'are' if len(called) > 1 else 'is'} {', '.join(called)}")
        hint = "name tables that share out all charges and azimuths, e.g. luts: {pion: [A, B]}"
        raise LutError("; ".join(problems), hint=f"{hint}; flashdet lut build sample --split makes them")
    return edges, place


def _edges(boxes: Sequence[Selection]) -> NDArray[np.float64]:
    starts = sorted((edge + np.pi) % _TURN - np.pi for box in boxes for edge in box.phi)
    edges = [starts[0]]
    edges += [edge for before, edge in pairwise(starts) if edge - before > _TOLERANCE]
    if len(edges) > 1 and edges[0] + _TURN - edges[-1] <= _TOLERANCE:
        del edges[-1]
    return np.array(edges)
