"""What is known of each row: ids, splits, groups, labels; and what is known of them all."""

from __future__ import annotations

import numpy as np
import pytest

import actstore
from actstore import Captured, RowBatch, Writer
from actstore.errors import TargetError


@pytest.fixture(params=["store.acts", "store.h5"])
def store(request, write_store):
    """Forty rows, in shards or in one file."""
    return write_store(request.param)


def test_an_unknown_target_names_those_that_are_there(store):
    with pytest.raises(TargetError, match="there is no target 'colour' in this store; nearest of 1: 'digit'"):
        store.targets["colour"]


def test_the_row_table_comes_back(store):
    assert store.ids.tolist() == [f"row/{row}" for row in range(40)]
    assert store.splits.tolist() == ["train" if row % 3 else "test" for row in range(40)]
    assert (store.groups, store.positions, store.row_unit, store.rows) == (None, None, "example", 40)
    assert store.complete
    assert repr(store) == f"<Store {store.path.name!r}: 40 rows, 4 layers>"


@pytest.mark.parametrize("name", ["tokens.acts", "tokens.h5"])
def test_groups_positions_and_provenance_come_back(tmp_path, batch_of, name):
    provenance = {"command": "dump é", "versions": {"numpy": "2"}, "sizes": [1, 2.5, None, True]}
    with Writer(tmp_path / name, row_unit="token", provenance=provenance, shard_bytes=1000) as writer:
        for first in range(0, 30, 10):
            groups = [f"sentence {(first + row) // 4}" for row in range(10)]
            positions = [(first + row) % 4 for row in range(10)]
            writer.append(batch_of(10, first, groups=groups, positions=positions))
        writer.note(weights="abc", command="later")
    store = actstore.open(tmp_path / name)
    assert store.row_unit == "token"
    assert store.groups.tolist() == [f"sentence {row // 4}" for row in range(30)]
    np.testing.assert_array_equal(store.positions, np.arange(30) % 4, strict=True)
    assert store.provenance == {**provenance, "weights": "abc", "command": "later"}


LABELS = {
    "int64": np.array([5, -3, 2**62, 5]),
    "uint8": np.array([1, 255, 0, 1], np.uint8),
    "uint64": np.array([2**64 - 1, 0, 7, 7], np.uint64),
    "big endian": np.array([1, 2, 3, 258], ">i4"),
    "bool": np.array([True, False, False, True]),
    "text": np.array(["chat", "été", "", "日本語"]),
    "objects": np.array(["a", "bc", "a", ""], object),
    "masked": np.ma.MaskedArray([1, 2, 3, 4], mask=[0, 1, 0, 1]),
    "masked text": np.ma.MaskedArray(["a", "b", "c", "d"], mask=[1, 1, 1, 0]),
    "all masked": np.ma.MaskedArray([1, 2, 3, 4], mask=True),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("name", ["labels.acts", "labels.h5"])
def test_labels_come_back_with_their_dtype(tmp_path, batch_of, name, labels):
    with Writer(tmp_path / name, shard_bytes=400) as writer:
        writer.append(batch_of(4, targets={"any/thing": labels, "..": np.arange(4)}))
    read = actstore.open(tmp_path / name).targets["any/thing"]
    expected = labels.astype(str) if labels.dtype == object else labels
    assert read.dtype.kind == expected.dtype.kind
    assert read.dtype.kind == "U" or read.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(np.ma.getmaskarray(read), np.ma.getmaskarray(expected))
    assert np.ma.asarray(read).tolist() == np.ma.asarray(expected).tolist()
    assert isinstance(read, np.ma.MaskedArray) == isinstance(labels, np.ma.MaskedArray)


@pytest.mark.parametrize("name", ["splits.acts", "splits.h5"])
def test_splits_may_have_targets_of_their_own(tmp_path, batch_of, name):
    with Writer(tmp_path / name, shard_bytes=1000) as writer:
        writer.append(batch_of(10, targets={"digit": np.arange(10, dtype=np.int32)}))
        writer.append(batch_of(10, 10, targets={"colour": np.array(["red", "green"] * 5)}))
        writer.append(batch_of(10, 20, targets={"digit": np.arange(10) + 2**40}))
    targets = actstore.open(tmp_path / name).targets
    assert targets["digit"].tolist() == [*range(10), *[None] * 10, *range(2**40, 2**40 + 10)]
    assert targets["digit"].dtype == np.int64
    assert targets["colour"].tolist() == [*[None] * 10, *["red", "green"] * 5, *[None] * 10]


@pytest.mark.parametrize("name", ["bad.acts", "bad.h5"])
def test_rows_with_nan_or_infinity_are_counted(tmp_path, name):
    halves = np.zeros((40, 3), np.float16)
    halves[[3, 20], [0, 1]] = np.inf, np.nan
    halves[20, 2] = np.inf  # a second one in a row counts once
    bits = np.zeros((40, 2), np.uint16)
    bits[[1, 2, 39], 1] = 0x7F80, 0xFFC1, 0x7F7F  # infinity, a NaN, the largest finite value
    layers = {"half": Captured(halves, "float16", ("f",)), "brain": Captured(bits, "bfloat16", ("f",))}
    layers["whole"] = Captured(np.zeros((40, 2), np.int8), "int8", ("f",))
    with Writer(tmp_path / name, shard_bytes=500) as writer:
        writer.append(RowBatch(layers, [str(row) for row in range(40)], [""] * 40))
    assert actstore.open(tmp_path / name).nonfinite == {"half": 2, "brain": 2, "whole": 0}


def test_the_fingerprint_names_the_rows_not_the_place(tmp_path, write_store):
    folder = write_store("a.acts")
    assert write_store("b.h5").fingerprint == folder.fingerprint
    assert write_store("c.acts", batch_rows=11).fingerprint == folder.fingerprint
    assert write_store("d.acts", 39).fingerprint != folder.fingerprint
    moved = folder.path.rename(tmp_path / "elsewhere")
    assert actstore.open(moved).fingerprint == folder.fingerprint


def test_the_fingerprint_does_not_depend_on_labels_but_on_ids(tmp_path, batch_of):
    prints = []
    changes = [{}, {"targets": {}}, {"ids": [f"other/{row}" for row in range(5)]}, {"splits": ["val"] * 5}]
    for number, change in enumerate(changes):
        with Writer(tmp_path / f"{number}.acts") as writer:
            writer.append(batch_of(5, **change))
        prints.append(actstore.open(tmp_path / f"{number}.acts").fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
