"""PDG codes for the kernels of stages: charge, mass and LUT species of any particle in a few nanoseconds.

The particles themselves are in :mod:`flashdet.species`; here they are laid out for a search inside a kernel. What a
stage does with an unknown code is its own business.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.species import SPECIES_CHARGE, SPECIES_MASS, particle_table

#: Species of a code: none, or decided by the generated mass.
NO_SPECIES, BY_MASS = -1, -2
#: What a code is: charged with a species, neutral, of fractional charge, of a charge that no species has, or unknown.
CHARGED, NEUTRAL, FRACTIONAL, STRANGE, UNKNOWN = range(5)
#: Nuclei have codes 10LZZZAAAI (PDG Monte Carlo numbering).
_NUCLEI, _NO_NUCLEI = 1_000_000_000, 1_100_000_000
#: Codes up to this size have their row in a directly addressed array (8 kB): 2 ns instead of 25 ns for a search.
_N_DIRECT = 4096
_MASS = np.array(SPECIES_MASS)
_CHARGE = np.array(SPECIES_CHARGE, np.int64)
#: Every species is allowed.
ALL_SPECIES = np.ones(len(SPECIES_MASS), np.bool_)
ALL_SPECIES.flags.writeable = False


class CodeTable(NamedTuple):
    """Charge, mass and species by PDG code, for kernels.

    Attributes
    ----------
    pdg : (n,) int32
        Sorted codes.
    charge3 : (n,) int16
        Three times the charge [e].
    mass : (n,) float64
        Mass [GeV]; NaN: take the generated one.
    species : (n,) int8
        Species with the same |charge| and the nearest mass, -1 if there is none, -2 if it depends on the generated
        mass.
    direct : (2 n_direct + 1,) int16
        Row of the code ``i - n_direct``, -1 if unknown: most particles have small codes.
    kind : (n + 1,) int8
        `CHARGED` and its like; the last one is `UNKNOWN`, which makes it that of row -1.
    """

    pdg: NDArray[np.int32]
    charge3: NDArray[np.int16]
    mass: NDArray[np.float64]
    species: NDArray[np.int8]
    direct: NDArray[np.int16]
    kind: NDArray[np.int8]


@inline
def nearest_species(charge: int, mass: float, is_allowed: NDArray[np.bool_]) -> int:
    """Species with the same |charge| and the nearest mass: `flashdet.species.lut_species` for kernels.

    Parameters
    ----------
    charge : int
        Charge [e].
    mass : float
        Mass [GeV].
    is_allowed : (n_species,) bool
        Species to choose from.

    Returns
    -------
    int
        Index into `flashdet.species.SPECIES`, `NO_SPECIES` if none of them has this |charge|.
    """
    best = NO_SPECIES
    distance = math.inf
    for i in range(len(_MASS)):
        if is_allowed[i] and _CHARGE[i] == abs(charge) and abs(_MASS[i] - mass) < distance:
            best = i
            distance = abs(_MASS[i] - mass)
    return best


@kernel
def _fill_species(charge3: NDArray[np.int16], mass: NDArray[np.float64], species: NDArray[np.int8]) -> None:
    for i in range(len(species)):
        if charge3[i] != 0 and charge3[i] % 3 == 0:
            species[i] = nearest_species(int(charge3[i]) // 3, mass[i], ALL_SPECIES)


@cache
def code_table() -> CodeTable:
    """Table of all known codes.

    Returns
    -------
    CodeTable
        Nuclei that it does not list are known by their digits, see `charge_of_nucleus`.
    """
    table = particle_table()
    species = np.full(len(table.pdg), -1, np.int8)
    _fill_species(table.charge3, np.nan_to_num(table.mass), species)
    species[np.isnan(table.mass) & (species >= 0)] = BY_MASS
    direct = np.full(2 * _N_DIRECT + 1, -1, np.int16)
    small = np.flatnonzero(np.abs(table.pdg) <= _N_DIRECT)
    direct[table.pdg[small] + _N_DIRECT] = small
    kind = np.full(len(table.pdg) + 1, UNKNOWN, np.int8)
    kind[:-1] = np.where(species == NO_SPECIES, STRANGE, CHARGED)
    kind[:-1][table.charge3 % 3 != 0] = FRACTIONAL
    kind[:-1][table.charge3 == 0] = NEUTRAL
    return CodeTable(table.pdg, table.charge3, table.mass, species, direct, kind)


@inline
def charge_of_nucleus(code: int) -> tuple[bool, int]:
    """Whether a code is that of a nucleus, and its charge [e] from its digits."""
    size = abs(code)
    charge = size // 10_000 % 1000
    return _NUCLEI <= size < _NO_NUCLEI, charge if code > 0 else -charge


@kernel
def _search(code: int, pdg: NDArray[np.int32]) -> int:
    low, high = 0, len(pdg)
    while low < high:
        middle = (low + high) >> 1
        if pdg[middle] < code:
            low = middle + 1
        else:
            high = middle
    return low if low < len(pdg) and pdg[low] == code else -1


@inline
def find_code(code: int, pdg: NDArray[np.int32], direct: NDArray[np.int16]) -> int:
    """Row of a code in a table.

    Parameters
    ----------
    code : int
        PDG code.
    pdg, direct : arrays
        Of a `CodeTable`: handing the tuple itself to a helper costs 20 ns of reference counting.

    Returns
    -------
    int
        -1 if the code is unknown.
    """
    if abs(code) <= _N_DIRECT:
        return int(direct[code + _N_DIRECT])
    return _search(code, pdg)
