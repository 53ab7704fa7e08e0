"""Operations on words that Numba does not offer: bytes in the opposite order, rotation, stores at any address."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline

if os.environ.get("FLASHDET_DISABLE_JIT") == "1":

    def store32(buffer: NDArray[np.uint8], i: int, word: np.uint32) -> None:
        """Write ``buffer[i:i + 4]``, the lowest byte first."""
        buffer[i : i + 4] = np.frombuffer(int(word).to_bytes(4, "little"), np.uint8)

    def swapped(word: np.uint32) -> np.uint32:
        """Bytes of a word in the opposite order."""
        return np.uint32(int.from_bytes(int(word).to_bytes(4, "little"), "big"))

else:
    from typing import Any

    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    @intrinsic  # type: ignore[untyped-decorator]
    def store32(typing: Any, buffer: Any, i: Any, word: Any) -> Any:
        """Write ``buffer[i:i + 4]``, the lowest byte first; the caller guards the bounds."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, args[0])
            pointer = builder.gep(array.data, [args[1]])
            store = builder.store(args[2], builder.bitcast(pointer, ir.IntType(32).as_pointer()))
            store.align = 1
            return context.get_dummy_value()

        return types.none(buffer, types.intp, types.uint32), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def swapped(typing: Any, word: Any) -> Any:
        """Bytes of a word in the opposite order."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bswap(args[0])

        return types.uint32(types.uint32), generate


@inline
def rotated(word: np.uint64, n: np.uint64) -> np.uint64:
    """Bits of a word moved up by `n` (1 to 63), those that leave at the top come in below."""
    return (word << n) | (word >> (np.uint64(64) - n))
