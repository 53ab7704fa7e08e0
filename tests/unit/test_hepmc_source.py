"""Compression told by content; damage and foreign files refused with a reason."""

import functools
import gzip
import io
import lzma
import sys

import pytest
import zstandard
from hepmc_text import DATA, END3, PP, event3, listing3, read, write

from flashdet.errors import InputError
from flashdet.io.hepmc import open_events
from flashdet.testing import assert_same_tables

ZSTD = zstandard.ZstdCompressor(write_checksum=True)
PACK = {"gzip": gzip.compress, "xz": functools.partial(lzma.compress, preset=0), "zstd": ZSTD.compress}
RAW = PP.read_bytes()
HALF = RAW.index(b"\nE 151 ") + 1


@pytest.mark.parametrize("kind", PACK)
def test_compression_is_told_by_content(tmp_path, kind):
    packed = write(tmp_path / "events.txt", PACK[kind](RAW))  # the name says nothing
    assert_same_tables(read(packed), read(PP))


@pytest.mark.parametrize("kind", PACK)
def test_members_and_frames_follow_each_other(tmp_path, kind):
    packed = write(tmp_path / "e", PACK[kind](RAW[:HALF]) + PACK[kind](RAW[HALF:]))
    assert_same_tables(read(packed), read(PP))
    twice = write(tmp_path / "f", PACK[kind](RAW) + PACK[kind](RAW))
    assert read(twice).n_events == 12


def test_skippable_zstd_frame_in_front(tmp_path):
    frame = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    assert read(write(tmp_path / "e", frame + ZSTD.compress(RAW))).n_events == 6


@pytest.fixture(scope="module")
def some_events() -> bytes:
    """The first twelve events of the pp sample: 0.7 MB of text that does not repeat itself."""
    text = zstandard.ZstdDecompressor().decompress((DATA.parents[1] / "examples" / "pp14.hepmc3.zst").read_bytes())
    return text[: text.index(b"\nE 12 ") + 1] + END3.encode()


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("fraction", [0.7, 0.9, 0.999])
def test_cut_compressed_file(tmp_path, some_events, kind, fraction):
    packed = PACK[kind](some_events)
    cut = write(tmp_path / "e", packed[: int(fraction * len(packed))])
    with pytest.raises(InputError, match=f"{kind} data is cut or damaged"):
        read(cut)
    with open_events([cut], on_bad_event="skip") as reader:
        n = sum(b.n_events for b in reader.batches())
    assert 0 < n < 12
    assert len(reader.skipped) == 1
    assert "cut or damaged" in reader.skipped[0].reason


@pytest.mark.parametrize("kind", PACK)
def test_flipped_byte_in_compressed_file(tmp_path, some_events, kind):
    packed = bytearray(PACK[kind](some_events))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(InputError):
        read(write(tmp_path / "e", bytes(packed)))


def test_standard_input(monkeypatch):
    class Trickle(io.RawIOBase):  # a pipe gives few bytes at a time
        data = io.BytesIO(gzip.compress(RAW, mtime=0))

        def readable(self):
            return True

        def readinto(self, buffer):
            piece = self.data.read(min(len(buffer), 7))
            buffer[: len(piece)] = piece
            return len(piece)

    stdin = io.TextIOWrapper(io.BufferedReader(Trickle(), 8))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert_same_tables(read("-"), read(PP))


FOREIGN = {
    b"": "the input is empty",
    b"\n \n": "no content",
    b"hello\nworld\n": "text beginning with 'hello' is no HepMC text",
    b"E 0 1 2\nU GEV MM\n": "without the header line",
    b'<LesHouchesEvents version="3.0">\n': "Les Houches",
    b"BZh91AY": "a bzip2 file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    bytes(range(256)) * 4: "binary data",
    b"HepMC::Version 2.06.09\n": "no listing of events",
    b"root\0\0\xf6\x00": "ROOT file",
    gzip.compress(gzip.compress(RAW, mtime=0), mtime=0): "compressed twice",
}


@pytest.mark.parametrize("mode", ["fail", "skip"])
@pytest.mark.parametrize("content", FOREIGN, ids=lambda c: repr(c[:12]))
def test_foreign_files_are_named(tmp_path, content, mode):
    path = write(tmp_path / "file", content)
    with pytest.raises(InputError, match=FOREIGN[content]) as caught, open_events([path], on_bad_event=mode) as reader:
        list(reader.batches())
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 3


def test_missing_file_and_directory(tmp_path):
    for path, what in ((tmp_path / "nothing.hepmc", "no such file"), (tmp_path, "it is a directory")):
        with pytest.raises(InputError, match=what):
            open_events([PP, path])  # found out before the first event
    with pytest.raises(InputError, match="no input"):
        open_events([])


def test_unreadable_file(tmp_path, monkeypatch):
    path = write(tmp_path / "e", listing3(event3()))

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match="cannot be opened: Permission denied"), open_events([path]) as reader:
        list(reader.batches())
