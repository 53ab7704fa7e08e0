"""`flashdet.read`: events of an output file as one awkward array, whatever its format.

The formats are read in their own modules; here the format is recognised and every damage becomes one kind of error.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from flashdet.columns import DATA_MODEL_VERSION
from flashdet.errors import InputError
from flashdet.event import EventBatch
from flashdet.provenance import manifest_path, verify

_ROOT, _PARQUET = b"root", b"PAR1"


def read(path: str | os.PathLike[str], *, check: bool = True) -> Any:
    """Read the events of an `aod`, `nano` or `parquet` file that FlashDet wrote.

    Parameters
    ----------
    path : path-like
        The file.
    check : bool
        Whether to compare the file with the checksum in its manifest, if there is one beside it.

    Returns
    -------
    awkward.Array
        One record per event with a list of records per table, as :meth:`flashdet.event.EventBatch.to_awkward` gives
        it: ``a.event.weight``, ``a.track.pt``, ``a.<stage>.n_sigma_pion``. Floats are float32; missing values are NaN.

    Raises
    ------
    InputError
        There is no such file, it is damaged, it differs from its manifest, or FlashDet did not write it.
    """
    batch, _ = read_batch(path, check=check)
    if not batch.tables:
        import awkward as ak

        return ak.Array([])
    return batch.to_awkward()


def read_batch(path: str | os.PathLike[str], *, check: bool = True) -> tuple[EventBatch, dict[str, Any]]:
    """Read the events of a file as tables.

    Parameters
    ----------
    path : path-like
        The file.
    check : bool
        Whether to compare the file with the checksum in its manifest, if there is one beside it.

    Returns
    -------
    batch : EventBatch
        All events; without tables if the file has no events.
    header : dict
        Format, versions, columns with units and provenance, as written by :class:`flashdet.io.output.Writer`.

    Raises
    ------
    InputError
        There is no such file, it is damaged, it differs from its manifest, or FlashDet did not write it.
    """
    path = Path(path)
    magic = _magic(path)
    if check and manifest_path(path).exists():
        verify(path)
    try:
        if magic == _PARQUET:
            from flashdet.io.parquet import read_parquet

            batch, header = read_parquet(str(path))
            _check_version(header, path)
            return batch, header
        return _read_root(path)
    except InputError:
        raise
    except Exception as error:
        # the bytes of a damaged file can lead a library into any exception
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"is damaged or not a file of FlashDet ({text})", str(path)) from error


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a file without reading its events.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    dict
        Format, versions, columns with units and provenance.

    Raises
    ------
    InputError
        There is no such file, it is damaged, or FlashDet did not write it.
    """
    path = Path(path)
    magic = _magic(path)
    try:
        if magic == _PARQUET:
            from flashdet.io.parquet import read_parquet_header

            return read_parquet_header(str(path))
        from flashdet.io.rootfile import open_for_reading

        with open_for_reading(path) as root:
            return _root_header(root, path)
    except InputError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"is damaged or not a file of FlashDet ({text})", str(path)) from error


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    if magic not in (_ROOT, _PARQUET):
        raise InputError("is neither a ROOT nor a Parquet file", str(path))
    return magic


def _read_root(path: Path) -> tuple[EventBatch, dict[str, Any]]:
    from flashdet.io.aod_read import read_aod
    from flashdet.io.nano import read_nano
    from flashdet.io.rootfile import open_for_reading

    readers = {"aod": read_aod, "nano": read_nano}
    with open_for_reading(path) as root:
        header = _root_header(root, path)
        if header["format"] not in readers:
            raise InputError(f"has the unknown format {header['format']!r}", str(path))
        return readers[header["format"]](root, header), header


def _root_header(root: Any, path: Path) -> dict[str, Any]:
    from flashdet.io.rootfile import HEADER

    missing = root.file.fEND - path.stat().st_size
    if missing > 0:
        raise InputError(f"is damaged: {missing} bytes are missing at its end", str(path))
    if HEADER not in root.keys(cycle=False):
        raise InputError("was not written by FlashDet", str(path), hint=f"it has no object {HEADER!r}")
    header: dict[str, Any] = json.loads(str(root[HEADER]))
    _check_version(header, path)
    return header


def _check_version(header: dict[str, Any], path: Path) -> None:
    if header["data_model"].split(".")[0] != DATA_MODEL_VERSION.split(".")[0]:
        raise InputError(
            f"has data model {header['data_model']}, this FlashDet reads {DATA_MODEL_VERSION}",
            str(path),
            hint="read it with the FlashDet that wrote it",
        )
