"""Compiled kernels on disk: where they are kept, and when a kept one may be used.

Numba's own cache asks only whether the file that holds a kernel has changed. Kernels here call helpers of other
modules and read constants and named tuples of theirs, so an upgrade or an edit would go on running the old machine
code. The key of this cache is a fingerprint of everything that goes into a compilation: the bytecode and constants of
the kernel, of all functions that it calls, the global values they read, the fields of named tuples among the arguments,
the types of the arguments, the processor, and the versions of Python, NumPy and Numba.

One file per compilation, written under a temporary name and renamed: processes that compile at the same time cannot
disturb each other. What Numba is told to do with a kernel is decided in `flashdet.kernels.jit`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import os
import pickle
import sys
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import compiler
from numba.core import types as numba_types
from numba.core.caching import NullCache
from numba.core.serialize import dumps

log = logging.getLogger(__name__)
_types: Any = numba_types

#: Packages whose functions are told apart by the version of the package alone.
_LIBRARIES = frozenset({"builtins", "math", "cmath", "numpy", "numba", "llvmlite", "scipy", "typing", "collections"})
#: What the files depend on; the first number is that of their layout.
_VERSIONS = (2, sys.version_info[:3], np.__version__, numba.__version__, llvmlite.__version__)
#: Bytes of the checksum at the start of a file.
_CHECKSUM = 32
#: Files of older versions of a kernel are removed after this many seconds: long enough to switch between branches.
_KEPT = 30 * 86400


class KernelCache(NullCache):  # type: ignore[misc]
    """Cache of one compiled function, in the place of Numba's own.

    Parameters
    ----------
    function : callable
        The Python function.
    options : str
        Options of the compilation, part of the key.
    is_called_by_kernels : bool
        Whether other kernels take it in, so that its intermediate code is needed.
    """

    def __init__(self, function: FunctionType, options: str, is_called_by_kernels: bool = True) -> None:
        self.function, self.options, self._is_called_by_kernels = function, options, is_called_by_kernels

    @property
    def cache_path(self) -> str:
        """Directory that would be asked first."""
        return str(next(iter(directories(self.function))))

    @functools.cached_property
    def parts(self) -> tuple[bytes, tuple[Any, ...]]:
        """Description of the function alone, and the functions that it calls."""
        return describe(self.function)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Compiled function for argument types `sig`, None if there is none."""
        target_context.refresh()
        name = self._name(sig, target_context.codegen())
        for directory in directories(self.function):
            payload = _read(directory / name)
            if payload is not None:
                return compiler.CompileResult._rebuild(target_context, *pickle.loads(payload))
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for argument types `sig`; a disk that cannot be written is reported, not fatal."""
        if data.library.has_dynamic_globals or any(not lifted.can_cache for lifted in data.lifted):
            text = f"{self.function.__qualname__} uses large global arrays or pointers: it is compiled in every process"
            warnings.warn_explicit(text, RuntimeWarning, self.function.__code__.co_filename, 1)
            return
        content = data._reduce() if self._is_called_by_kernels else _machine_code_alone(data)
        name, payload = self._name(sig, data.codegen), dumps(content)
        failures = []
        for directory in directories(self.function):
            try:
                _write(directory, name, payload)
                break
            except OSError as error:
                failures.append(
                    f"{directory.parent if directory.name != '__pycache__' else directory}: {error.strerror}"
                )
        else:
            _report("; ".join(dict.fromkeys(failures)) or "no place to keep them")
            return
        if failures and os.environ.get("FLASHDET_CACHE_DIR"):
            _report(failures[0])

    def _name(self, sig: Any, codegen: Any) -> str:
        """File name of a compilation: the function for people, the fingerprint for the machine."""
        arguments = sig if isinstance(sig, tuple) else (*sig.args, sig.return_type)
        key = hashlib.sha256(repr((_VERSIONS, codegen.magic_tuple(), self.options)).encode())
        key.update("\n".join(map(_describe_type, arguments)).encode())
        key.update(self.fingerprint())
        stem = self.function.__module__.rpartition(".")[2]
        title = f"{stem}.{self.function.__qualname__}".replace("<", "").replace(">", "")
        return f"{title}-{key.hexdigest()[:32]}.nbc"

    def fingerprint(self) -> bytes:
        """Digest of the function and of all functions that it can call."""
        seen: dict[str, bytes] = {}
        todo: list[Any] = [self]
        while todo:
            source = todo.pop()
            function = source.function if isinstance(source, KernelCache) else source
            name = f"{function.__module__}.{function.__qualname__}"
            if name in seen:
                continue
            seen[name], calls = source.parts if isinstance(source, KernelCache) else describe(function)
            if isinstance(source, KernelCache):
                seen[name] += source.options.encode()
            todo += calls
        digest = hashlib.sha256()
        for name in sorted(seen):
            digest.update(name.encode() + seen[name])
        return digest.digest()


def _machine_code_alone(data: Any) -> tuple[Any, ...]:
    """Parts of a compilation that only Python calls.

    Numba adds the intermediate code of the function and of all that it calls, for other functions to take in, and
    parses it whenever the function is loaded: a third of the time to load a kernel, and of its size. Here stands a
    module that has nothing but the names that Numba looks up in it.
    """
    from llvmlite import binding, ir

    (name, kind, (machine_code, _)), description, *others = data._reduce()
    module = ir.Module(name)
    module.triple = binding.get_process_triple()
    for symbol in (
        description.llvm_func_name,
        description.llvm_cpython_wrapper_name,
        description.llvm_cfunc_wrapper_name,
    ):
        block = ir.Function(module, ir.FunctionType(ir.VoidType(), ()), symbol).append_basic_block()
        ir.IRBuilder(block).ret_void()
    names = binding.parse_assembly(str(module)).as_bitcode()
    return (name, kind, (machine_code, names)), description, *others


def directories(function: FunctionType) -> Iterator[Path]:
    """Places where compilations of a function may be, in the order in which they are asked.

    Parameters
    ----------
    function : callable
        Its module and file decide.

    Yields
    ------
    pathlib.Path
        In ``FLASHDET_CACHE_DIR``, else in ``NUMBA_CACHE_DIR``; then beside the module; then in the user's own cache.
    """
    package = function.__module__.rpartition(".")[0] or "scripts"
    chosen = os.environ.get("FLASHDET_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        yield Path(chosen).absolute() / package
    source = Path(function.__code__.co_filename)
    if source.is_file():
        yield source.absolute().parent / "__pycache__"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(os.path.join("~", ".cache"))
    yield Path(base) / "flashdet" / package


def describe(function: FunctionType) -> tuple[bytes, tuple[Any, ...]]:
    """Digest of what a function alone contributes to machine code, and the functions that it calls.

    Parameters
    ----------
    function : callable
        A Python function.

    Returns
    -------
    digest : bytes
        Of bytecode, constants, defaults, and the global values that the code names.
    calls : tuple
        `KernelCache` or Python function of each callee.
    """
    codes = list(_codes(function.__code__))
    names = sorted({name for code in codes for name in code.co_names})
    lines = [repr((c.co_code, c.co_varnames, c.co_argcount, _constants(c))) for c in codes]
    calls: list[Any] = []
    values = {name: function.__globals__[name] for name in names if name in function.__globals__}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    values.update((name, cell.cell_contents) for name, cell in cells)
    lines.append(_describe_value(function.__defaults__, names, calls))
    lines += [f"{name}={_describe_value(value, names, calls)}" for name, value in sorted(values.items())]
    return hashlib.sha256("\n".join(lines).encode()).digest(), tuple(calls)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _constants(code: CodeType) -> list[str]:
    """Constants of a code object; text is documentation or a message."""
    return [repr(c) for c in code.co_consts if not isinstance(c, CodeType)]


def _describe_value(value: Any, names: Iterable[str], calls: list[Any]) -> str:
    """What a global value contributes; functions among them are appended to `calls`."""
    inner = getattr(value, "py_func", value)
    if isinstance(inner, FunctionType):
        if _root(inner) not in _LIBRARIES:
            cache = getattr(value, "_cache", None)
            calls.append(cache if isinstance(cache, KernelCache) else inner)
        return f"function {inner.__module__}.{inner.__qualname__}"
    if isinstance(value, ModuleType):
        if value.__name__.partition(".")[0] in _LIBRARIES:
            return f"module {value.__name__}"
        used = {name: vars(value)[name] for name in names if name in vars(value)}
        inside = {
            n: v.__name__ if isinstance(v, ModuleType) else _describe_value(v, names, calls) for n, v in used.items()
        }
        return f"module {value.__name__} {inside}"
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return f"{array.dtype.str} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(value, type):
        return _describe_class(value)
    if isinstance(value, tuple | list):
        return f"{_describe_class(type(value))}{[_describe_value(v, names, calls) for v in value]}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, BuiltinFunctionType | np.ufunc) or _root(value) in _LIBRARIES:
        return f"{type(value).__name__} {getattr(value, '__name__', value)}"
    return f"{type(value).__qualname__} {_describe_class(type(value))}"


def _root(value: Any) -> str:
    """Top-level package of an object or of its class."""
    return str(getattr(value, "__module__", None) or type(value).__module__).partition(".")[0]


def _describe_class(value: type) -> str:
    """Name of a class of a library, fields of a named tuple, otherwise the text of the file it stands in."""
    name = f"{value.__module__}.{value.__qualname__}"
    fields = getattr(value, "_fields", None)
    if fields is not None:
        return f"{name}{fields}"
    if _root(value) in _LIBRARIES:
        return name
    try:
        return f"{name} {_digest_of_file(inspect.getfile(value))}"
    except (OSError, TypeError):
        return name


@functools.cache
def _digest_of_file(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _describe_type(kind: Any) -> str:
    """Type of an argument; Numba's text of a named tuple leaves out its fields."""
    if isinstance(kind, _types.BaseNamedTuple):
        return f"{_describe_class(kind.instance_class)}({', '.join(map(_describe_type, kind))})"
    if isinstance(kind, _types.BaseTuple):
        return f"({', '.join(map(_describe_type, kind))})"
    return str(kind)


def _read(path: Path) -> bytes | None:
    """Content of a file of the cache; None if there is none, or if it is not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    payload = content[_CHECKSUM:]
    if hashlib.sha256(payload).digest() != content[:_CHECKSUM]:
        log.warning("%s is damaged: the kernel is compiled again", path)
        return None
    return payload


def _write(directory: Path, name: str, payload: bytes) -> None:
    """Write a file of the cache, and remove versions of the same function that are long out of use."""
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / f"{name}.{uuid.uuid4().hex[:12]}.part"
    try:
        part.write_bytes(hashlib.sha256(payload).digest() + payload)
        os.replace(part, directory / name)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    limit = time.time() - _KEPT
    for old in directory.glob(f"{name.rpartition('-')[0]}-*.nbc"):
        try:
            if old.stat().st_mtime < limit:
                old.unlink()
        except OSError:  # another process removed it, or may
            continue


@functools.cache
def _report(reason: str) -> None:
    """Say once that compiled kernels cannot be kept, and what to do."""
    log.warning(
        "compiled kernels cannot be kept (%s), so every process compiles them again; "
        "set FLASHDET_CACHE_DIR to a directory that can be written",
        reason,
    )
