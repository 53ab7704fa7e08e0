"""From the parts of an event, as any HepMC format delivers them, to columns, and from events to a batch.

This is the one place where units are converted and vertex positions are looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc.info import LENGTH_UNITS, MOMENTUM_UNITS, EventInfo
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

#: Name of the weight of events that have none.
DEFAULT_WEIGHT = "Default"
#: Largest sensible energy [GeV] (cosmic rays reach 1e12) and length [cm] (a neutron of 1e12 GeV flies 1e25).
MAX_ENERGY, MAX_LENGTH = 1e15, 1e30

_BEAM = 4


@dataclass(frozen=True)
class Record:
    """Parts of one event in the units of the input, ids as in HepMC3: particles 1, 2, ..., vertices -1, -2, ...

    Attributes
    ----------
    info : EventInfo
        Head of the event.
    pdg, status : (n,) int32
        In the order of the ids.
    px, py, pz, energy, mass : (n,) float64
    position : (n_vertices, 4) float64
        Positions x, y, z, ct as written, all 0 if not written.
    links : (2, n_links) int32
        Pairs of ids: (particle, vertex where it ends) and (vertex, particle that comes from it).
    """

    info: EventInfo
    pdg: Ints
    status: Ints
    px: Floats
    py: Floats
    pz: Floats
    energy: Floats
    mass: Floats
    position: Floats
    links: NDArray[np.int32]


@dataclass(frozen=True)
class Event:
    """One event as columns in internal units.

    Attributes
    ----------
    number : int
        Event number.
    columns : dict of str to number
        Values of the event table that the input gave.
    weights : list of float
    weight_names : tuple of str
    particle : dict of str to (n,) array
        Columns of the particle table.
    """

    number: int
    columns: dict[str, float | int]
    weights: list[float]
    weight_names: tuple[str, ...]
    particle: dict[str, NDArray[np.generic]]

    @property
    def n_events(self) -> int:
        """One."""
        return 1

    @property
    def n_particles(self) -> int:
        """Number of particles."""
        return len(self.particle["pdg"])


class AbsurdError(ValueError):
    """A number of an event cannot be meant."""


def resolve_positions(
    position: Floats, first_mother: NDArray[np.int64], event_position: Sequence[float], has_cycles: bool
) -> Floats:
    """Positions of vertices by the rule of HepMC3 (GenVertex::position).

    A vertex without a position of its own takes the one of the vertex its first incoming particle comes from, and so on
    up to the position of the event; if the record says that it has loops, the position of the event at once.

    Parameters
    ----------
    position : (n, 4) float64
        As written, all 0 if not.
    first_mother : (n,) int64
        Vertex the first incoming particle comes from, n if there is none.
    event_position : sequence of 4 float
        Position of the event.
    has_cycles : bool
        Attribute ``cycles`` of the event.

    Returns
    -------
    (n + 1, 4) float64
        The last row is the position of the event.
    """
    n = len(position)
    known = np.concatenate([np.any(position != 0, axis=1), [True]])
    source = np.full(n + 1, n, np.int64)
    if not has_cycles:
        source[:n] = first_mother
    source[known] = np.flatnonzero(known)
    # Doubling: after k steps every vertex points 2**k ancestors up. A loop never ends: the event's position then.
    for _ in range(n.bit_length()):
        source = source[source]
    source[~known[source]] = n
    resolved: Floats = np.concatenate([position, [event_position]])[source]
    return resolved


def to_event(record: Record) -> Event:
    """Turn the parts of an event into columns.

    Parameters
    ----------
    record : Record

    Returns
    -------
    Event

    Raises
    ------
    AbsurdError
        A number is not finite or beyond `MAX_ENERGY` or `MAX_LENGTH`.
    """
    info = record.info
    momentum, length = MOMENTUM_UNITS[info.momentum_unit or "GEV"], LENGTH_UNITS[info.length_unit or "MM"]
    n, n_vertices = len(record.pdg), len(record.position)
    first, second = record.links.astype(np.int64)
    is_end = first > 0
    production, end = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    end[first[is_end] - 1] = -second[is_end] - 1
    production[second[~is_end] - 1] = -first[~is_end] - 1

    first_mother = np.full(n_vertices, n_vertices, np.int64)
    # the last assignment wins: backwards, so that the first incoming particle stays
    incoming, vertex = first[is_end][::-1] - 1, -second[is_end][::-1] - 1
    first_mother[vertex] = np.where(production[incoming] >= 0, production[incoming], n_vertices)
    resolved = resolve_positions(record.position, first_mother, info.position, info.has_cycles) * length
    resolved[:, 3] /= C_LIGHT
    _check_range(resolved, MAX_LENGTH, "a vertex position [cm, ns]")
    at_particle = resolved[np.where(production >= 0, production, n_vertices)]

    particle: dict[str, NDArray[np.generic]] = {"pdg": record.pdg, "status": record.status}
    for name in ("px", "py", "pz", "energy", "mass"):
        particle[name] = getattr(record, name) * momentum
        _check_range(particle[name], MAX_ENERGY, f"{name} [GeV]")
    particle |= {name: np.ascontiguousarray(at_particle[:, i]) for i, name in enumerate(("vx", "vy", "vz", "vt"))}
    particle |= {"production_vertex": production, "end_vertex": end}

    collision = resolved[_collision_vertex(record.status, production, end, n_vertices)]
    values = dict(zip(("vx", "vy", "vz", "vt"), collision.tolist(), strict=True)) | info.columns
    weights = info.weights or [1.0]
    return Event(info.number, values, weights, _weight_names(info), particle)


def _check_range(values: NDArray[np.generic], largest: float, what: str) -> None:
    if not np.all(np.abs(values) <= largest):  # catches NaN too
        bad = values[~(np.abs(values) <= largest)].ravel()[0]
        raise AbsurdError(f"{what} is {bad}; allowed: finite numbers up to {largest:g}")


def _collision_vertex(status: Ints, production: Ints, end: Ints, n_vertices: int) -> int:
    """Vertex of the collision: where the first beam particle ends, else where the first particle comes from."""
    beams = end[(status == _BEAM) & (end >= 0)]
    if len(beams):
        return int(beams[0])
    made = production[production >= 0]
    return int(made[0]) if len(made) else n_vertices


def _weight_names(info: EventInfo) -> tuple[str, ...]:
    if not info.weights:
        return (DEFAULT_WEIGHT,)
    if info.weight_names:
        return info.weight_names
    return (DEFAULT_WEIGHT,) if len(info.weights) == 1 else tuple(str(i) for i in range(len(info.weights)))
