"""Machine operations that Numba does not offer: unaligned loads, the high half of a product, bits as a double."""

from __future__ import annotations

import os
import struct

import numpy as np
from numpy.typing import NDArray

if os.environ.get("FLASHDET_DISABLE_JIT") == "1":

    def load8(buffer: NDArray[np.uint8], i: int) -> int:
        """Byte ``buffer[i]``."""
        return int(buffer[i])

    def load64(buffer: NDArray[np.uint8], i: int) -> np.uint64:
        """Eight bytes ``buffer[i:i + 8]``, the first one lowest."""
        return np.uint64(int.from_bytes(buffer[i : i + 8].tobytes(), "little"))

    def high64(a: np.uint64, b: np.uint64) -> np.uint64:
        """Upper 64 bits of the 128-bit product."""
        return np.uint64(int(a) * int(b) >> 64)

    def as_double(bits: np.uint64) -> float:
        """Double with these bits."""
        return float(struct.unpack("<d", struct.pack("<Q", int(bits)))[0])

    def leading_zeros(a: np.uint64) -> int:
        """Leading zero bits of a number that is not 0."""
        return 64 - int(a).bit_length()

    def trailing_zeros(a: np.uint64) -> int:
        """Trailing zero bits; 64 for the number 0."""
        return (int(a) & -int(a)).bit_length() - 1 if a else 64

else:
    from typing import Any

    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic  # type: ignore[untyped-decorator]
    def load8(typing: Any, buffer: Any, i: Any) -> Any:
        """Byte ``buffer[i]``; the caller guards the bounds, so no sign of the index has to be looked at."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, args[0])
            return builder.zext(builder.load(builder.gep(array.data, [args[1]])), ir.IntType(64))

        return types.int64(buffer, types.intp), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def load64(typing: Any, buffer: Any, i: Any) -> Any:
        """Eight bytes ``buffer[i:i + 8]``, the first one lowest; the caller guards the bounds."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, args[0])
            pointer = builder.gep(array.data, [args[1]])
            word = builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()))
            word.align = 1
            return word

        return types.uint64(buffer, types.intp), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def high64(typing: Any, a: Any, b: Any) -> Any:
        """Upper 64 bits of the 128-bit product."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            wide = ir.IntType(128)
            product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
            return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

        return types.uint64(types.uint64, types.uint64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def as_double(typing: Any, bits: Any) -> Any:
        """Double with these bits."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], ir.DoubleType())

        return types.float64(types.uint64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def leading_zeros(typing: Any, a: Any) -> Any:
        """Leading zero bits of a number that is not 0."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            count = builder.ctlz(args[0], cgutils.true_bit)
            return builder.sext(builder.trunc(count, ir.IntType(32)), ir.IntType(64))

        return types.int64(types.uint64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def trailing_zeros(typing: Any, a: Any) -> Any:
        """Trailing zero bits; 64 for the number 0."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.cttz(args[0], cgutils.false_bit)

        return types.int64(types.uint64), generate
