"""ROOT files: header, directories and their listings, written from the first byte to the last.

Positions have 64 bits everywhere, no date is written, and the UUID follows from the header, so that bytes depend on
nothing but the content. uproot took 1 ms per file and 2 ms per directory of 30 trees for the same; it reads the files.
What trees look like is in :mod:`flashdet.io.roottree`. Source: ROOT, io/doc/TFile, and TFile, TDirectoryFile and TFree
in io/io/src.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from flashdet.io.rootstream import NO_DATE, array_head, key, named, of_class, plain, text_of, versioned

#: Name of the TObjString with the description of the file.
HEADER = "flashdet"

#: Version of ROOT whose format this is; one million more says that positions have 64 bits, a thousand more for classes.
_FORMAT, _BIG, _BIG_CLASS = 62_400, 1_000_000, 1000
_START, _NAME = 100, "flashdet.root"
#: ZSTD level 1, for whoever adds to the file: each basket says how it is packed itself.
_COMPRESSION = 501
#: Free space ends here in files below it.
_LAST_FREE = 2_000_000_000
_HEAD = struct.Struct(">4siiqqiiiBiqi")
_LISTING = struct.Struct(">HIIiiqqq")


class Directory:
    """A directory that is written front to back.

    Parameters
    ----------
    file : RootFile
    position, parent : int
        Where its key begins, and that of the directory it is in.
    texts : tuple of str
        Class, name and title of its key.
    """

    def __init__(self, file: RootFile, position: int, parent: int, texts: tuple[str, str, str]) -> None:
        self.file, self.position, self._parent, self._texts = file, position, parent, texts
        self._keys: list[bytes] = []

    def add(self, texts: tuple[str, str, str], content: bytes) -> None:
        """Append an object and list it.

        Parameters
        ----------
        texts : tuple of str
            Class, name and title; the name must not be there yet.
        content : bytes
            The object as ROOT streams it.
        """
        head = key(len(content), texts, 1, self.file.end, self.position)
        self.file.append(head + content)
        self._keys.append(head)

    def mkdir(self, name: str) -> Directory:
        """Begin a directory in this one, which must be closed before another one is begun."""
        made = Directory(self.file, self.file.end, self.position, ("TDirectory", name, name))
        record = made._record(0, 0)
        self._keys.append(record[: len(record) - made._n_content])
        self.file.append(record)
        return made

    def close(self) -> None:
        """Write the listing."""
        content = struct.pack(">i", len(self._keys)) + b"".join(self._keys)
        position = self.file.end
        listing = key(len(content), self._texts, 1, position, self.position) + content
        self.file.append(listing)
        self.file.write(self.position, self._record(position, len(listing)))

    @property
    def _n_content(self) -> int:
        return _LISTING.size + len(self.file.identity)

    def _record(self, listing: int, n_listing: int) -> bytes:
        """Key and content of the directory: where its listing is."""
        head = key(self._n_content, self._texts, 1, self.position, self._parent)
        return head + self._content(len(head), listing, n_listing)

    def _content(self, n_name: int, listing: int, n_listing: int) -> bytes:
        places = (self.position, self._parent, listing)
        return _LISTING.pack(_BIG_CLASS + 5, NO_DATE, NO_DATE, n_listing, n_name, *places) + self.file.identity


class RootFile(Directory):
    """A ROOT file and its outermost directory.

    Parameters
    ----------
    file : binary file
        Open for writing and empty.
    header : str
        JSON text, stored as the TObjString `HEADER`; it also determines the file's UUID.
    """

    def __init__(self, file: BinaryIO, header: str) -> None:
        super().__init__(self, _START, 0, ("TFile", _NAME, ""))
        digest = bytearray(hashlib.sha256(header.encode()).digest()[:16])
        # version 4 and variant 1 of RFC 4122, as random ones have
        digest[6], digest[8] = digest[6] & 0x0F | 0x40, digest[8] & 0x3F | 0x80
        self.identity = struct.pack(">H", 1) + bytes(digest)
        self._handle, self.end = file.fileno(), 0
        # without the first bytes a file is none: a job that dies leaves nothing that looks complete
        self.append(bytes(_START) + self._record(0, 0))
        self._infos = self.end, self._append("TList", "StreamerInfo", "Doubly linked list", _streamers())
        self.add(("TObjString", HEADER, "Collectable string class"), versioned(1, plain() + text_of(header)))

    def append(self, content: bytes | memoryview) -> None:
        """Write at the end."""
        self.write(self.end, content)
        self.end += len(content)

    def write(self, position: int, content: bytes | memoryview) -> None:
        """Write anywhere."""
        rest = memoryview(content)
        while rest:
            n = os.pwrite(self._handle, rest, position)
            rest, position = rest[n:], position + n

    def close(self) -> None:
        """Complete the file."""
        super().close()
        free, n_free = self.end, len(key(0, self._texts, 1, 0, 0)) + 18
        end = free + n_free
        # the last bytes: all beyond them is free
        self._append(*self._texts, struct.pack(">Hqq", _BIG_CLASS + 1, end, max(_LAST_FREE, end + 1_000_000_000)))
        n_name = len(key(0, self._texts, 1, 0, 0)) + len(text_of(_NAME)) + len(text_of(""))
        places = (end, free, n_free, 1, n_name, 8, _COMPRESSION, *self._infos)
        self.write(0, _HEAD.pack(b"root", _BIG + _FORMAT, _START, *places) + self.identity)

    def _append(self, kind: str, name: str, title: str, content: bytes) -> int:
        """Append an object that no directory lists; its bytes."""
        record = key(len(content), (kind, name, title), 1, self.end, _START) + content
        self.append(record)
        return len(record)

    @property
    def _n_content(self) -> int:
        return len(text_of(_NAME)) + len(text_of("")) + super()._n_content

    def _record(self, listing: int, n_listing: int) -> bytes:
        """As of any directory, behind name and title of the file."""
        head = key(self._n_content, self._texts, 1, _START, 0)
        texts = text_of(_NAME) + text_of("")
        return head + texts + self._content(len(head) + len(texts), listing, n_listing)


def _streamers() -> bytes:
    """Description of TObjString, the only class here that is not one of ROOT's own records of trees."""
    nowhere = (0, 0)
    base = named("TObject", "Basic ROOT object", 0) + struct.pack(">9i", 66, 0, *nowhere, 0, -1877229523, 0, 0, 0)
    text = named("fString", "wrapped TString", 0) + struct.pack(">9i", 65, 24, *nowhere, 0, 0, 0, 0, 0)
    elements = (
        of_class("TStreamerBase", versioned(3, versioned(4, base + text_of("BASE")) + struct.pack(">i", 1))),
        of_class("TStreamerString", versioned(2, versioned(4, text + text_of("TString")))),
    )
    array = of_class("TObjArray", versioned(3, array_head(len(elements)) + b"".join(elements)))
    about = named("TObjString", "", 0x0001_0000) + struct.pack(">Ii", 0x9C8E_4800, 1)
    info = of_class("TStreamerInfo", versioned(9, about + array))
    return versioned(5, plain() + struct.pack(">Bi", 0, 1) + info + text_of(""))


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
