"""Files of partial sums, ``NAME.part.npz``: jobs each write one, `read_part` and `flashdet.lut.cells.merged` add them.

Equal sums give equal bytes. What the sums are is told in `flashdet.lut.cells`.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flashdet.errors import LutError, OutputError
from flashdet.lut.atomic import write_bytes
from flashdet.lut.axis import Axis
from flashdet.lut.cells import Binning, Cells

FORMAT, VERSION = "flashdet-lut-part", 2
SUFFIX = ".part.npz"
_ARRAYS = ("generated", "found", "clones", "used", "phi", "rows", "cell", "priority")
_DAMAGE = (zipfile.BadZipFile, EOFError, RuntimeError, LookupError, TypeError, ValueError, OSError)


def write_part(cells: Cells, path: str | Path, overwrite: bool = False) -> None:
    """Write partial sums.

    Parameters
    ----------
    cells : Cells
        The sums.
    path : path
        ``NAME.part.npz``.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        The name ends otherwise, or the file exists or cannot be written.
    """
    if not str(path).endswith(SUFFIX):
        raise OutputError(f"partial sums are called NAME{SUFFIX}", str(path))
    cells.settle()
    b = cells.binning
    header = {
        "format": FORMAT,
        "version": VERSION,
        "axes": [asdict(axis) for axis in (b.nch, b.radius, b.eta, b.pt)],
        "keep": b.keep,
        "charge": b.charge,
        "phi": b.phi,
        "field": cells.field,
        "categories": cells.categories,
        "counts": dict(sorted(cells.counts.items())),
        "inputs": sorted(cells.inputs, key=lambda item: (item[1], item[0])),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        members = [("header.json", json.dumps(header, indent=1).encode())]
        for name in _ARRAYS:
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(getattr(cells, name)), allow_pickle=False)
            members.append((f"{name}.npy", member.getvalue()))
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    write_bytes(path, [buffer.getvalue()], overwrite)


def read_part(path: str | Path) -> Cells:
    """Read partial sums.

    Parameters
    ----------
    path : path
        ``NAME.part.npz``.

    Returns
    -------
    Cells

    Raises
    ------
    LutError
        The file is missing, damaged or something else.
    """
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("header.json"))
            if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
                raise LutError(f"is not a {FORMAT} of version {VERSION}", where)
            arrays = {n: np.lib.format.read_array(io.BytesIO(archive.read(f"{n}.npy"))) for n in _ARRAYS}
        nch, radius, eta, pt = (Axis.from_dict(axis) for axis in header["axes"])
        phi_low, phi_high = header["phi"]
        binning = Binning(nch, radius, eta, pt, header["keep"], header["charge"], (phi_low, phi_high))
        cells = Cells(binning, header["field"], tuple(header["categories"]))
    except LutError as error:
        raise LutError(error.message, where if error.where in ("", where) else f"{where}: {error.where}") from error
    except _DAMAGE as error:
        raise LutError(f"is damaged or holds no partial sums: {error}", where) from error
    _fill(cells, arrays, where)
    cells.counts = {str(name): int(number) for name, number in header["counts"].items()}
    cells.inputs = [(str(name), int(fingerprint)) for name, fingerprint in header["inputs"]]
    return cells


def _fill(cells: Cells, arrays: dict[str, Any], where: str) -> None:
    n_rows = len(arrays["rows"])
    for name, array in arrays.items():
        mine = getattr(cells, name)
        shape = mine.shape if name in _ARRAYS[:5] else (n_rows, *mine.shape[1:])
        if (array.shape, array.dtype) != (shape, mine.dtype):
            raise LutError(
                f"{name} holds {array.dtype} of shape {array.shape}; expected {mine.dtype} of {shape}", where
            )
        setattr(cells, name, array)
