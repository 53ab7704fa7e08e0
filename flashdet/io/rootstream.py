"""How ROOT streams objects: texts, versions, classes, and the keys that stand before them (ROOT, io/doc/TFile).

What objects there are is in :mod:`flashdet.io.rootfile` and :mod:`flashdet.io.rootform`.
"""

from __future__ import annotations

import struct

#: Key of a record with 64-bit positions: its bytes, version, bytes of the object, date, bytes of the key, cycle, its
#: own place and that of its directory. Texts follow: class, name and title.
KEY = struct.Struct(">ihiIhhqq")
#: Version of such a key. The date is ROOT's first day, 1 January 1995: equal jobs make equal files.
KEY_VERSION, NO_DATE = 1004, (1 << 22) | (1 << 17)
_BYTE_COUNT, _NEW_CLASS = 0x4000_0000, 0xFFFF_FFFF
#: Bits of a TObject: on the heap and not deleted.
_ON_HEAP = 0x0300_0000


def text_of(text: str) -> bytes:
    """Text behind its length."""
    raw = text.encode()
    return (bytes([len(raw)]) if len(raw) < 255 else struct.pack(">BI", 255, len(raw))) + raw


def versioned(version: int, body: bytes) -> bytes:
    """Body of a class behind its byte count and version."""
    return struct.pack(">IH", (len(body) + 2) | _BYTE_COUNT, version) + body


def of_class(name: str, body: bytes) -> bytes:
    """Object in a collection, behind the name of its class."""
    tagged = struct.pack(">I", _NEW_CLASS) + name.encode() + b"\0" + body
    return struct.pack(">I", len(tagged) | _BYTE_COUNT) + tagged


def plain(bits: int = 0) -> bytes:
    """A TObject."""
    return struct.pack(">HII", 1, 0, bits | _ON_HEAP)


def named(name: str, title: str, bits: int) -> bytes:
    """A TNamed."""
    return versioned(1, plain(bits) + text_of(name) + text_of(title))


def array_head(n: int) -> bytes:
    """TObject, empty name, length and lower bound of a TObjArray."""
    return plain() + struct.pack(">Bii", 0, n, 0)


def key(n_bytes: int, texts: tuple[str, str, str], cycle: int, position: int, parent: int) -> bytes:
    """Key of an object.

    Parameters
    ----------
    n_bytes : int
        Bytes of the object, as it stands in the file.
    texts : tuple of str
        Class, name and title.
    cycle : int
        Counts objects of the same name.
    position, parent : int
        Where the key begins, and the key of its directory.

    Returns
    -------
    bytes
    """
    tail = b"".join(map(text_of, texts))
    length = KEY.size + len(tail)
    return KEY.pack(length + n_bytes, KEY_VERSION, n_bytes, NO_DATE, length, cycle, position, parent) + tail
