"""Native files of lookup tables, ``NAME.lut.npz``: a zip of plain NumPy arrays and one JSON header, no pickles.

``header.json`` holds the format version, the axes, where the table comes from and the shape and SHA-256 of each array.
Arrays are float32 (and one bool), which ``numpy.load`` opens too. A covariance is stored as five standard deviations
and the ten ratios L_ij / L_ii of its Cholesky factor: every such set belongs to a positive definite matrix, whatever
the rounding. Equal tables give equal bytes. ALICE binaries are in `flashdet.lut.alice`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError, OutputError
from flashdet.kernels.symmat import from_shape, to_shape
from flashdet.lut.atomic import write_bytes
from flashdet.lut.axis import Axis
from flashdet.lut.content import content_arrays, content_header, content_shapes, make_content
from flashdet.lut.table import Lut, Map

FORMAT = "flashdet-lut"
#: Version 1: efficiency and covariance. Version 2: also the content of a full simulation (`SampleContent`). Version 3:
#: also tables of displaced particles, whose arrays are named ``displaced1_valid`` and so on. The lowest version that
#: holds a table is written, byte by byte as before.
VERSION = 1
VERSION_SAMPLE = 2
VERSION_DISPLACED = 3
SUFFIX = ".lut.npz"

#: Limits of a file, far above any real table: bytes of the header, bytes of one array once unpacked.
_MAX_HEADER = 1 << 20
_MAX_ARRAY = 1 << 31
#: Ratios below this are rounding left over by the factorisation (float64, condition numbers up to 1e7); written as 0.
_SMALLEST_RATIO = 2.0**-30
#: A .npy header is shorter.
_MAX_NPY_HEADER = 4096
#: Failures that the zip and zlib modules and NumPy report for damaged or foreign files.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    TypeError,
    ValueError,
)


# --- writing ---------------------------------------------------------------------------------------------------------
def write_table(table: Lut | Map, path: str | Path, overwrite: bool = False, bits: int | None = None) -> None:
    """Write a table as a native file.

    Parameters
    ----------
    table : Lut or Map
        What to write. A `Lut` loses `eigen` and `alice`: a native file does not reproduce an ALICE file byte by byte.
    path : path
        ``NAME.lut.npz``.
    overwrite : bool
        Replace an existing file.
    bits : int, optional
        Significant bits to keep, 8 to 23: standard deviations and the values of maps are rounded to a relative, ratios
        and efficiencies to an absolute 2^-(bits + 1). Fewer bits compress better: 12 halve the file. Default: all.

    Raises
    ------
    LutError
        `Lut.validate` fails in a way that the format cannot express: shapes, or covariances of valid cells that are not
        positive definite.
    OutputError
        The file exists, or cannot be written.
    """
    where = str(path)
    if not where.endswith(SUFFIX):
        raise OutputError(f"a native table is called NAME{SUFFIX}", where)
    if bits is not None and not 8 <= bits <= 23:
        raise ValueError(f"bits is {bits}; allowed: 8 to 23")
    header, arrays = _lut_content(table, bits) if isinstance(table, Lut) else _map_content(table, bits)
    header["arrays"] = {
        name: {"shape": list(a.shape), "dtype": a.dtype.str, "sha256": hashlib.sha256(a.tobytes()).hexdigest()}
        for name, a in arrays.items()
    }
    try:
        text = json.dumps(header, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise LutError(f"meta holds something that is not JSON: {error}", where) from error
    write_bytes(path, [_zip_bytes(text.encode(), arrays)], overwrite)


def _zip_bytes(header: bytes, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        members = [("header.json", header)]
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            members.append((f"{name}.npy", member.getvalue()))
        for name, content in members:  # no clock, user or platform in the bytes
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def _lut_content(lut: Lut, bits: int | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "lut",
        "species": lut.species,
        "pdg": int(lut.pdg),
        "mass": float(lut.mass),
        "charge": int(lut.charge),
        "field": float(lut.field),
    }
    own, arrays = _part_content(lut, bits)
    header |= own
    if lut.sample is not None:
        header["version"] = VERSION_SAMPLE
    if lut.displaced:
        header["version"], header["displaced"] = VERSION_DISPLACED, []
        for i, part in enumerate(lut.displaced):
            own, more = _part_content(part, bits)
            header["displaced"].append(own)
            arrays |= {_name(i, name): array for name, array in more.items()}
    return header, arrays


def _name(i: int, array: str) -> str:
    """Name of an array of the i-th table of displaced particles."""
    return f"displaced{i + 1}_{array}"


def _part_content(lut: Lut, bits: int | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What is stored of each production radius."""
    cells = lut.covariance.reshape(-1, 15)
    valid = lut.valid.ravel()
    shape = np.zeros((15, valid.size))
    try:
        shape[:, valid] = to_shape(cells[valid]).T
    except np.linalg.LinAlgError:
        lut.validate()
        raise
    sigma, ratio = shape[:5], shape[5:]
    ratio[np.abs(ratio) < _SMALLEST_RATIO] = 0.0
    header: dict[str, Any] = {
        "efficiency_axes": [axis.to_dict() for axis in lut.efficiency_axes],
        "covariance_axes": [axis.to_dict() for axis in lut.covariance_axes],
        "meta": lut.meta,
    }
    arrays = {
        "valid": np.ascontiguousarray(lut.valid),
        "efficiency": _round_absolute(lut.efficiency, bits),
        "sigma": _round_relative(sigma, bits).reshape(5, *lut.valid.shape),
        "ratio": _round_absolute(ratio, bits).reshape(10, *lut.valid.shape),
    }
    if lut.sample is not None:
        header["sample"] = content_header(lut.sample)
        arrays |= content_arrays(lut.sample)
    return header, arrays


def _map_content(table: Map, bits: int | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "map",
        "name": table.name,
        "unit": table.unit,
        "axes": [axis.to_dict() for axis in table.axes],
        "meta": table.meta,
    }
    return header, {"values": _round_relative(table.values, bits)}


def _round_relative(values: NDArray[np.float64], bits: int | None) -> NDArray[np.float32]:
    if bits is None:
        return values.astype("<f4")
    mantissa, exponent = np.frexp(values)
    rounded: NDArray[np.float64] = np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)
    return rounded.astype("<f4")


def _round_absolute(values: NDArray[np.float64], bits: int | None) -> NDArray[np.float32]:
    if bits is None:
        return values.astype("<f4")
    rounded: NDArray[np.float64] = np.round(values * 2.0**bits) * 2.0**-bits + 0.0  # no -0.0
    return rounded.astype("<f4")


# --- reading ---------------------------------------------------------------------------------------------------------
def read_table(path: str | Path) -> Lut | Map:
    """Read a native file.

    Sizes, shapes and types are compared with the header before an array is unpacked, its SHA-256 afterwards.

    Parameters
    ----------
    path : path
        ``NAME.lut.npz``.

    Returns
    -------
    Lut or Map
        As float64.

    Raises
    ------
    LutError
        The file is missing, damaged, of a newer version or not a table.
    """
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, where)
    except LutError as error:
        if error.where == where:
            raise
        raise LutError(error.message, f"{where}: {error.where}" if error.where else where, error.hint) from error
    except OSError as error:
        raise LutError(f"cannot be read: {error.strerror or error}", where) from error
    except _DAMAGE as error:
        raise LutError(
            f"is damaged or not a FlashDet table: {error}", where, "get the file again or rebuild it"
        ) from error


def _read_archive(archive: zipfile.ZipFile, where: str) -> Lut | Map:
    members = {info.filename: info for info in archive.infolist()}
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members.values()):
        raise LutError("is compressed in a way that tables are not", where)
    if "header.json" not in members or members["header.json"].file_size > _MAX_HEADER:
        raise LutError("has no header.json of sensible size, so it is not a FlashDet table", where)
    header = json.loads(archive.read("header.json"))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise LutError(f"is not a FlashDet table: its header does not say {FORMAT!r}", where)
    if header.get("version") not in (VERSION, VERSION_SAMPLE, VERSION_DISPLACED):
        raise LutError(
            f"has format version {header.get('version')!r}; this program reads {VERSION} to {VERSION_DISPLACED}",
            where,
            "update FlashDet",
        )
    kind = header.get("kind")
    if kind not in ("lut", "map"):
        raise LutError(f"is of kind {kind!r}; allowed: lut, map", where)
    shapes = _lut_shapes(header) if kind == "lut" else _map_shapes(header)
    names = [info.filename for info in archive.infolist()]
    if sorted(names) != sorted(["header.json", *(f"{name}.npy" for name in shapes)]):
        raise LutError(f"holds {', '.join(sorted(names))}; a {kind} has header.json and {', '.join(shapes)}", where)
    arrays = {}
    for name, (shape, dtype) in shapes.items():
        hashed = header["arrays"][name]["sha256"]
        arrays[name] = _read_array(archive, members[f"{name}.npy"], shape, dtype, hashed, where)
    return _make_lut(header, arrays) if kind == "lut" else _make_map(header, arrays)


def _axes(mappings: Any, count: int | None = None) -> tuple[Axis, ...]:
    if not isinstance(mappings, list) or (count is not None and len(mappings) != count):
        raise ValueError(f"the header's axes are {mappings!r}")
    return tuple(Axis.from_dict(mapping) for mapping in mappings)


def _lut_shapes(header: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    shapes = _part_shapes(header)
    for i, part in enumerate(_displaced(header)):
        shapes |= {_name(i, name): shape for name, shape in _part_shapes(part).items()}
    return shapes


def _displaced(header: dict[str, Any]) -> list[dict[str, Any]]:
    """Headers of the tables of displaced particles."""
    parts = header["displaced"] if header["version"] == VERSION_DISPLACED else []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError("the header's tables of displaced particles are none")
    return parts


def _part_shapes(header: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    efficiency = tuple(axis.n_bins for axis in _axes(header["efficiency_axes"], 3))
    covariance = tuple(axis.n_bins for axis in _axes(header["covariance_axes"], 3))
    shapes = {
        "valid": (covariance, "|b1"),
        "efficiency": (efficiency, "<f4"),
        "sigma": ((5, *covariance), "<f4"),
        "ratio": ((10, *covariance), "<f4"),
    }
    if _has_sample(header):
        shapes |= content_shapes(header["sample"], efficiency, covariance)
    return shapes


def _has_sample(header: dict[str, Any]) -> bool:
    """True if the header of a file, or of a part of one, tells of the content of a full simulation."""
    version = header.get("version", VERSION_DISPLACED)
    return bool(version == VERSION_SAMPLE or (version == VERSION_DISPLACED and "sample" in header))


def _map_shapes(header: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {"values": (tuple(axis.n_bins for axis in _axes(header["axes"])), "<f4")}


def _read_array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, shape: tuple[int, ...], dtype: str, hashed: str, where: str
) -> NDArray[Any]:
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if n_bytes > _MAX_ARRAY or not n_bytes <= info.file_size <= n_bytes + _MAX_NPY_HEADER:
        raise LutError(f"{info.filename} unpacks to {info.file_size} bytes; its axes ask for {n_bytes}", where)
    stored = archive.read(info)
    expected = _npy_header(shape, dtype)
    start = len(expected)
    if not stored.startswith(expected):  # written by another program; parsing takes as long as all the rest
        file = io.BytesIO(stored)
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("unknown version of an array")
        found = np.lib.format.read_array_header_1_0(file, max_header_size=_MAX_NPY_HEADER)
        if found != (shape, False, np.dtype(dtype)):
            raise LutError(
                f"{info.filename} holds {found[2]} of shape {found[0]}; the header says {np.dtype(dtype)} of {shape}",
                where,
            )
        start = file.tell()
    content = memoryview(stored)[start:]
    if len(content) != n_bytes:
        raise LutError(f"{info.filename} is shorter or longer than its header says", where)
    if hashlib.sha256(content).hexdigest() != hashed:
        raise LutError(f"{info.filename} does not have the SHA-256 of the header", where, "get the file again")
    return np.frombuffer(content, dtype).reshape(shape)


def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """First bytes of an array as they are written here."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _scalar(header: dict[str, Any], name: str, kind: type) -> Any:
    value = header[name]
    if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
        raise ValueError(f"the header's {name} is {value!r}")
    return kind(value)


def _make_lut(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Lut:
    first = _make_part(header, header, arrays)
    displaced = []
    for i, part in enumerate(_displaced(header)):
        prefix = _name(i, "")
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        displaced.append(_make_part(header, part, own))
    return replace(first, displaced=tuple(displaced)) if displaced else first


def _make_part(header: dict[str, Any], part: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Lut:
    """Table of one production radius; `header` tells the species, `part` the rest."""
    valid = arrays["valid"]
    shape = np.concatenate([arrays["sigma"], arrays["ratio"]]).astype(np.float64).reshape(15, -1).T
    if not (np.isfinite(shape).all() and (shape[valid.ravel(), :5] > 0.0).all()):
        raise ValueError("a standard deviation or ratio is not finite or not positive")
    covariance = np.zeros((valid.size, 15))
    covariance[valid.ravel()] = from_shape(shape[valid.ravel()])
    e, c = _axes(part["efficiency_axes"], 3), _axes(part["covariance_axes"], 3)
    return Lut(
        species=_scalar(header, "species", str),
        pdg=_scalar(header, "pdg", int),
        mass=_scalar(header, "mass", float),
        charge=_scalar(header, "charge", int),
        field=_scalar(header, "field", float),
        efficiency_axes=(e[0], e[1], e[2]),
        efficiency=arrays["efficiency"].astype(np.float64),
        covariance_axes=(c[0], c[1], c[2]),
        covariance=covariance.reshape(*valid.shape, 15),
        valid=valid,
        meta=_scalar(part, "meta", dict),
        sample=make_content(part["sample"], arrays) if _has_sample(part) else None,
    )


def _make_map(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Map:
    name, unit = _scalar(header, "name", str), _scalar(header, "unit", str)
    values = arrays["values"].astype(np.float64)
    return Map(name, unit, _axes(header["axes"]), values, _scalar(header, "meta", dict))
