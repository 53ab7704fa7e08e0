"""PDG codes for the kernels of stages: charge, mass and LUT species of any particle in a few nanoseconds.

The particles themselves are in :mod:`flashdet.species`; here they are laid out for a search inside a kernel. What a
stage does with an unknown code is its own business.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.species import SPECIES_CHARGE, SPECIES_MASS, charge3_of_code, particle_table

#: Species of a code: none, or decided by the generated mass.
NO_SPECIES, BY_MASS = -1, -2
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
    """

    pdg: NDArray[np.int32]
    charge3: NDArray[np.int16]
    mass: NDArray[np.float64]
    species: NDArray[np.int8]
    direct: NDArray[np.int16]


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


@lru_cache(maxsize=16)
def code_table(extra_nuclei: tuple[int, ...] = ()) -> CodeTable:
    """Table of all known codes, and of nuclei that it does not list.

    Parameters
    ----------
    extra_nuclei : tuple of int
        Codes of nuclei whose charge follows from their digits (10LZZZAAAI) and whose mass is the generated one.

    Returns
    -------
    CodeTable
    """
    table = particle_table()
    n_extra = len(extra_nuclei)
    pdg = np.concatenate([table.pdg, np.array(extra_nuclei, np.int32)])
    charge3 = np.concatenate([table.charge3, np.array([charge3_of_code(code) for code in extra_nuclei], np.int16)])
    mass = np.concatenate([table.mass, np.full(n_extra, np.nan)])
    species = np.full(len(pdg), -1, np.int8)
    _fill_species(charge3, np.nan_to_num(mass), species)
    species[np.isnan(mass) & (species >= 0)] = BY_MASS
    order = np.argsort(pdg)
    pdg = pdg[order]
    direct = np.full(2 * _N_DIRECT + 1, -1, np.int16)
    small = np.flatnonzero(np.abs(pdg) <= _N_DIRECT)
    direct[pdg[small] + _N_DIRECT] = small
    return CodeTable(pdg, charge3[order], mass[order], species[order], direct)


@inline
def find_code(code: int, table: CodeTable) -> int:
    """Row of a code in a table.

    Parameters
    ----------
    code : int
        PDG code.
    table : CodeTable
        Known codes.

    Returns
    -------
    int
        -1 if the code is unknown.
    """
    n_direct = len(table.direct) // 2
    if -n_direct <= code <= n_direct:
        return int(table.direct[code + n_direct])
    low, high = 0, len(table.pdg)
    while low < high:
        middle = (low + high) >> 1
        if table.pdg[middle] < code:
            low = middle + 1
        else:
            high = middle
    return low if low < len(table.pdg) and table.pdg[low] == code else -1
