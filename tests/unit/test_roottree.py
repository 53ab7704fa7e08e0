"""Trees as bytes: every kind of branch comes back through uproot, whatever compresses them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import awkward as ak
import numpy as np
import pytest
from writer_events import jagged

from flashdet.io import rootfile
from flashdet.io.rootpack import Lists, Scratch
from flashdet.io.roottree import Tree, add_trees, write_chunk, write_trees

N = 300
DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


def content():
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 4, N)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    branches = {f"f{np.dtype(d).name}": rng.integers(0, 100, N).astype(d) for d in DTYPES}
    branches["fMissing"] = np.where(rng.random(N) < 0.5, np.nan, 1).astype(np.float32)
    branches["fCov"] = rng.normal(size=(N, 15)).astype(np.float32)
    branches["fSlice"] = rng.integers(-1, 9, (N, 2)).astype(np.int32)
    branches["fLists"] = Lists(offsets, rng.integers(-5, 5, offsets[-1]).astype(np.int32))
    return branches


def write(path, trees, pool=None, directories=1, compression="fast"):
    with path.open("w+b") as file:
        root = rootfile.RootFile(file, "{}")
        for i in range(directories):
            directory = root.mkdir(f"DF_{i}")
            write_trees(directory, trees, Scratch(), compression, pool)
            directory.close()
        root.close()
    return path.read_bytes()


def assert_content(tree, branches):
    for name, values in branches.items():
        found = tree[name].array()
        if isinstance(values, Lists):
            np.testing.assert_array_equal(ak.num(found), np.diff(values.offsets))
            np.testing.assert_array_equal(tree[f"{name}_size"].array(), np.diff(values.offsets))
            np.testing.assert_array_equal(ak.flatten(found), values.content)
        else:
            assert tree[name].interpretation.to_dtype.newbyteorder("=").base == values.dtype
            np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("compression", ["fast", "small"])
def test_every_kind_of_branch_comes_back(tmp_path, compression):
    branches = content()
    path = tmp_path / "o.root"
    write(path, {"a": branches, "b": {"x": np.arange(5)}}, directories=3, compression=compression)
    with rootfile.open_for_reading(path) as root:
        for i in range(3):
            assert root[f"DF_{i}"].keys(cycle=False) == ["a", "b"]
            assert root[f"DF_{i}/a"].num_entries == N
            assert_content(root[f"DF_{i}/a"], branches)
            np.testing.assert_array_equal(root[f"DF_{i}/b/x"].array(), np.arange(5))


def test_uproot_writes_the_same_branches(tmp_path):
    # the description of a tree by an independent writer, compared member by member
    branches = content()
    write(tmp_path / "ours.root", {"a": branches})
    import uproot

    with uproot.recreate(tmp_path / "theirs.root") as file:
        types = {k: "var * int32" if isinstance(v, Lists) else (v.dtype, v.shape[1:]) for k, v in branches.items()}
        tree = file.mktree("DF_0/a", types, title="a", counter_name=lambda name: f"{name}_size")
        tree.extend({k: jagged(v.offsets, v.content) if isinstance(v, Lists) else v for k, v in branches.items()})
    with rootfile.open_for_reading(tmp_path / "ours.root") as one, uproot.open(tmp_path / "theirs.root") as other:
        ours, theirs = one["DF_0/a"], other["DF_0/a"]
        assert [b.name for b in ours.branches] == [b.name for b in theirs.branches]
        for mine, yours in zip(ours.branches, theirs.branches, strict=True):
            for member in ("fTitle", "fEntries", "fTotBytes", "fEntryOffsetLen", "fBasketSize", "fWriteBasket"):
                assert mine.member(member) == yours.member(member), (mine.name, member)
            leaf, other_leaf = mine.member("fLeaves")[0], yours.member("fLeaves")[0]
            for member in ("fTitle", "fLen", "fLenType", "fIsRange", "fIsUnsigned", "fMinimum", "fMaximum"):
                assert leaf.member(member) == other_leaf.member(member), (mine.name, member)
            assert mine.member("fBasketBytes")[0] == mine.compressed_bytes


def test_bytes_do_not_depend_on_threads(tmp_path):
    trees = {"a": content(), "b": content()}
    alone = write(tmp_path / "one.root", trees)
    with ThreadPoolExecutor(3) as pool:
        assert write(tmp_path / "many.root", trees, pool) == alone


def test_a_tree_without_rows_has_its_branches(tmp_path):
    branches = {k: Lists(v.offsets[:1], v.content[:0]) if isinstance(v, Lists) else v[:0] for k, v in content().items()}
    write(tmp_path / "o.root", {"a": branches})
    with rootfile.open_for_reading(tmp_path / "o.root") as root:
        assert root["DF_0/a"].num_entries == 0
        assert set(root["DF_0/a"].keys()) == {*branches, "fLists_size"}


@pytest.mark.parametrize("values", [np.zeros(5_000_000, np.float32), np.arange(10**6, dtype=np.uint64) * 2654435761**2])
def test_large_baskets(tmp_path, values):
    # over 16 MB a basket has several compressed blocks; noise stays as it is
    write(tmp_path / "o.root", {"a": {"x": values}})
    with rootfile.open_for_reading(tmp_path / "o.root") as root:
        np.testing.assert_array_equal(root["DF_0/a/x"].array(), values)
        assert root["DF_0/a/x"].compressed_bytes <= values.nbytes + 200


@pytest.mark.parametrize("compression", ["fast", "small"])
def test_noise_is_stored_uncompressed_and_repetition_is_not(compression):
    rng = np.random.default_rng(1)
    out = np.zeros(200_000, np.uint8)
    noise = rng.integers(0, 2**32, 10_000, np.uint32)
    for values, most in (
        (noise, 40_000),
        (np.zeros(10_000, np.uint32), 400),
        (noise % 7, {"fast": 14_000, "small": 8000}[compression]),
        (noise > 1 << 30, {"fast": 6000, "small": 3000}[compression]),
    ):
        tree = Tree("t", compression)
        rows = tree.prepare({"x": values})
        n_key = len(rows.heads.raw)
        end = tree.pack(rows, out, 5)
        assert end - 5 - n_key <= most
        if values is noise:
            assert out[5 + n_key : end].tobytes() == noise.byteswap().tobytes()


@pytest.mark.parametrize("compression", ["fast", "small"])
def test_trees_of_several_chunks(tmp_path, compression):
    # each chunk is a basket of every branch; a counter may belong to several branches
    rng = np.random.default_rng(5)
    chunks = []
    for n in (40, 1, 0, 700):
        offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 30, n))]).astype(np.int64)
        values = rng.normal(size=offsets[-1]).astype(np.float32)
        with_gaps = np.where(rng.random(offsets[-1]) < 0.5, np.nan, values).astype(np.float32)
        flags = rng.random(offsets[-1]) < 0.5
        lists = {k: Lists(offsets, v, "nHit") for k, v in (("a", values), ("b", with_gaps), ("c", flags))}
        chunks.append({"nHit": np.diff(offsets).astype(np.int32), **lists, "x": rng.normal(size=n)})
    tree, scratch = Tree("Events", compression), Scratch()
    with (tmp_path / "o.root").open("w+b") as file:
        root = rootfile.RootFile(file, "{}")
        for chunk in chunks:
            rows = tree.prepare(chunk)
            buffer = scratch.take(rows.room)
            write_chunk(root, tree, buffer, 0, tree.pack(rows, buffer, 0))
        add_trees(root, [tree])
        root.close()
    with rootfile.open_for_reading(tmp_path / "o.root") as root:
        assert root["Events"].num_entries == 741
        assert root["Events/a"].num_baskets == 3
        for name in chunks[0]:
            found = ak.flatten(root[f"Events/{name}"].array(), axis=None)
            want = [c[name].content if isinstance(c[name], Lists) else c[name] for c in chunks]
            np.testing.assert_array_equal(found, np.concatenate(want), err_msg=name)
        np.testing.assert_array_equal(ak.num(root["Events/b"].array()), root["Events/nHit"].array())
        assert root["Events/nHit"].member("fLeaves")[0].member("fMaximum") == max(
            c["nHit"].max(initial=0) for c in chunks
        )


def test_branches_of_later_chunks_must_be_the_same():
    tree, buffer = Tree("t"), np.zeros(10_000, np.uint8)
    tree.pack(tree.prepare({"x": np.arange(5)}), buffer, 0)
    with pytest.raises(ValueError, match="differ"):
        tree.prepare({"y": np.arange(5)})


@pytest.mark.parametrize("n", [0, 1, 2, 5, 31])
def test_columns_need_not_be_contiguous_nor_whole_words(tmp_path, n):
    wide = np.random.default_rng(1).integers(0, 255, (n, 3))
    branches = {f"f{d}": wide[:, i].astype(d)[::-1] for i, d in enumerate(("u1", "i2", "i8"))} | {"b": wide[:, 0] > 9}
    offsets = np.arange(n + 1, dtype=np.int64)
    branches["l"] = Lists(offsets, wide[:, 1].astype(np.int16)[::-1])
    write(tmp_path / "o.root", {"a": branches})
    with rootfile.open_for_reading(tmp_path / "o.root") as root:
        assert_content(root["DF_0/a"], branches)
