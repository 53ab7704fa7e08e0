"""Files of lookup tables as bytes: written completely or not at all, and hashed. Their contents are known elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from flashdet.errors import OutputError


def sha256_of(path: str | Path) -> str:
    """Hash of the contents of a file.

    Parameters
    ----------
    path : path
        An existing file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: str | Path, content: Sequence[bytes | memoryview], overwrite: bool = False) -> None:
    """Write a file that is there completely or not at all: as ``NAME.part``, then renamed.

    Parameters
    ----------
    path : path
        Where to.
    content : sequence of bytes
        What, in pieces.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        The file exists, or cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError("the file exists", str(path), "ask for overwriting or choose another name")
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"cannot be written: {error.strerror or error}", str(path)) from error
