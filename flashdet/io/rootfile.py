"""How FlashDet opens ROOT files with uproot: compression, and bytes that depend on nothing but the content.

Shared by the writers of ROOT formats; their layouts are in their own modules.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from flashdet.io.rootpack import COMPRESSION_LEVEL

#: Name of the TObjString with the description of the file.
HEADER = "flashdet"


@contextmanager
def fixed_date() -> Iterator[None]:
    """Stamp what is written inside the block with ROOT's first date instead of the clock.

    ROOT puts the time into the header of every record, so that two equal jobs would make different files. uproot has no
    option for it; all its records take the stamp from this one function.
    """
    from uproot import _util

    original = _util.datetime_to_code
    _util.datetime_to_code = lambda _: 0
    try:
        yield
    finally:
        _util.datetime_to_code = original


def create(file: BinaryIO, header: str) -> Any:
    """Start a ROOT file that bears a header.

    Parameters
    ----------
    file : binary file
        Open for reading and writing.
    header : str
        JSON text, stored as the TObjString `HEADER`; it also determines the file's UUID.

    Returns
    -------
    uproot.WritableDirectory
    """
    import uproot

    identity = uuid.UUID(bytes=hashlib.sha256(header.encode()).digest()[:16], version=4)
    root = uproot.recreate(
        file, compression=uproot.ZSTD(COMPRESSION_LEVEL), uuid_function=lambda: identity, initial_directory_bytes=1024
    )
    root[HEADER] = header
    return root


def open_for_reading(path: Path) -> Any:
    """Open a ROOT file with plain reads: uproot's default starts an event loop with sockets even for local files.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    uproot.ReadOnlyDirectory
        A context manager.
    """
    import uproot

    return uproot.open(path, handler=uproot.MultithreadedFileSource)
