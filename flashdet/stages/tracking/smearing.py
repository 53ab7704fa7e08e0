"""Kernels that draw the parameters of the accepted particles of a block, and give their covariances.

A LUT describes positive particles in its own field. What turns the other way is its mirror image: y and snp change
sign, and q/pt does with the charge. What the numbers of a block mean is told in :mod:`.block`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import exp
from flashdet.kernels.jit import bare_kernel, kernel
from flashdet.kernels.noise import normal_rows
from flashdet.kernels.scratch import at
from flashdet.kernels.shape import average_shape
from flashdet.stages.rows import Charged
from flashdet.stages.tracking.block import (
    ALPHA,
    FACTOR,
    N_NUMBERS,
    N_ROWS,
    NUMBERS,
    PARAMS,
    SHAPE,
    SLOT_NORMALS,
    TURN,
    Block,
    Response,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@kernel
def draw_normals(m: int, key: np.uint64, block: Block) -> None:
    """Normal numbers of the particles of a block."""
    numbers = block.numbers
    for k in range(0, N_NUMBERS, 2):
        slot = SLOT_NORMALS + k // 2
        normal_rows(key, block.key, block.particle, slot, m, block.bits, numbers[k], numbers[k + 1])


@kernel
def gather_truth(m: int, truth: Charged, block: Block) -> None:
    """True parameters of the particles of a block; parameters that are not smeared yet."""
    row, p = block.row, block.space
    y, z, tgl, q_over_pt, alpha = truth.y, truth.z, truth.tgl, truth.q_over_pt, truth.alpha
    for j in range(m):
        i = np.uint64(row[j])
        p[at(PARAMS, j)], p[at(PARAMS + 1, j)], p[at(PARAMS + 2, j)] = y[i], z[i], 0.0
        p[at(PARAMS + 3, j)], p[at(PARAMS + 4, j)], p[at(ALPHA, j)] = tgl[i], q_over_pt[i], alpha[i]


@kernel
def smear(m: int, response: Response, block: Block) -> None:
    """Factors of the covariances by linear interpolation, and Gaussian parameters."""
    cells, field_sign, p, average = response.luts.cells, response.field_sign, block.space, block.average
    for j in range(m):
        average_shape(block.corner, block.weight, j, block.n_corners[j], cells, average[j])
    for j in range(m):
        p[at(TURN, j)] = field_sign[block.species[j]]
        scale = 1.0 / average[j, 15]
        for k in range(15):
            p[at(SHAPE + k, j)] = average[j, k] * scale
    _factorise(m, p)
    _displace(m, p)


@bare_kernel
def _factorise(m: int, p: Floats) -> None:
    """Factors of shapes as `flashdet.kernels.shape.unpack_shape` gives them, with the signs of the mirror image."""
    for j in range(m):
        p[at(FACTOR, j)], p[at(FACTOR + 2, j)] = exp(p[at(SHAPE, j)]), exp(p[at(SHAPE + 2, j)])
        p[at(FACTOR + 5, j)], p[at(FACTOR + 9, j)] = exp(p[at(SHAPE + 5, j)]), exp(p[at(SHAPE + 9, j)])
        p[at(FACTOR + 14, j)] = exp(p[at(SHAPE + 14, j)])
    for j in range(m):
        charge = 1.0 if p[at(PARAMS + 4, j)] > 0.0 else -1.0
        turn = p[at(TURN, j)] * charge
        a, b, c = p[at(SHAPE + 1, j)], p[at(SHAPE + 3, j)], p[at(SHAPE + 4, j)]
        f11, f22 = 1.0 / math.sqrt(1.0 + a * a), turn / math.sqrt(1.0 + b * b + c * c)
        f11, f22 = p[at(FACTOR + 2, j)] * f11, p[at(FACTOR + 5, j)] * f22
        p[at(FACTOR, j)] *= turn
        p[at(FACTOR + 1, j)], p[at(FACTOR + 2, j)] = a * f11, f11
        p[at(FACTOR + 3, j)], p[at(FACTOR + 4, j)], p[at(FACTOR + 5, j)] = b * f22, c * f22, f22
        a, b, c = p[at(SHAPE + 6, j)], p[at(SHAPE + 7, j)], p[at(SHAPE + 8, j)]
        f33 = p[at(FACTOR + 9, j)] / math.sqrt(1.0 + a * a + b * b + c * c)
        p[at(FACTOR + 6, j)], p[at(FACTOR + 7, j)], p[at(FACTOR + 8, j)] = a * f33, b * f33, c * f33
        p[at(FACTOR + 9, j)] = f33
        a, b, c, d = p[at(SHAPE + 10, j)], p[at(SHAPE + 11, j)], p[at(SHAPE + 12, j)], p[at(SHAPE + 13, j)]
        f44 = charge * (p[at(FACTOR + 14, j)] / math.sqrt(1.0 + a * a + b * b + c * c + d * d))
        p[at(FACTOR + 10, j)], p[at(FACTOR + 11, j)], p[at(FACTOR + 12, j)] = a * f44, b * f44, c * f44
        p[at(FACTOR + 13, j)], p[at(FACTOR + 14, j)] = d * f44, f44


@bare_kernel
def _displace(m: int, p: Floats) -> None:
    """Add factor times normal numbers to the parameters."""
    for j in range(m):
        a, b, c = p[at(NUMBERS, j)], p[at(NUMBERS + 1, j)], p[at(NUMBERS + 2, j)]
        d, e = p[at(NUMBERS + 3, j)], p[at(NUMBERS + 4, j)]
        p[at(PARAMS, j)] += p[at(FACTOR, j)] * a
        p[at(PARAMS + 1, j)] += p[at(FACTOR + 1, j)] * a + p[at(FACTOR + 2, j)] * b
        p[at(PARAMS + 2, j)] += p[at(FACTOR + 3, j)] * a + p[at(FACTOR + 4, j)] * b + p[at(FACTOR + 5, j)] * c
        p[at(PARAMS + 3, j)] += (
            p[at(FACTOR + 6, j)] * a + p[at(FACTOR + 7, j)] * b + p[at(FACTOR + 8, j)] * c + p[at(FACTOR + 9, j)] * d
        )
        p[at(PARAMS + 4, j)] += (
            p[at(FACTOR + 10, j)] * a
            + p[at(FACTOR + 11, j)] * b
            + p[at(FACTOR + 12, j)] * c
            + p[at(FACTOR + 13, j)] * d
            + p[at(FACTOR + 14, j)] * e
        )


@kernel
def keep_physical(m: int, block: Block) -> int:
    """Take out particles whose direction or charge cannot be; return the number of the others."""
    p, average, n = block.space, block.average, 0
    for j in range(m):
        n += (abs(p[at(PARAMS + 2, j)]) < 1.0) & (p[at(PARAMS + 4, j)] != 0.0)
    if n == m:
        return n
    n = 0
    for j in range(m):
        is_physical = abs(p[at(PARAMS + 2, j)]) < 1.0 and p[at(PARAMS + 4, j)] != 0.0
        for k in range(N_ROWS):
            p[at(k, n)] = p[at(k, j)]
        for k in range(15):
            average[n, k] = average[j, k]
        block.row[n], block.event[n], block.species[n] = block.row[j], block.event[j], block.species[j]
        n += is_physical
    return n


@bare_kernel
def write_covariances(m: int, first: int, p: Floats, out: Floats) -> None:
    """Products of the factors with themselves, to the rows from `first` on; loops over packed rows take 20 ns more."""
    for j in range(m):
        i = np.uint64(first) + np.uint64(j)
        f00, f10, f11 = p[at(FACTOR, j)], p[at(FACTOR + 1, j)], p[at(FACTOR + 2, j)]
        f20, f21, f22 = p[at(FACTOR + 3, j)], p[at(FACTOR + 4, j)], p[at(FACTOR + 5, j)]
        f30, f31, f32 = p[at(FACTOR + 6, j)], p[at(FACTOR + 7, j)], p[at(FACTOR + 8, j)]
        f33, f40, f41 = p[at(FACTOR + 9, j)], p[at(FACTOR + 10, j)], p[at(FACTOR + 11, j)]
        f42, f43, f44 = p[at(FACTOR + 12, j)], p[at(FACTOR + 13, j)], p[at(FACTOR + 14, j)]
        out[i, 0], out[i, 1], out[i, 2] = f00 * f00, f10 * f00, f10 * f10 + f11 * f11
        out[i, 3], out[i, 4] = f20 * f00, f20 * f10 + f21 * f11
        out[i, 5] = f20 * f20 + f21 * f21 + f22 * f22
        out[i, 6], out[i, 7] = f30 * f00, f30 * f10 + f31 * f11
        out[i, 8] = f30 * f20 + f31 * f21 + f32 * f22
        out[i, 9] = f30 * f30 + f31 * f31 + f32 * f32 + f33 * f33
        out[i, 10], out[i, 11] = f40 * f00, f40 * f10 + f41 * f11
        out[i, 12] = f40 * f20 + f41 * f21 + f42 * f22
        out[i, 13] = f40 * f30 + f41 * f31 + f42 * f32 + f43 * f33
        out[i, 14] = f40 * f40 + f41 * f41 + f42 * f42 + f43 * f43 + f44 * f44
