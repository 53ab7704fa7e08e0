"""What the kernels of tracking share: the tables, the counters, and the memory for a block of particles.

Particles go through in blocks of a few hundred, one short loop after the other: each loop has work for the processor
that does not wait for branches or memory of the one before. With all of it in one loop over the particles the same
takes twice as long.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import kernel
from flashdet.kernels.scratch import LENGTH
from flashdet.lut.pack import PackedLuts, PackedRadii, PackedShapes, PackedVariants
from flashdet.species import SPECIES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a particle; the normal ones take three.
SLOT_EFFICIENCY, SLOT_NORMALS, SLOT_SHAPE = 0, 1, 4
#: Normal numbers of a particle: as many as come in pairs, the last one is not used.
N_NUMBERS = 6
#: Counters, after 16 for queries outside an axis (axis, below or above, kept or rejected) ...
INEFFICIENT, UNRECONSTRUCTABLE, OUT_OF_TABLE, NO_LUT, UNPHYSICAL = range(16, 21)
#: ... and one per species for particles that use the LUT of another one.
STAND_INS = 21
N_COUNTS = STAND_INS + len(SPECIES)

#: Rows of `Block.space`: normal numbers; shape of the covariance (15); sign of the field; factor of the covariance,
#: packed (15); parameters y, z, snp, tgl, q/pt; alpha.
NUMBERS, SHAPE, TURN, FACTOR, PARAMS, ALPHA, N_ROWS = 0, 6, 21, 22, 37, 42, 43


class Response(NamedTuple):
    """The tables of all species, and how they are used.

    Attributes
    ----------
    luts : PackedLuts
        Packed for the interpolation wanted.
    radii : PackedRadii
        Which table serves a production radius.
    has_lut : (n_species,) bool
        Species that have a LUT.
    field_sign : (n_species,) float64
        -1 if the LUT was made in the opposite field.
    shapes : PackedShapes
        Biases, tails and libraries of the LUTs' cells; without any cell if no LUT has them.
    variants : PackedVariants
        Which LUT of its species serves a particle; empty if no species has several.
    """

    luts: PackedLuts
    radii: PackedRadii
    has_lut: NDArray[np.bool_]
    field_sign: Floats
    shapes: PackedShapes
    variants: PackedVariants


class Block(NamedTuple):
    """What is known of the particles of a block, in the end of the accepted ones.

    Attributes
    ----------
    row, event, species, table : (n,) int64
        Row of ``charged``, event, species whose LUT is used, and its table; -1 for the species or table of what is
        lost.
    key, particle : (n,) uint64, int64
        Counter word of the event and place in it, for random numbers.
    draw, log_pt : (n,) float64
        Uniform number that decides; decimal logarithm of pt.
    place, share : (n, 8) int64, (n, 4) float64
        From `flashdet.kernels.grid.surround`.
    corner, weight, n_corners : (n, 8) int64, (n, 8) float64, (n,) int64
        From `flashdet.kernels.grid.enclose`.
    average : (n, 16) float64
        From `flashdet.kernels.grid.average_shape`.
    bits : (2, n) uint64
        Scratch space of random numbers.
    numbers : (6, n) float64
        Standard normal numbers: the rows `NUMBERS` of `space`.
    space : (N_ROWS * n,) float64
        Rows of numbers, see `flashdet.kernels.scratch`.
    """

    row: Integers
    event: Integers
    species: Integers
    table: Integers
    key: NDArray[np.uint64]
    particle: Integers
    draw: Floats
    log_pt: Floats
    place: Integers
    share: Floats
    corner: Integers
    weight: Floats
    n_corners: Integers
    average: Floats
    bits: NDArray[np.uint64]
    numbers: Floats
    space: Floats


@kernel
def empty_block() -> Block:
    """Memory for a block, not initialised."""
    n = LENGTH
    space = np.empty(N_ROWS * n)
    return Block(
        np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64),
        np.empty(n, np.uint64), np.empty(n, np.int64), np.empty(n), np.empty(n), np.empty((n, 8), np.int64),
        np.empty((n, 4)), np.empty((n, 8), np.int64), np.empty((n, 8)), np.empty(n, np.int64), np.empty((n, 16)),
        np.empty((2, n), np.uint64), space[NUMBERS * n : (NUMBERS + N_NUMBERS) * n].reshape((N_NUMBERS, n)), space,
    )  # fmt: skip
