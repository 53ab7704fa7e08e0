"""The one place that configures Numba.

Kernels are compiled without the interpreter and without the GIL, are cached on disk (`flashdet.kernels.cache`), and
obey IEEE 754: ``fastmath`` stays off because it removes every test for NaN. ``FLASHDET_DISABLE_JIT=1`` runs them as
plain Python (for coverage and debugging), ``FLASHDET_DISABLE_JIT_CACHE=1`` compiles them anew in every process,
``FLASHDET_CACHE_DIR`` moves the cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
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
    return _compiled(function)


def bare_kernel(function: Function) -> Function:
    """Compile an array kernel that makes no array, and calls none that does; parameters as in :func:`kernel`.

    Numba counts the references to an array with atomic instructions at every view of it (``cov[i]``) and at many calls.
    Without an array of its own a kernel can do without: the RICH takes 15 to 25 % less time and compiles 20 % faster.
    """
    return _compiled(function, _nrt=False)


def inline(function: Function) -> Function:
    """Compile a small scalar helper so that LLVM inlines it into the kernels that call it.

    It makes no array and hands none out, so references to the arrays it is given are not counted: two helpers with five
    arrays each took half the time of tracking's acceptance (160 ns per particle, 75 ns without).

    Parameters
    ----------
    function : callable
        A few lines of scalar arithmetic.

    Returns
    -------
    callable
        The compiled function.
    """
    return _compiled(function, forceinline=True, _nrt=False)


def _compiled(function: Function, **more: bool) -> Function:
    if os.environ.get("FLASHDET_DISABLE_JIT") == "1":
        return function
    outer = _dispatcher(function, more)
    _share_inside_kernels(outer, _Inner(function, {**more, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}))
    return outer  # type: ignore[no-any-return]


class _Inner:
    """What kernels call in the place of a kernel, made when the first of them is compiled.

    In a process that finds all kernels in the cache nobody asks, and making 220 of them takes 0.05 s.

    Parameters
    ----------
    function : callable
        The Python function.
    more : dict of str to bool
        Options of the compilation.
    """

    def __init__(self, function: Callable[..., Any], more: Mapping[str, bool]) -> None:
        self._function, self._more = function, more

    @cached_property
    def _dispatcher(self) -> Any:
        return _dispatcher(self._function, self._more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dispatcher, name)


def _dispatcher(function: Callable[..., Any], more: Mapping[str, bool]) -> Any:
    """Numba's compiled function, with our cache in the place of Numba's."""
    from numba import njit

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **more}
    dispatcher: Any = njit(**options)(function)
    if os.environ.get("FLASHDET_DISABLE_JIT_CACHE") != "1":
        from flashdet.kernels.cache import KernelCache

        is_called_by_kernels = "no_cpython_wrapper" in options
        dispatcher._cache = KernelCache(function, repr(sorted(options.items())), is_called_by_kernels)  # type: ignore[arg-type]
    return dispatcher


def _share_inside_kernels(outer: Any, inner: _Inner) -> None:
    """Let kernels that call a kernel share one specialisation of it that cannot be called from Python.

    Numba compiles a helper again for each literal (``lookup(0, x)``, ``lookup(1, x)``) and each width of an integer it
    is called with, which made 28 of the 188 compilations of a first run. Here literals count as their types and signed
    integers as int64; arithmetic on them is done in int64 anyway, so no number changes. And it adds to each helper the
    code that unpacks Python objects, which kernels have no use for: without it compiling takes 16 % less time.

    Parameters
    ----------
    outer : numba dispatcher
        What Python calls.
    inner : _Inner
        What kernels call in its place.
    """

    def template(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        plain = [_shared_type(a) for a in arguments]
        return inner.get_call_template(plain, {name: _shared_type(a) for name, a in keywords.items()})

    outer.get_call_template = template
    outer.get_overload = lambda signature: inner.get_overload(signature)
    outer.inner = inner


def _shared_type(argument: Any) -> Any:
    """Type under which a kernel takes an argument: literals as their types, signed integers as int64."""
    from numba.core import types as numba_types

    types: Any = numba_types
    plain = types.unliteral(argument)
    return types.int64 if plain in (types.int8, types.int16, types.int32) else plain
