"""Particle guns: ``gun:pdg=211/-211,pt=0.1..10,eta=-4..4,n=100,particles=10,seed=1`` as an input of events.

Each event holds independent particles of the given codes with equal chance, from the origin at time 0. Keys:

=========  ===============================================  ==============
key        meaning                                          default
=========  ===============================================  ==============
pdg        PDG codes, ``/`` between them                    211/-211
pt         range of the transverse momentum [GeV], or one   0.1..10
shape      ``flat`` or ``log``: distribution of pt          flat
eta        range of the pseudorapidity, or one value        -1..1
phi        range of the azimuth [rad], or one value         -pi..pi
n          events                                           100
particles  particles per event                              10
seed       seed of the gun, not that of the simulation      1
=========  ===============================================  ==============

Every number is drawn from the counter-based generator by event and particle: event 7 is the same in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import InputError
from flashdet.io.hepmc.record import DEFAULT_WEIGHT, Event
from flashdet.kernels.jit import kernel
from flashdet.kernels.philox import uniforms
from flashdet.rng import Draw
from flashdet.species import particle_table

_HINT = "for example gun:pdg=211/-211,pt=0.1..10,shape=log,eta=-4..4,n=100,particles=10,seed=1"


@dataclass(frozen=True)
class Gun:
    """Settings of a gun.

    Attributes
    ----------
    pdg : tuple of int
        PDG codes.
    pt, eta, phi : tuple of two float
        Ranges [GeV, -, rad].
    shape : str
        ``"flat"`` or ``"log"``.
    n, particles, seed : int
        Events, particles per event, seed.
    """

    pdg: tuple[int, ...] = (211, -211)
    pt: tuple[float, float] = (0.1, 10.0)
    shape: str = "flat"
    eta: tuple[float, float] = (-1.0, 1.0)
    phi: tuple[float, float] = (-math.pi, math.pi)
    n: int = 100
    particles: int = 10
    seed: int = 1


def parse_gun(text: str) -> Gun:
    """Read the settings of a gun.

    Parameters
    ----------
    text : str
        What follows ``gun:``; empty for the defaults.

    Returns
    -------
    Gun

    Raises
    ------
    InputError
        A key is unknown or repeated, or a value not allowed.
    """
    where = f"gun:{text}"
    allowed = [f.name for f in fields(Gun)]
    values: dict[str, object] = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in allowed or key in values:
            what = "repeated" if key in values else "unknown"
            raise InputError(f"{what} key {key!r}; allowed: {', '.join(allowed)}", where, _HINT)
        try:
            values[key] = _value(key, value)
        except ValueError as error:
            raise InputError(f"{key}={value!r}: {error}", where, _HINT) from None
    gun = Gun(**values)  # type: ignore[arg-type]  # _value gives each key its type
    unknown = [code for code in gun.pdg if particle_table().find(np.array([code], np.int32))[0] < 0]
    if unknown:
        raise InputError(f"unknown PDG codes {unknown}", where, _HINT)
    if gun.pt[0] <= 0:
        raise InputError(f"pt begins at {gun.pt[0]} GeV; it must be above 0", where, _HINT)
    return gun


def _value(key: str, text: str) -> object:
    if key == "pdg":
        return tuple(int(code) for code in text.split("/"))
    if key == "shape":
        if text not in ("flat", "log"):
            raise ValueError("allowed: flat, log")
        return text
    if key in ("n", "particles", "seed"):
        number = int(text)
        if not 0 <= number < 2**63:
            raise ValueError("it must not be negative")
        return number
    low, _, high = text.partition("..")
    first, last = float(low), float(high or low)
    if not -math.inf < first <= last < math.inf:
        raise ValueError("expected LOW..HIGH with finite LOW <= HIGH")
    return first, last


@kernel
def _draw(key: np.uint64, event: np.uint64, out: NDArray[np.float64]) -> None:
    for i in range(len(out)):
        out[i, 0], out[i, 1] = uniforms(key, event, i, 0)
        out[i, 2], out[i, 3] = uniforms(key, event, i, 1)


def gun_events(text: str) -> Iterator[Event]:
    """Events of a gun.

    Parameters
    ----------
    text : str
        What follows ``gun:``.

    Yields
    ------
    Event
        Numbered from 0; the particles have status 1 and come from the vertex 0 of the event, which is the origin.

    Raises
    ------
    InputError
        The settings are not allowed.
    """
    gun = parse_gun(text)
    key = Draw.of(gun.seed, "gun").key
    codes = np.array(gun.pdg, np.int32)
    table = particle_table()
    mass = table.mass[table.find(codes)]
    u = np.empty((gun.particles, 4))
    for number in range(gun.n):
        _draw(key, np.uint64(number), u)
        chosen = (u[:, 3] * len(codes)).astype(np.int64)
        yield _event(gun, number, codes[chosen], mass[chosen], u)


def _event(gun: Gun, number: int, pdg: NDArray[np.int32], mass: NDArray[np.float64], u: NDArray[np.float64]) -> Event:
    low, high = gun.pt
    pt = low * (high / low) ** u[:, 0] if gun.shape == "log" else low + (high - low) * u[:, 0]
    eta = gun.eta[0] + (gun.eta[1] - gun.eta[0]) * u[:, 1]
    phi = gun.phi[0] + (gun.phi[1] - gun.phi[0]) * u[:, 2]
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    n = len(pdg)
    particle: dict[str, NDArray[np.generic]] = {
        "pdg": pdg,
        "status": np.ones(n, np.int32),
        "px": px,
        "py": py,
        "pz": pz,
        "energy": np.sqrt(px * px + py * py + pz * pz + mass * mass),
        "mass": mass,
        **{name: np.zeros(n) for name in ("vx", "vy", "vz", "vt")},
        "production_vertex": np.zeros(n, np.int32),
        "end_vertex": np.full(n, -1, np.int32),
    }
    origin = dict.fromkeys(("vx", "vy", "vz", "vt"), 0.0)
    return Event(number, {**origin}, [1.0], (DEFAULT_WEIGHT,), particle)
