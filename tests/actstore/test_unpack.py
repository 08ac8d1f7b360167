"""A single file as a folder again: the same bits, rows, labels and provenance, and a store like any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import actstore
from actstore import Captured, RowBatch, StoreError, Writer
from actstore.store.documents.write_place import WritePlace
from actstore.store.merging.unpack import unpack
from actstore.store.reading.single_file import examine
from actstore.store.verifying.verify import verify
from actstore.store.writing.pack import pack_store

FIRST_LABEL = 123_456
FROZEN = Path(__file__).parent / "frozen" / "version_1"


def bits(layer):
    return np.ascontiguousarray(layer.raw[:]).tobytes()


def same_rows(one, other):
    for what in ("ids", "splits", "groups", "positions"):
        before, now = getattr(one, what), getattr(other, what)
        assert (before is None) == (now is None)
        if before is not None:
            np.testing.assert_array_equal(before, now, strict=True)
    assert list(one.targets) == list(other.targets)
    for name, labels in one.targets.items():
        assert labels.dtype.kind == other.targets[name].dtype.kind
        np.testing.assert_array_equal(np.ma.getmaskarray(labels), np.ma.getmaskarray(other.targets[name]))
        assert labels.tolist() == other.targets[name].tolist()


def test_the_frozen_file_comes_back_bit_by_bit(tmp_path):
    with (
        actstore.open(FROZEN / "single.h5") as packed,
        unpack(FROZEN / "single.h5", tmp_path / "s.acts") as store,
    ):
        assert store.complete
        assert store.steps == packed.steps
        assert list(store.layers) == list(packed.layers)
        for name, layer in packed.layers.items():
            found = store.layers[name]
            assert (found.stored_dtype, found.shape, found.axes) == (
                layer.stored_dtype,
                layer.shape,
                layer.axes,
            )
            assert bits(found) == bits(layer)
        same_rows(packed, store)
        assert store.provenance == packed.provenance
        assert dict(store.nonfinite) == dict(packed.nonfinite)
    assert verify(tmp_path / "s.acts").damages == []


def test_the_hashes_of_blocks_are_those_of_the_file(tmp_path):
    """The activations carry the hashes that they were written with: nothing came between."""
    unpack(FROZEN / "single.h5", tmp_path / "s.acts").close()
    packed = examine(FROZEN / "single.h5").contents.parts[0].extents
    with actstore.open(tmp_path / "s.acts") as store:
        (part,) = store.catalog.base.parts
        for path, extent in part.extents.items():
            if path.startswith("layers/"):
                assert extent.hashes == packed[path].hashes


def batch(first, rows, **more):
    data = np.arange(first * 3, (first + rows) * 3, dtype="f4").reshape(rows, 3)
    ids = [f"r{row}" for row in range(first, first + rows)]
    return RowBatch({"a": Captured(data, "float32", ("f",))}, ids, ["train"] * rows, more.get("targets", {}))


@pytest.fixture
def packed(tmp_path):
    """`s.h5` of one rank, beside the folder that it was packed from."""
    with Writer(tmp_path / "s.acts", provenance={"command": "made", "model": {"weights": "x:1"}}) as writer:
        writer.append(batch(0, 10, targets={"y": np.arange(10) % 2}))
    with actstore.open(tmp_path / "s.acts") as store:
        store.attach("later", np.ma.MaskedArray(FIRST_LABEL + np.arange(10), mask=np.arange(10) == 3))
    pack_store(tmp_path / "s.acts", tmp_path / "s.h5")
    return tmp_path


def test_there_and_back_is_the_same_store(packed):
    with unpack(packed / "s.h5", packed / "back.acts") as back, actstore.open(packed / "s.acts") as store:
        assert back.fingerprint == store.fingerprint
        same_rows(store, back)
        assert back.targets["later"][3] is np.ma.masked
    pack_store(packed / "back.acts", packed / "again.h5")
    assert (packed / "again.h5").read_bytes() == (packed / "s.h5").read_bytes()


def test_steps_and_labels_can_be_added(packed):
    store = unpack(packed / "s.h5", packed / "back.acts")
    store.attach("colour", ["red", "blue"] * 5)
    with Writer(packed / "back.acts", place=WritePlace(7)) as writer:
        writer.append(batch(0, 10, targets={"y": np.arange(10) % 2}))
    with actstore.open(packed / "back.acts") as opened:
        assert opened.steps == [0, 7]
        assert opened.targets["colour"].tolist() == ["red", "blue"] * 5
    assert verify(packed / "back.acts").damages == []
    with pytest.raises(StoreError, match="rows"), Writer(packed / "back.acts", place=WritePlace(8)) as writer:
        writer.append(batch(1, 10))


def test_a_file_of_several_ranks_and_a_cast_comes_back_too(tmp_path):
    for rank in range(2):
        with Writer(tmp_path / "s.acts", place=WritePlace(None, rank, 2, 5 * rank, 5)) as writer:
            writer.append(batch(5 * rank, 5))
    pack_store(tmp_path / "s.acts", tmp_path / "s.h5", dtype="bfloat16")
    with actstore.open(tmp_path / "s.h5") as packed, unpack(tmp_path / "s.h5", tmp_path / "b.acts") as back:
        assert back.layers["a"].stored_dtype == "bfloat16"
        assert bits(back.layers["a"]) == bits(packed.layers["a"])
        assert back.provenance == packed.provenance
    assert verify(tmp_path / "b.acts").damages == []


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("s.acts", "b.acts", "s.acts is a folder already; unpack takes a single file"),
        ("none.h5", "b.acts", "none.h5 cannot be opened"),
        ("s.h5", "b.h5", "b.h5 is not the name of a folder of a store; expected NAME.acts"),
        ("s.h5", "s.acts", "s.acts already exists"),
        ("s.h5", "no/b.acts", "there is no folder"),
        ("other.h5", "b.acts", "other.h5 is another HDF5 file"),
        ("s.acts/steps/0/rank-0000/shard-000000.h5", "b.acts", "is one shard of a store: open its folder"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(packed, monkeypatch, source, out, message):
    import h5py

    monkeypatch.chdir(packed)
    with h5py.File("other.h5", "w") as file:
        file["x"] = np.zeros(3)
    before = sorted(os.listdir())
    with pytest.raises(StoreError, match=message):
        unpack(source, out)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("where", ["activation", "id", "label"])
def test_damage_is_found_on_the_way_and_nothing_is_left(packed, where):
    data = bytearray((packed / "s.h5").read_bytes())
    sought = {
        "activation": np.float32(29).tobytes(),
        "id": b"r7",
        "label": np.int64(FIRST_LABEL + 9).tobytes(),
    }[where]
    data[bytes(data).index(sought)] ^= 1
    (packed / "s.h5").write_bytes(data)
    before = sorted(os.listdir(packed))
    with pytest.raises(StoreError):
        unpack(packed / "s.h5", packed / "b.acts")
    assert sorted(os.listdir(packed)) == before


def test_a_disk_that_takes_no_more_leaves_nothing(packed):
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
        "from cli.main import actstore\n"
        "actstore(['unpack', 's.h5', '-o', 'b.acts'])\n"
    )
    before = sorted(os.listdir(packed))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=packed, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "b.acts cannot be written" in done.stderr
    assert sorted(os.listdir(packed)) == before


@pytest.mark.parametrize("sought", [b"r7", np.int64(FIRST_LABEL + 9).tobytes()], ids=["id", "label"])
def test_pack_gives_damaged_rows_no_hash_that_fits(packed, sought):
    """Ids and labels are written anew: without a look at their hashes, damage would be vouched for."""
    for path in (packed / "s.acts").rglob("*.h5"):
        data = bytearray(path.read_bytes())
        if sought in data:
            data[bytes(data).index(sought)] ^= 1
            path.write_bytes(data)
    with pytest.raises(StoreError, match=r"is damaged: .* is not what was written"):
        pack_store(packed / "s.acts", packed / "again.h5")
    assert not (packed / "again.h5").exists()
