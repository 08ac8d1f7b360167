"""Layers as files of others: the same bits, streamed, whole or not there; and back again by import."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

import actstore
from actstore import Captured, LayerError, RowBatch, StoreError, Writer
from actstore.exchange import ImportSettings, import_files
from actstore.exchange.export import export
from actstore.formats import safetensors
from actstore.store.documents import records

BITS = np.random.default_rng(1).integers(0, 2**16, (50, 7)).astype(np.uint16)
ARRAYS = {
    "wide": (np.random.default_rng(0).normal(size=(50, 30, 4)).astype(np.float32), "float32"),
    "brain": (BITS, "bfloat16"),
    "half/1": (BITS.view(np.float16), "float16"),
    "flag": (np.arange(50) % 3 == 0, "bool"),
    "count": (np.arange(50) - 7, "int64"),
    "empty": (np.empty((50, 0, 3)), "float64"),
}
KNOWN = {
    "targets": {
        "word": np.array(["a", "bb", "ünï"] * 16 + ["a", "a"]),
        "maybe": np.ma.masked_less(np.arange(50) % 7, 2),
        "yes": np.arange(50) % 2 == 0,
    },
    "groups": [f"g{row // 9}" for row in range(50)],
    "positions": [row % 9 for row in range(50)],
}


@pytest.fixture
def store(tmp_path, small_blocks):
    """Several shards, and several blocks of the wide layer."""
    layers = {
        name: Captured(array, dtype, tuple("ab"[: array.ndim - 1])) for name, (array, dtype) in ARRAYS.items()
    }
    splits = ["train"] * 30 + ["tést"] * 20
    with Writer(tmp_path / "s.acts", shard_bytes=10_000, row_unit="token") as writer:
        writer.append(RowBatch(layers, [f"id {row}" for row in range(50)], splits, **KNOWN))
        return writer.finish()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(records, "HASH_BLOCK_BYTES", 1500)


def wide(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("name", ARRAYS)
def test_npy(store, tmp_path, name):
    done = export(store, [name], tmp_path / "x.npy")
    array, dtype = ARRAYS[name]
    expected = wide(array) if dtype == "bfloat16" else array
    found = np.load(tmp_path / "x.npy", mmap_mode=None if not array.size else "r")
    np.testing.assert_array_equal(found.reshape(-1).view(np.uint8), expected.reshape(-1).view(np.uint8))
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert done.widened == (("brain",) if name == "brain" else ())
    assert (done.rows, done.file_bytes) == (50, (tmp_path / "x.npy").stat().st_size)


def test_npz_of_one_layer(store, tmp_path):
    export(store, ["wide"], tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as archive:
        found = dict(archive)
    assert list(found) == [
        *("activations", "ids", "splits", "groups", "positions"),
        *("target:word", "target:maybe", "target:maybe:missing", "target:yes", "row_unit", "layer"),
    ]
    np.testing.assert_array_equal(found["activations"], ARRAYS["wide"][0], strict=True)
    for name in ("ids", "splits", "groups", "positions"):
        np.testing.assert_array_equal(found[name], getattr(store, name), strict=True)
    np.testing.assert_array_equal(found["target:word"], KNOWN["targets"]["word"])
    np.testing.assert_array_equal(found["target:maybe:missing"], KNOWN["targets"]["maybe"].mask, strict=True)
    present = ~found["target:maybe:missing"]
    np.testing.assert_array_equal(found["target:maybe"][present], KNOWN["targets"]["maybe"].data[present])
    assert (found["row_unit"][()], found["layer"][()]) == ("token", "wide")


def test_npz_without_groups(write_store, tmp_path):
    export(write_store("plain.h5"), ["fc", "norm"], tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as archive:
        assert archive.files == ["fc", "norm", "ids", "splits", "target:digit", "row_unit"]


def same(first, second, names):
    for name in names:
        one, two = first.layers[name].raw[:], second.layers[name].raw[:]
        assert first.layers[name].stored_dtype == second.layers[name].stored_dtype
        assert one.tobytes() == two.tobytes()
        assert one.shape == two.shape


@pytest.mark.parametrize("names", [["wide"], ["half/1", "flag", "count", "empty", "wide"]])
@pytest.mark.parametrize("end", ["acts", "h5"])
def test_an_npz_comes_back_as_the_store_it_was(store, tmp_path, names, end):
    export(store, names, tmp_path / "x.npz")
    back = import_files([f"{tmp_path}/x.npz"], tmp_path / f"back.{end}")
    assert (list(back.layers), back.row_unit) == (names, "token")
    same(store, back, names)
    for name in ("ids", "splits", "groups", "positions"):
        np.testing.assert_array_equal(getattr(back, name), getattr(store, name), strict=True)
    assert list(back.targets) == list(store.targets)
    for name, labels in store.targets.items():
        assert back.targets[name].dtype == labels.dtype
        np.testing.assert_array_equal(np.ma.getmaskarray(back.targets[name]), np.ma.getmaskarray(labels))
        assert np.ma.compressed(back.targets[name]).tolist() == np.ma.compressed(labels).tolist()


def test_two_exports_of_the_same_rows_go_side_by_side_and_others_do_not(store, tmp_path):
    export(store, ["wide"], tmp_path / "a.npz")
    export(store, ["count"], tmp_path / "b.npz")
    back = import_files([f"{tmp_path}/a.npz", f"{tmp_path}/b.npz"], tmp_path / "back.acts")
    same(store, back, ["wide", "count"])
    assert back.ids.tolist() == store.ids.tolist()
    with np.load(tmp_path / "b.npz") as archive:
        found = dict(archive)
    for name, change in [
        ("ids", lambda v: v[::-1]),
        ("target:maybe:missing", np.logical_not),
        ("positions", lambda v: v + 1),
    ]:
        np.savez(tmp_path / "c.npz", **{**found, name: change(found[name])})
        what = "targets" if name.startswith("target") else name
        with pytest.raises(actstore.SourceError, match=rf"c\.npz says other {what} than the file beside it"):
            import_files([f"{tmp_path}/a.npz", f"{tmp_path}/c.npz"], tmp_path / "other.acts")


def test_a_split_that_is_named_stands_above_the_files(store, tmp_path):
    export(store, ["wide"], tmp_path / "x.npz")
    back = import_files([f"val={tmp_path}/x.npz"], tmp_path / "back.acts")
    assert set(back.splits) == {"val"}
    assert back.ids.tolist() == store.ids.tolist()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "ids",
            np.arange(5),
            "x.npz:ids is of dtype int64 where text is needed; names that an export gives",
        ),
        ("ids", np.array(["a"] * 4), r"x.npz:ids has shape \(4,\) where the layers have 5 rows"),
        ("positions", np.zeros((5, 2)), r"x.npz:positions has shape \(5, 2\)"),
        ("row_unit", np.array(["token"]), r"x.npz:row_unit has shape \(1,\)"),
        ("row_unit", np.array("pixel"), "the files hold rows of 'pixel'; say what a row is with --row"),
        ("target:a", np.zeros(3), r"x.npz:target:a has shape \(3,\)"),
    ],
)
def test_names_of_an_export_that_hold_something_else(tmp_path, name, array, message):
    np.savez(tmp_path / "x.npz", x=np.zeros((5, 2)), **{name: array})
    with pytest.raises(actstore.SourceError, match=message):
        import_files([f"{tmp_path}/x.npz"], tmp_path / "o.acts")
    assert import_files([f"{tmp_path}/x.npz:x"], tmp_path / "o.acts").rows == 5


def read_safetensors(path):
    """By the format's own words."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    spans = {name: (entry["data_offsets"], entry["dtype"], entry["shape"]) for name, entry in header.items()}
    ordered = sorted(span for span, _, _ in spans.values())
    assert ordered[0][0] == 0
    assert all(first[1] == second[0] for first, second in itertools.pairwise(ordered))
    assert ordered[-1][1] == len(data) - 8 - length
    return {
        name: (data[8 + length + a : 8 + length + b], dtype, shape)
        for name, ((a, b), dtype, shape) in spans.items()
    }, metadata


def test_safetensors(store, tmp_path):
    done = export(store, list(ARRAYS), tmp_path / "x.safetensors")
    assert done.widened == ()
    found, metadata = read_safetensors(tmp_path / "x.safetensors")
    codes = dict(zip(ARRAYS, ["F32", "BF16", "F16", "BOOL", "I64", "F64"], strict=True))
    for name, (array, _) in ARRAYS.items():
        assert found[name] == (array.tobytes(), codes[name], list(array.shape))
    assert metadata == {
        "rows": "50",
        "row_unit": "token",
        "splits": json.dumps({"train": 30, "tést": 20}),
        "targets": "3",
        "fingerprint": store.fingerprint,
    }
    back = import_files([f"{tmp_path}/x.safetensors"], tmp_path / "back.acts", ImportSettings(row_unit="token"))
    same(store, back, ARRAYS)


def test_every_tensor_is_aligned_to_its_items(store, tmp_path):
    export(store, ["flag", "half/1", "wide", "count"], tmp_path / "x.safetensors")
    for tensor in safetensors.read_header(tmp_path / "x.safetensors"):
        assert tensor.offset % np.dtype(tensor.dtype).itemsize == 0


def test_the_safetensors_package_agrees(store, tmp_path):
    package = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    export(store, ["wide", "count"], tmp_path / "x.safetensors")
    found = package.load_file(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(found["wide"], ARRAYS["wide"][0], strict=True)


# -- refusals


@pytest.mark.parametrize(
    ("name", "layers", "message"),
    [
        (
            "x.csv",
            ["wide"],
            r"x\.csv is not the name of an export; expected NAME\.npy, NAME\.npz, NAME\.safetensors",
        ),
        ("x.npy", ["wide", "flag"], r"x\.npy: 2 layers were asked for; expected one, or several for \.npz"),
        ("x.npz", [], r"x\.npz: 0 layers were asked for"),
        ("none/x.npy", ["wide"], "there is no folder .*none. Make it first"),
        ("s.acts/x.npy/", ["wide"], r"x\.npy"),
    ],
)
def test_what_can_not_be_exported(store, tmp_path, name, layers, message):
    if name.endswith("/"):
        (tmp_path / name).mkdir()
        message = "is in the way: a folder of that name"
    with pytest.raises(StoreError, match=message):
        export(store, layers, tmp_path / name)


def test_an_unknown_layer(store, tmp_path):
    with pytest.raises(LayerError, match="there is no layer 'wid' in this store; nearest of 6: 'wide'"):
        export(store, ["wid"], tmp_path / "x.npy")


def test_an_existing_file_is_kept_without_overwrite(store, tmp_path):
    (tmp_path / "x.npy").write_text("mine")
    with pytest.raises(
        StoreError, match=r"x\.npy already exists; pass overwrite=True \(--overwrite\) to replace"
    ):
        export(store, ["wide"], tmp_path / "x.npy")
    assert (tmp_path / "x.npy").read_text() == "mine"
    with pytest.raises(StoreError, match=r"x\.npy is not a file that this command writes"):
        export(store, ["wide"], tmp_path / "x.npy", overwrite=True)
    np.save(tmp_path / "x.npy", np.zeros(3))
    export(store, ["wide"], tmp_path / "x.npy", overwrite=True)
    assert np.load(tmp_path / "x.npy").shape == (50, 30, 4)


def test_an_unfinished_store_is_not_exported(tmp_path, batch_of):
    writer = Writer(tmp_path / "out.acts", shard_bytes=1000)
    writer.append(batch_of(20))
    writer.abandon()
    with pytest.raises(StoreError, match=r"out\.acts is unfinished; only a complete store is exported"):
        export(actstore.open(tmp_path / "out.acts"), ["conv1"], tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("layers", "targets", "name", "message"),
    [
        (
            ["ids", "a"],
            {},
            "x.npz",
            "layer 'ids' has a name that an .npz keeps for the rows; export it by itself",
        ),
        (["target:x", "a"], {}, "x.npz", "layer 'target:x' has a name that an .npz keeps"),
        (
            ["__metadata__"],
            {},
            "x.safetensors",
            "layer '__metadata__' has a name that a .safetensors file keeps",
        ),
        (
            ["a"],
            {"t": np.ma.masked_equal([0, 1], 1), "t:missing": np.array([1, 2])},
            "x.npz",
            "target 't' lacks labels, and 't:missing' is a target too; rename that one",
        ),
    ],
)
def test_names_that_would_stand_for_two_things(tmp_path, layers, targets, name, message):
    with Writer(tmp_path / "n.acts") as writer:
        batch = {layer: Captured(np.zeros((2, 3)), "float64", ("f",)) for layer in layers}
        writer.append(RowBatch(batch, ["0", "1"], ["", ""], targets))
        store = writer.finish()
    with pytest.raises(StoreError, match=message):
        export(store, layers, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["n.acts"]


# -- the disk


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
def test_a_disk_without_room_is_seen_before_anything_is_written(store, tmp_path, monkeypatch, name):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    monkeypatch.setattr(os, "pwrite", None)
    with pytest.raises(StoreError, match=rf"{name} needs 24,000 bytes, and 1,000 are free there\. Make room"):
        export(store, ["wide"], tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["s.acts"]


@pytest.mark.parametrize("calls", [0, 1, 5, 16])
@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
def test_a_disk_that_fills_up_leaves_what_was_there(store, tmp_path, monkeypatch, name, calls):
    export(store, ["count"], tmp_path / name)
    before = (tmp_path / name).read_bytes()
    pwrite, done = os.pwrite, []

    def filling(fd, data, offset):
        done.append(1)
        if len(done) > calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", filling)
    message = rf"{name} cannot be written: No space left on device\. Make room there, or write elsewhere"
    with pytest.raises(StoreError, match=message) as caught:
        export(store, ["wide"], tmp_path / name, overwrite=True)
    assert "\n" not in str(caught.value)
    assert (tmp_path / name).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"s.acts", name}


GROWTH = """
import resource, sys
import actstore
from actstore.formats import safetensors
from actstore.exchange.export import export
export(actstore.open(sys.argv[1]), ["a"], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors"])
def test_memory_does_not_grow_with_a_layer(tmp_path, name):
    peaks = []
    for mebibytes in (20, 120):
        with Writer(tmp_path / f"{mebibytes}.acts", shard_bytes=8 * 2**20) as writer:
            for first in range(0, mebibytes * 16, 16):
                rows = {"a": Captured(np.zeros((16, 2**14), np.float32), "float32", ("f",))}
                writer.append(RowBatch(rows, [str(first + row) for row in range(16)], [""] * 16))
        command = [
            sys.executable,
            "-c",
            GROWTH,
            str(tmp_path / f"{mebibytes}.acts"),
            str(tmp_path / f"{mebibytes}-{name}"),
        ]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 16 * 2**20
