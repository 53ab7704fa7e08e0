"""ROOT files without uproot: what uproot reads back, beyond 2 GB too, and what a job that dies leaves behind."""

from __future__ import annotations

import json
import uuid

import numpy as np
import pytest
import uproot

from flashdet.io.rootfile import HEADER, RootFile, open_for_reading
from flashdet.io.rootpack import Scratch
from flashdet.io.roottree import write_trees


def write(path, header="{}", start=0, directories=("DF_1", "DF_2")):
    with path.open("w+b") as file:
        root = RootFile(file, header)
        # a hole in the file: positions as in a large one
        root.end += start
        for i, name in enumerate(directories):
            directory = root.mkdir(name)
            write_trees(directory, {"a": {"x": np.arange(5) + i}, "b": {"y": np.zeros(3)}}, Scratch())
            directory.close()
        root.close()
    return path


@pytest.mark.parametrize("start", [0, 5 << 30])
def test_directories_trees_and_header_come_back(tmp_path, start):
    header = json.dumps({"text": "x" * 1000})
    with open_for_reading(write(tmp_path / "o.root", header, start)) as root:
        assert root.keys(cycle=False) == [HEADER, "DF_1", "DF_1/a", "DF_1/b", "DF_2", "DF_2/a", "DF_2/b"]
        assert root.classnames(cycle=False)["DF_2"] == "TDirectory"
        assert str(root[HEADER]) == header
        for i in (1, 2):
            np.testing.assert_array_equal(root[f"DF_{i}/a/x"].array(), np.arange(5) + i - 1)
        assert root.file.fEND == (tmp_path / "o.root").stat().st_size
        assert root.file.streamer_named("TObjString") is not None


def test_uproot_describes_its_text_in_the_same_way(tmp_path):
    write(tmp_path / "ours.root")
    with uproot.recreate(tmp_path / "theirs.root") as file:
        file[HEADER] = "{}"
    with open_for_reading(tmp_path / "ours.root") as one, open_for_reading(tmp_path / "theirs.root") as other:
        ours, theirs = one.file.streamer_named("TObjString"), other.file.streamer_named("TObjString")
        assert (ours.class_version, ours.member("fCheckSum")) == (theirs.class_version, theirs.member("fCheckSum"))
        for mine, yours in zip(ours.elements, theirs.elements, strict=True):
            assert mine.all_members.keys() == yours.all_members.keys()
            for name in ("fName", "fTitle", "fType", "fSize", "fTypeName"):
                assert mine.member(name) == yours.member(name)


def test_others_can_add_to_the_file(tmp_path):
    path = write(tmp_path / "o.root")
    with uproot.update(path) as file:
        file["more"] = "added"
    with open_for_reading(path) as root:
        assert str(root["more"]) == "added"
        np.testing.assert_array_equal(root["DF_2/a/x"].array(), np.arange(5) + 1)


def test_bytes_depend_on_the_content_alone(tmp_path):
    one, other = (write(tmp_path / name, header).read_bytes() for name, header in (("1", "{}"), ("2", "{}")))
    assert one == other
    with open_for_reading(write(tmp_path / "3", '{"a":1}')) as root, open_for_reading(tmp_path / "1") as before:
        assert root.file.uuid != before.file.uuid
        assert uuid.UUID(str(root.file.uuid)).version == 4


def test_a_file_that_is_not_closed_is_none(tmp_path):
    with (tmp_path / "o.root").open("w+b") as file:
        root = RootFile(file, "{}")
        write_trees(root.mkdir("DF_1"), {"a": {"x": np.arange(5)}}, Scratch())
    with pytest.raises(ValueError, match="not a ROOT file"):
        open_for_reading(tmp_path / "o.root")
