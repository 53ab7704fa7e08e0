"""Columns by their addresses, and big-endian stores: for kernels that take hundreds of arrays in one call.

Handing an array to a kernel takes 0.3 us, a call 5 us; a table of addresses takes one call. The caller keeps the arrays
alive and guards the bounds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel

if os.environ.get("FLASHDET_DISABLE_JIT") == "1":
    import ctypes

    def words_at(address: int, n: int) -> NDArray[np.uint32]:
        """Array of the `n` words at an address."""
        return np.ctypeslib.as_array((ctypes.c_uint32 * int(n)).from_address(int(address)))

    def bytes_at(address: int, n: int) -> NDArray[np.uint8]:
        """Array of the `n` bytes at an address."""
        return np.ctypeslib.as_array((ctypes.c_uint8 * int(n)).from_address(int(address)))

    def rows_at(address: int, n: int) -> NDArray[np.int64]:
        """Array of the `n` numbers of 64 bits at an address."""
        return np.ctypeslib.as_array((ctypes.c_int64 * int(n)).from_address(int(address)))

    def store_big32(buffer: NDArray[np.uint8], i: int, value: int) -> None:
        """Write ``buffer[i:i + 4]``, the highest byte first."""
        buffer[i : i + 4] = np.frombuffer((int(value) & 0xFFFFFFFF).to_bytes(4, "big"), np.uint8)

    def store_big64(buffer: NDArray[np.uint8], i: int, value: int) -> None:
        """Write ``buffer[i:i + 8]``, the highest byte first."""
        buffer[i : i + 8] = np.frombuffer(int(value).to_bytes(8, "big", signed=True), np.uint8)

else:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic
    from numba.np.arrayobj import populate_array

    def _view(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.return_type)(context, builder)
        kind = context.get_data_type(signature.return_type.dtype)
        size = context.get_constant(types.intp, context.get_abi_sizeof(kind))
        populate_array(
            array,
            data=builder.inttoptr(args[0], kind.as_pointer()),
            shape=[args[1]],
            strides=[size],
            itemsize=size,
            meminfo=None,
        )
        return array._getvalue()

    @intrinsic  # type: ignore[untyped-decorator]
    def words_at(typing: Any, address: Any, n: Any) -> Any:
        """Array of the `n` words at an address."""
        return types.Array(types.uint32, 1, "C", aligned=False)(types.int64, types.int64), _view

    @intrinsic  # type: ignore[untyped-decorator]
    def bytes_at(typing: Any, address: Any, n: Any) -> Any:
        """Array of the `n` bytes at an address."""
        return types.Array(types.uint8, 1, "C", aligned=False)(types.int64, types.int64), _view

    @intrinsic  # type: ignore[untyped-decorator]
    def rows_at(typing: Any, address: Any, n: Any) -> Any:
        """Array of the `n` numbers of 64 bits at an address."""
        return types.Array(types.int64, 1, "C", aligned=False)(types.int64, types.int64), _view

    def _storing(bits: int) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, args[0])
            pointer = builder.gep(array.data, [args[1]])
            value = args[2] if bits == 64 else builder.trunc(args[2], ir.IntType(bits))
            store = builder.store(builder.bswap(value), builder.bitcast(pointer, ir.IntType(bits).as_pointer()))
            store.align = 1
            return context.get_dummy_value()

        return generate

    @intrinsic  # type: ignore[untyped-decorator]
    def store_big32(typing: Any, buffer: Any, i: Any, value: Any) -> Any:
        """Write ``buffer[i:i + 4]``, the highest byte first; the caller guards the bounds."""
        return types.none(buffer, types.intp, types.int64), _storing(32)

    @intrinsic  # type: ignore[untyped-decorator]
    def store_big64(typing: Any, buffer: Any, i: Any, value: Any) -> Any:
        """Write ``buffer[i:i + 8]``, the highest byte first; the caller guards the bounds."""
        return types.none(buffer, types.intp, types.int64), _storing(64)


def addresses_of(arrays: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Addresses of the first elements of contiguous arrays.

    ``array.ctypes.data`` takes 6 us. The address is also the first field of NumPy's ``PyArrayObject``, behind the head
    of every Python object (numpy/ndarraytypes.h; part of the binary interface that compiled extensions rely on): that
    takes 0.1 us.

    Parameters
    ----------
    arrays : sequence of array

    Returns
    -------
    (n,) int64
    """
    if not _reads_objects():
        return np.array([a.ctypes.data for a in arrays], np.int64)
    addresses = np.fromiter(map(id, arrays), np.int64, len(arrays))
    _follow(addresses, object.__basicsize__)
    return addresses


@cache
def _reads_objects() -> bool:
    """Whether objects look as expected in this interpreter."""
    if os.environ.get("FLASHDET_DISABLE_JIT") == "1":
        return False
    probe = np.zeros(2)
    found = np.array([id(probe)], np.int64)
    _follow(found, object.__basicsize__)
    return int(found[0]) == int(probe.ctypes.data)


@bare_kernel
def _follow(addresses: NDArray[np.int64], offset: int) -> None:
    for i in range(len(addresses)):
        addresses[i] = rows_at(addresses[i] + offset, 1)[0]
