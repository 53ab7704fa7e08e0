"""The one place that configures Numba.

Kernels are compiled without the interpreter and without the GIL, are cached on disk, and obey IEEE 754: ``fastmath``
stays off because it removes every test for NaN. ``FLASHDET_DISABLE_JIT=1`` runs them as plain Python (for coverage and
debugging), ``FLASHDET_DISABLE_JIT_CACHE=1`` compiles them anew in every process, ``NUMBA_CACHE_DIR`` moves the cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile an array kernel or a scalar helper that kernels call.

    Parameters
    ----------
    function : callable
        Takes arrays and scalars, writes into given arrays or returns scalars; never raises, prints or allocates per
        row.

    Returns
    -------
    callable
        The compiled function, with the signature of `function`. One specialisation is kept per kernel: callers pass
        contiguous arrays of the declared dtypes.
    """
    if os.environ.get("FLASHDET_DISABLE_JIT") == "1":
        return function
    from numba import njit

    cache = os.environ.get("FLASHDET_DISABLE_JIT_CACHE") != "1"
    return njit(nogil=True, cache=cache, error_model="numpy")(function)  # type: ignore[no-any-return]


def inline(function: Function) -> Function:
    """Compile a small scalar helper so that LLVM inlines it into the kernels that call it.

    Parameters
    ----------
    function : callable
        A few lines of scalar arithmetic.

    Returns
    -------
    callable
        The compiled function.
    """
    if os.environ.get("FLASHDET_DISABLE_JIT") == "1":
        return function
    from numba import njit

    cache = os.environ.get("FLASHDET_DISABLE_JIT_CACHE") != "1"
    decorate = njit(nogil=True, cache=cache, error_model="numpy", forceinline=True)
    return decorate(function)  # type: ignore[no-any-return]
