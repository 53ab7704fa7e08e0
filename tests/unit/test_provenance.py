"""Provenance and manifest."""

from __future__ import annotations

import hashlib
import json

import pytest
import xxhash

from flashdet import provenance
from flashdet.columns import DATA_MODEL_VERSION
from flashdet.errors import InputError, OutputError


@pytest.fixture
def job(tmp_path):
    source = tmp_path / "events.hepmc"
    source.write_bytes(b"events")
    return provenance.collect(
        inputs=[provenance.describe_file(source)],
        card={"name": "alice3", "sha256": "ab"},
        luts={"pion": "cd"},
        seed=7,
        first_event=0,
        max_events=None,
        command=["flashdet", "sim"],
    )


@pytest.fixture
def written(tmp_path, job):
    path = tmp_path / "out.aod.root"
    path.write_bytes(b"some bytes")
    provenance.write_manifest(path, provenance=job, n_events=3, counters={"tof": {"hits": 2}}, warnings=["one"])
    return path


def test_collect_says_what_and_with_what(job):
    assert job["inputs"] == [
        {"name": "events.hepmc", "bytes": 6, "checksum": f"xxh3-128:{xxhash.xxh3_128(b'events').hexdigest()}"}
    ]
    assert {"flashdet", "numpy", "numba", "python", "platform"} <= set(job["software"])
    assert job["seed"] == 7
    json.dumps(job)


def test_reproducible_part_has_no_clock_and_no_command(job):
    assert set(job) - set(provenance.reproducible(job)) == {"command", "started"}


def test_manifest_says_what_happened_and_vouches_for_the_bytes(written):
    manifest = provenance.verify(written)
    assert manifest == provenance.read_manifest(written)
    assert manifest["output"]["checksum"] == f"xxh3-128:{xxhash.xxh3_128(b'some bytes').hexdigest()}"
    assert manifest["output"]["name"] == "out.aod.root"
    assert manifest["data_model"] == DATA_MODEL_VERSION
    assert manifest["n_events"] == 3
    assert manifest["counters"] == {"tof": {"hits": 2}}
    assert manifest["warnings"] == ["one"]
    assert manifest["provenance"]["seed"] == 7
    assert sorted(p.name for p in written.parent.iterdir()) == ["events.hepmc", "out.aod.root", "out.aod.root.json"]


def test_checksums_are_those_of_the_command_line_tools(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    # the value of the empty input in the test vectors of xxHash; FIPS 180-4 for SHA-256
    assert provenance.checksum_of(path) == "xxh3-128:99aa06d3014798d86001c324468d497f"
    assert provenance.checksum_of(path, "sha256") == f"sha256:{hashlib.sha256(b'').hexdigest()}"
    long = bytes(range(256)) * 3000  # several blocks
    path.write_bytes(long)
    assert provenance.checksum_of(path) == f"xxh3-128:{xxhash.xxh3_128(long).hexdigest()}"
    assert provenance.checksum_of(path, "sha256") == f"sha256:{hashlib.sha256(long).hexdigest()}"


def test_an_output_summed_up_by_sha256_is_checked_by_it(written, job):
    provenance.write_manifest(written, provenance=job, n_events=3, counters={}, algorithm="sha256")
    assert provenance.verify(written)["output"]["checksum"] == f"sha256:{hashlib.sha256(b'some bytes').hexdigest()}"
    written.write_bytes(b"some byteS")
    with pytest.raises(InputError, match=r"checksum is sha256:\w{64}, the manifest says"):
        provenance.verify(written)


def test_flipped_bit_and_other_size_are_found(written):
    written.write_bytes(b"some byteS")
    with pytest.raises(InputError, match=r"checksum is xxh3-128:\w{32}, the manifest says"):
        provenance.verify(written)
    written.write_bytes(b"some")
    with pytest.raises(InputError, match="has 4 bytes, the manifest says 10"):
        provenance.verify(written)
    written.unlink()
    with pytest.raises(InputError, match="no such file, only its manifest"):
        provenance.verify(written)


def test_missing_and_damaged_manifests(written):
    path = provenance.manifest_path(written)
    text = path.read_text()
    for damage in (text[:50], "[]", "{}", text.replace('"checksum"', '"sum"'), text.replace('"xxh3-128:', '7, "')):
        path.write_text(damage)
        with pytest.raises(InputError, match="manifest is damaged"):
            provenance.verify(written)
    path.write_text(text.replace('"manifest_version": 1', '"manifest_version": 2'))
    with pytest.raises(InputError, match="manifest version 2"):
        provenance.verify(written)
    path.write_text(text.replace('"xxh3-128:', '"md5:'))
    with pytest.raises(InputError, match="checksum by 'md5'; allowed: xxh3-128, sha256"):
        provenance.verify(written)
    path.unlink()
    with pytest.raises(InputError, match="no manifest beside"):
        provenance.verify(written)


def test_no_manifest_for_a_file_that_is_not_there(tmp_path, job):
    with pytest.raises(OutputError, match="cannot write the manifest"):
        provenance.write_manifest(tmp_path / "nothing", provenance=job, n_events=0, counters={})
    assert [p.name for p in tmp_path.iterdir()] == ["events.hepmc"]


def test_a_manifest_that_cannot_be_json_leaves_no_part(tmp_path, job):
    (tmp_path / "out").write_bytes(b"x")
    with pytest.raises(TypeError):
        provenance.write_manifest(tmp_path / "out", provenance=job, n_events=0, counters={"a": object()})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events.hepmc", "out"]


def test_extra_entries_cannot_replace_the_facts(written, job):
    provenance.write_manifest(written, provenance=job, n_events=3, counters={}, extra={"n_events": 99, "chunk": 4})
    manifest = provenance.read_manifest(written)
    assert manifest["n_events"] == 3
    assert manifest["chunk"] == 4
