"""ALICE ``lutCovm`` binaries, version 20210801, read and written byte by byte.

The format is the memory of C structures on x86-64 (``lutCovm.hh`` of DelphesO2, kept by O2Physics): a header of 80
bytes, then one entry of 312 bytes per (nch, radius, eta, pt), pt fastest. It repeats the covariance for every
multiplicity; a `Lut` holds it once. Padding bytes are ignored and written as zeros.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.lut.atomic import write_bytes
from flashdet.lut.axis import Axis, Scale
from flashdet.lut.pack import decompose
from flashdet.lut.table import AliceEigen, AliceSource, Lut
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_PDG

_LOG = logging.getLogger(__name__)

VERSION = 20210801
_HEADER = struct.Struct("<iiff" + "iff?3x" * 4)
#: 32-bit words of an entry, and where its parts begin.
_N_WORDS = 78
_NCH, _ETA, _PT, _VALID, _EFFICIENCY, _EFFICIENCY2, _N_SCALARS = 0, 1, 2, 3, 4, 5, 8
#: Words of the part that does not depend on multiplicity: covm (15), eigval (5), eigvec (25), eiginv (25).
_BULK = slice(8, 78)
_COVM, _EIGVAL, _EIGVEC, _EIGINV = slice(0, 15), slice(15, 20), slice(20, 45), slice(45, 70)
_AXES = (("nch", ""), ("radius", "cm"), ("eta", ""), ("pt", "GeV"))
#: More bins than this mean a damaged header.
_MAX_BINS = 100_000


def find_species(pdg: int) -> str:
    """Species of a table by the PDG code in its header.

    Parameters
    ----------
    pdg : int
        A PDG code, either sign.

    Returns
    -------
    str
        One of `flashdet.species.SPECIES`.

    Raises
    ------
    LutError
        No species has this code. (ALICE's programs fall back to the pion's table here.)
    """
    if abs(pdg) not in SPECIES_PDG:
        allowed = ", ".join(f"{code} ({name})" for code, name in zip(SPECIES_PDG, SPECIES, strict=True))
        raise LutError(f"no tracking LUT is known for pdg {pdg}; allowed: {allowed}")
    return SPECIES[SPECIES_PDG.index(abs(pdg))]


# --- reading ---------------------------------------------------------------------------------------------------------
def read_alice(path: str | Path, species: str | None = None, efficiency: int = 1) -> Lut:
    """Read an ALICE file.

    Parameters
    ----------
    path : path
        ``lutCovm.*.dat``.
    species : str, optional
        What the table must be for.
    efficiency : {1, 2}
        Which of the two efficiencies of an entry to use (``whatEfficiency`` of ALICE).

    Returns
    -------
    Lut
        All axes clamp, as ALICE does, and interpolate. Where only some multiplicities are valid, the cell is valid and
        its efficiency is 0 at the others: such tracks are lost either way. If the efficiency depends on the radius,
        each bin of radius becomes a table of its own (`Lut.displaced`), without interpolation between them; the file
        is then not written back byte by byte.

    Raises
    ------
    LutError
        The file cannot be read or has another version, size or species; or the covariance of valid entries depends on
        multiplicity.
    """
    where = str(path)
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER.size)
            pdg, mass, magnetic_field, axes = _read_header(head, where)
            shape = tuple(axis.n_bins for axis in axes)
            expected, size = 80 + 4 * _N_WORDS * math.prod(shape), Path(path).stat().st_size
            if size != expected:
                raise LutError(
                    f"has {size} bytes; its axes ({' x '.join(map(str, shape))} bins) need {expected}",
                    where,
                    "the file was cut or holds something else; get it again",
                )
            body = np.fromfile(file, "<u4").reshape(*shape, _N_WORDS)
    except OSError as error:
        raise LutError(f"cannot be read: {error.strerror or error}", where) from error
    found = find_species(pdg)
    if species is not None and species != found:
        raise LutError(f"is for {found} (pdg {pdg}), not for {species}", where)
    if efficiency not in (1, 2):
        raise ValueError(f"efficiency is {efficiency}; allowed: 1, 2")
    if _depends_on_radius(body, efficiency):
        return _by_radius(body, found, mass, magnetic_field, axes, where, efficiency)
    lut, exceptions = _make(body, found, mass, magnetic_field, axes, where, efficiency)
    lut = dataclasses.replace(lut, meta=_meta(path, efficiency))
    body[..., _VALID] &= 0xFF  # the rest of the word is padding
    source = AliceSource(
        header=_HEADER.pack(*_HEADER.unpack(head)),
        words=tuple(_reduce(body[..., k]) for k in range(_N_SCALARS)),
        exceptions=np.flatnonzero(exceptions),
        exception_words=body[exceptions][:, _BULK],
        fingerprint=_fingerprint(lut),
    )
    return dataclasses.replace(lut, alice=source)


def _meta(path: str | Path, efficiency: int) -> dict[str, Any]:
    return {"source": f"ALICE lutCovm {VERSION}", "file": Path(path).name, "efficiency": efficiency}


def _make(
    body: NDArray[np.uint32],
    species: str,
    mass: float,
    magnetic_field: float,
    axes: tuple[Axis, Axis, Axis, Axis],
    where: str,
    efficiency: int,
) -> tuple[Lut, NDArray[np.bool_]]:
    """Table of entries whose efficiency does not depend on the radius, and the entries with another bulk."""
    i = SPECIES.index(species)
    nch, radius, eta, pt = axes
    valid, bulk, exceptions = _merge_multiplicities(body, axes, where)
    with np.errstate(invalid="ignore"):
        covariance = bulk[..., _COVM].astype(np.float64)
    lut = Lut(
        species=species,
        pdg=SPECIES_PDG[i],
        mass=mass,
        charge=SPECIES_CHARGE[i],
        field=magnetic_field,
        efficiency_axes=(nch, eta, pt),
        efficiency=_merge_radii(body, _EFFICIENCY + efficiency - 1),
        covariance_axes=(radius, eta, pt),
        covariance=covariance,
        valid=valid,
        eigen=AliceEigen(
            np.ascontiguousarray(bulk[..., _EIGVAL]),
            np.ascontiguousarray(bulk[..., _EIGVEC]).reshape(*valid.shape, 5, 5),
            np.ascontiguousarray(bulk[..., _EIGINV]).reshape(*valid.shape, 5, 5),
        ),
    )
    return lut, exceptions


def _by_radius(
    body: NDArray[np.uint32],
    species: str,
    mass: float,
    magnetic_field: float,
    axes: tuple[Axis, Axis, Axis, Axis],
    where: str,
    efficiency: int,
) -> Lut:
    """One table per bin of radius."""
    nch, radius, eta, pt = axes
    parts = []
    for i, (low, high) in enumerate(pairwise(radius.edges)):
        own = dataclasses.replace(radius, n_bins=1, low=float(low), high=float(high))
        entries = np.ascontiguousarray(body[:, i : i + 1])
        parts.append(_make(entries, species, mass, magnetic_field, (nch, own, eta, pt), where, efficiency)[0])
    return dataclasses.replace(parts[0], meta=_meta(where, efficiency), displaced=tuple(parts[1:]))


def _read_header(head: bytes, where: str) -> tuple[int, float, float, tuple[Axis, Axis, Axis, Axis]]:
    if len(head) < _HEADER.size:
        raise LutError(f"has {len(head)} bytes, less than the header of an ALICE LUT", where)
    version, pdg, mass, magnetic_field, *rest = _HEADER.unpack(head)
    if version != VERSION:
        raise LutError(f"has version {version}; allowed: {VERSION} (ALICE lutCovm)", where)
    axes = []
    for (name, unit), j in zip(_AXES, range(0, 16, 4), strict=True):
        n_bins, low, high, is_log = rest[j : j + 4]
        if not 1 <= n_bins <= _MAX_BINS or not -math.inf < low < high < math.inf or (is_log and max(-low, high) > 300):
            raise LutError(f"{n_bins} bins from {low} to {high} are not an axis", f"{where}: axis {name}")
        scale: Scale = "log" if is_log else "linear"
        axis = Axis(name, unit, n_bins, 10.0**low if is_log else low, 10.0**high if is_log else high, scale)
        if np.float32(axis.transform(axis.low)) != low or np.float32(axis.transform(axis.high)) != high:
            raise LutError(f"the edges 10^{low} and 10^{high} cannot be kept exactly", f"{where}: axis {name}")
        axes.append(axis)
    return pdg, mass, magnetic_field, (axes[0], axes[1], axes[2], axes[3])


def _merge_multiplicities(
    body: NDArray[np.uint32], axes: tuple[Axis, ...], where: str
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.bool_]]:
    """Validity and bulk over (radius, eta, pt), and which entries have another bulk."""
    flags = body[..., _VALID] & 0xFF
    if flags.max() > 1:
        raise LutError("a flag `valid` is neither 0 nor 1: these are no ALICE entries", where)
    valid: NDArray[np.bool_] = np.logical_or.reduce(flags, axis=0)
    first = np.argmax(flags, axis=0)[None, ..., None]
    bulk = np.take_along_axis(body[..., _BULK], first, axis=0)[0].view("<f4")
    kept = bulk.copy()
    with np.errstate(invalid="ignore"):  # entries that are not valid may hold any bits, signalling NaNs too
        kept[..., _COVM] = bulk[..., _COVM].astype(np.float64).astype("<f4")
    exceptions: NDArray[np.bool_] = np.logical_or.reduce(body[..., _BULK] != kept.view("<u4"), axis=-1)
    wrong = np.argwhere(exceptions & (flags == 1))
    if len(wrong):
        place = ", ".join(f"{a.name} {a.centers[i]:.4g}" for a, i in zip(axes, wrong[0], strict=True))
        raise LutError(
            f"the covariance of {len(wrong)} valid entries depends on multiplicity, first at {place}",
            where,
            "a FlashDet LUT has one covariance for all multiplicities: cut the file into one table per multiplicity",
        )
    return valid, bulk, exceptions


def _flags_and_values(body: NDArray[np.uint32], word: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which entries are valid, and their efficiencies, 0 where they are not."""
    flags = (body[..., _VALID] & 0xFF).astype(bool)
    return flags, np.where(flags, np.ascontiguousarray(body[..., word]).view("<f4"), np.float32(0))


def _merge_radii(body: NDArray[np.uint32], word: int) -> NDArray[np.float64]:
    """Efficiency over (nch, eta, pt), 0 where no entry is valid."""
    flags, values = _flags_and_values(body, word)
    first = np.argmax(flags, axis=1)[:, None]
    return np.take_along_axis(values, first, axis=1)[:, 0].astype(np.float64)


def _depends_on_radius(body: NDArray[np.uint32], efficiency: int) -> bool:
    """True if one efficiency for all radii would lose something."""
    flags, values = _flags_and_values(body, _EFFICIENCY + efficiency - 1)
    alive: NDArray[np.bool_] = np.logical_or.reduce(flags, axis=1)
    valid: NDArray[np.bool_] = np.logical_or.reduce(flags, axis=0)
    merged = np.take_along_axis(values, np.argmax(flags, axis=1)[:, None], axis=1)
    return bool((flags != (alive[:, None] & valid)).any() or (flags & (values != merged)).any())


def _reduce(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Drop the axes along which nothing changes (their length becomes 1)."""
    for axis in range(words.ndim):
        first = words.take([0], axis)
        if (words == first).all():
            words = first
    return np.ascontiguousarray(words)


def _fingerprint(lut: Lut) -> str:
    bins = [(axis.n_bins, axis.low, axis.high, axis.scale) for axis in (*lut.efficiency_axes, *lut.covariance_axes)]
    digest = hashlib.sha256(repr((lut.pdg, lut.mass, lut.field, bins)).encode())
    arrays: list[NDArray[Any]] = [lut.efficiency, lut.covariance, lut.valid]
    if lut.eigen is not None:
        arrays += [lut.eigen.values, lut.eigen.vectors, lut.eigen.inverse]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


# --- writing ---------------------------------------------------------------------------------------------------------
def size_of(lut: Lut) -> int:
    """Bytes of an ALICE file with the cells of a table; its tables of displaced particles count as bins of radius."""
    return _HEADER.size + 4 * _N_WORDS * sum(part.efficiency.size for part in lut.parts)


def write_alice(lut: Lut, path: str | Path, overwrite: bool = False) -> None:
    """Write an ALICE file.

    A table that was read from an ALICE file and not changed since gives the same bytes (padding zeroed). Any other
    table gets eigenvalues in descending order, eigenvectors whose first component that is not zero is positive, the
    same number for both efficiencies, and 0 for the two TOF probabilities, which a `Lut` does not know. Tables of
    displaced particles become bins of radius if they all have the same bins and equal ranges of radius; else they are
    left out with a warning, because the format cannot hold them.

    Parameters
    ----------
    lut : Lut
        What to write.
    path : path
        ``lutCovm.*.dat``.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    LutError
        The table is not usable, see `Lut.validate`; holes are allowed in a table from an ALICE file only.
    OutputError
        The file exists, or cannot be written.
    """
    if lut.alice is not None and lut.alice.fingerprint == _fingerprint(lut) and not lut.displaced:
        header, body = lut.alice.header, _original_body(lut, lut.alice)
    else:
        lut.validate()
        parts = lut.parts if _has_equal_bins(lut) else (lut,)
        if len(parts) < len(lut.parts):
            radius = lut.covariance_axes[0]
            _LOG.warning(
                "%s: tables of particles made beyond %.3g %s are left out: an ALICE file has equal bins at all radii",
                path,
                radius.high,
                radius.unit,
            )
        header = _native_header(parts)
        body = np.concatenate([_native_body(part) for part in parts], axis=1)
    write_bytes(path, [header, body.data], overwrite)


def _has_equal_bins(lut: Lut) -> bool:
    """True if the tables of a LUT fit into one grid with equal bins of radius."""
    radii = [part.covariance_axes[0] for part in lut.parts]
    width = (radii[-1].high - radii[0].low) / len(radii)
    for i, (part, radius) in enumerate(zip(lut.parts, radii, strict=True)):
        if radius.scale != "linear" or (radius.n_bins > 1 and lut.displaced):
            return not lut.displaced
        if abs(radius.low - radii[0].low - i * width) > 1e-6 * width:
            return False
        if not all(a.has_bins_of(b) for a, b in zip(part.efficiency_axes, lut.efficiency_axes, strict=True)):
            return False
    return True


def _original_body(lut: Lut, source: AliceSource) -> NDArray[np.uint32]:
    body = _empty_body(lut)
    for k, words in enumerate(source.words):
        body[..., k] = words
    eigen = lut.eigen if lut.eigen is not None else decompose(lut)
    _fill_bulk(body, lut.covariance, eigen)
    body.reshape(-1, _N_WORDS)[source.exceptions, _BULK] = source.exception_words
    return body


def _native_body(lut: Lut) -> NDArray[np.uint32]:
    body = _empty_body(lut)
    nch, eta, pt = lut.efficiency_axes
    values = body.view("<f4")
    values[..., _NCH] = _centers(nch)[:, None, None, None]
    values[..., _ETA] = _centers(eta)[:, None]
    values[..., _PT] = _centers(pt)
    body[..., _VALID] = lut.valid
    efficiency = np.where(lut.valid, lut.efficiency[:, None], 0.0)
    values[..., _EFFICIENCY] = efficiency
    values[..., _EFFICIENCY2] = efficiency
    _fill_bulk(body, np.where(lut.valid[..., None], lut.covariance, 0.0), decompose(lut))
    return body


def _empty_body(lut: Lut) -> NDArray[np.uint32]:
    return np.zeros((lut.efficiency_axes[0].n_bins, *lut.valid.shape, _N_WORDS), "<u4")


def _fill_bulk(body: NDArray[np.uint32], covariance: NDArray[np.float64], eigen: AliceEigen) -> None:
    shape = covariance.shape[:-1]
    bulk = np.empty((*shape, 70), "<f4")
    bulk[..., _COVM] = covariance
    bulk[..., _EIGVAL] = eigen.values
    bulk[..., _EIGVEC] = eigen.vectors.reshape(*shape, 25)
    bulk[..., _EIGINV] = eigen.inverse.reshape(*shape, 25)
    body[..., _BULK] = bulk.view("<u4")


def _edges(axis: Axis) -> tuple[np.float32, np.float32]:
    return np.float32(axis.transform(axis.low)), np.float32(axis.transform(axis.high))


def _centers(axis: Axis) -> NDArray[np.float32]:
    """Bin centres with ALICE's arithmetic: width in binary32, the rest in binary64, rounded at each assignment."""
    low, high = _edges(axis)
    width = (high - low) / np.float32(axis.n_bins)
    x = (float(low) + (np.arange(axis.n_bins) + 0.5) * float(width)).astype(np.float32)
    return np.power(10.0, x.astype(np.float64)).astype(np.float32) if axis.scale == "log" else x


def _native_header(parts: Sequence[Lut]) -> bytes:
    lut = parts[0]
    radius = dataclasses.replace(
        lut.covariance_axes[0],
        n_bins=sum(part.covariance_axes[0].n_bins for part in parts),
        high=parts[-1].covariance_axes[0].high,
    )
    numbers: list[Any] = [VERSION, lut.pdg, lut.mass, lut.field]
    for axis in (lut.efficiency_axes[0], radius, *lut.covariance_axes[1:]):
        numbers += [axis.n_bins, *_edges(axis), axis.scale == "log"]
    return _HEADER.pack(*numbers)
