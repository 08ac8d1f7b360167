"""Labels that are attached to rows that are there already."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import actstore
from actstore import Writer
from actstore.errors import StoreError, TargetError
from actstore.store.disk import durable
from actstore.store.documents.journal import Journal
from actstore.store.documents.write_place import WritePlace

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 40

LABELS = {
    "int64": np.arange(ROWS) * 2**50 - 7,
    "uint8": np.arange(ROWS, dtype=np.uint8),
    "uint64": np.array([2**64 - 1, 3] * (ROWS // 2), np.uint64),
    "bool": np.arange(ROWS) % 3 == 0,
    "text": np.array(["x", "été", "日本語", "a,b\n"] * (ROWS // 4)),
    "masked": np.ma.MaskedArray(np.arange(ROWS), mask=np.arange(ROWS) % 4 == 0),
    "masked text": np.ma.MaskedArray(["x", "y"] * (ROWS // 2), mask=[1, 0] * (ROWS // 2)),
    "no label at all": np.ma.MaskedArray(np.arange(ROWS), mask=True),
    "%/.": np.arange(ROWS),
}


@pytest.fixture
def store(write_store):
    """Forty rows in several shards, with the target "digit"."""
    with write_store("store.acts", ROWS) as store:
        yield store


@pytest.mark.parametrize("name", LABELS)
def test_labels_come_back_here_and_wherever_the_store_is_opened(store, name):
    labels = LABELS[name]
    store.attach(name, labels)
    for opened in (store, actstore.open(store.path), pickle.loads(pickle.dumps(store))):
        np.testing.assert_array_equal(np.ma.getmaskarray(opened.targets[name]), np.ma.getmaskarray(labels))
        np.testing.assert_array_equal(
            np.ma.compressed(opened.targets[name]), np.ma.compressed(labels), strict=True
        )
        assert list(opened.targets) == ["digit", name]


def test_labels_of_lists_and_of_python_texts(store):
    store.attach("list", list(range(ROWS)))
    store.attach("objects", np.array(["a", "bc"] * (ROWS // 2), object))
    assert store.targets["list"].tolist() == list(range(ROWS))
    assert store.targets["objects"].tolist() == ["a", "bc"] * (ROWS // 2)


def test_what_was_opened_before_stays_as_it_was(store):
    before = actstore.open(store.path)
    store.attach("later", np.arange(ROWS))
    assert list(before.targets) == ["digit"]
    assert before.fingerprint == actstore.open(store.path).fingerprint


def test_labels_by_id_go_to_their_rows_and_the_others_have_none(store):
    ids = np.array(["row/7", "row/0", "row/39"])
    store.attach("colour", np.array(["red", "blue", "red"]), ids)
    labels = store.targets["colour"]
    assert labels.compressed().tolist() == ["blue", "red", "red"]
    assert np.flatnonzero(~labels.mask).tolist() == [0, 7, 39]


def test_labels_by_id_may_be_masked_and_none_may_come(store):
    store.attach("some", np.ma.MaskedArray([1, 2], mask=[True, False]), ["row/3", "row/4"])
    store.attach("none", np.array([], np.str_), [])
    assert np.flatnonzero(~store.targets["some"].mask).tolist() == [4]
    assert store.targets["none"].mask.all()


@pytest.mark.parametrize(
    ("values", "ids", "message"),
    [
        (np.arange(39), None, r"'new' has 39 labels for 40 rows; expected one label per row"),
        (np.arange(2), ["row/1"], r"'new' has 2 labels for 1 ids"),
        (
            np.arange(6),
            ["row/1", "a", "b", "c", "d", "row/2"],
            r"4 \('a', 'b', 'c', ...\) of 6 ids are not in the store, whose ids look like 'row/0'",
        ),
        (np.arange(3), ["row/1", "row/2", "row/1"], r"1 \('row/1'\) appears more than once"),
        (np.arange(2), [1, 2], r"its ids are 1-dimensional int64; expected one text per label"),
        (np.arange(2), [["row/1", "row/2"]], r"its ids are 2-dimensional"),
    ],
)
def test_labels_of_other_rows_are_refused(store, values, ids, message, names_in):
    with pytest.raises(TargetError, match=message):
        store.attach("new", values, ids)
    assert list(store.targets) == ["digit"]
    assert "targets" not in names_in(store.path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("new", np.linspace(0, 1, ROWS), "float64; expected one int, bool or text per row"),
        ("new", np.zeros((ROWS, 2), int), "2-dimensional"),
        ("new", ["a\0b"] * ROWS, "NUL"),
        ("ne\0w", np.arange(ROWS), "NUL"),
        (3, np.arange(ROWS), "of type int; expected text"),
    ],
)
def test_what_is_no_label_is_refused(store, name, values, message):
    with pytest.raises(StoreError, match=message):
        store.attach(name, values)
    assert list(actstore.open(store.path).targets) == ["digit"]


def test_a_name_that_is_taken_is_refused_unless_it_may_be_overwritten(store, names_in):
    for name in ("digit", "mine"):
        if name == "mine":
            store.attach(name, np.arange(ROWS))
        with pytest.raises(TargetError, match=f"has a target '{name}' already; pass overwrite=True"):
            store.attach(name, np.zeros(ROWS, bool))
        store.attach(name, np.zeros(ROWS, bool), overwrite=True)
        assert not store.targets[name].any()
        assert store.targets[name].dtype == bool
    assert names_in(store.path / "targets") == ["000000.h5", "000001.h5", "000002.h5"]
    assert set(actstore.open(store.path).targets) == {"digit", "mine"}


def test_a_name_that_another_process_took_meanwhile_is_refused(store):
    actstore.open(store.path).attach("mine", np.arange(ROWS))
    assert list(store.targets) == ["digit"]
    with pytest.raises(TargetError, match="has a target 'mine' already"):
        store.attach("mine", np.zeros(ROWS, int))
    store.attach("other", np.zeros(ROWS, int))
    assert set(store.targets) == {"digit", "mine", "other"}


def test_a_single_file_takes_no_labels(write_store):
    store = write_store("store.h5")
    with pytest.raises(StoreError, match=r"is one file; labels are attached to a folder: .* store\.acts"):
        store.attach("new", np.arange(ROWS))


def test_an_unfinished_store_takes_no_labels(tmp_path, batch_of):
    writer = Writer(tmp_path / "store.acts", shard_bytes=1)
    writer.append(batch_of(10))
    writer.append(batch_of(10, 10))
    writer.abandon()
    store = actstore.open(tmp_path / "store.acts")
    with pytest.raises(StoreError, match="is unfinished, so that its rows are not final"):
        store.attach("new", np.arange(store.rows))


def test_a_store_that_was_replaced_takes_no_labels_meant_for_the_old_one(store, write_store):
    assert list(store.targets) == ["digit"]
    write_store("store.acts", ROWS, row_unit="token", overwrite=True)
    with pytest.raises(StoreError, match="holds other rows than when it was opened"):
        store.attach("new", np.arange(ROWS))


def test_labels_are_those_of_all_steps(tmp_path, batch_of):
    path = tmp_path / "steps.acts"
    for step in (0, 5):
        with Writer(path, place=WritePlace(step=step)) as writer:
            writer.append(batch_of(ROWS))
    actstore.open(path).at(5).attach("new", np.arange(ROWS))
    for step in (0, 5):
        np.testing.assert_array_equal(actstore.open(path).at(step).targets["new"], np.arange(ROWS), strict=True)


class Crash(BaseException):
    """The process dies."""


@pytest.mark.parametrize("operation", ["write_at", "sync_file", "rename", "append"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_crash_on_the_way_leaves_the_store_as_it_was(store, monkeypatch, operation, before):
    """What is left beside the listed files is replaced by the next labels."""
    store.attach("first", np.arange(ROWS))
    home = Journal if operation == "append" else durable
    real = getattr(home, operation)

    def dies(*arguments):
        if not before:
            real(*arguments)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(home, operation, dies)
        with pytest.raises(Crash):
            store.attach("second", np.arange(ROWS))
    survived = operation == "append" and not before
    assert set(actstore.open(store.path).targets) == {"digit", "first", *(["second"] if survived else [])}
    store.attach("second", np.arange(ROWS)[::-1], overwrite=survived)
    assert actstore.open(store.path).targets["second"].tolist() == list(range(ROWS))[::-1]
    assert actstore.open(store.path).targets["first"].tolist() == list(range(ROWS))
    assert not list((store.path / "targets").glob("*.tmp"))


def test_a_full_disk_is_one_line(store, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(durable, "write_at", full)
    with pytest.raises(StoreError, match=r"targets cannot be written: No space left.* The store is as it was"):
        store.attach("new", np.arange(ROWS))
    assert list(actstore.open(store.path).targets) == ["digit"]


ATTACH = """
import sys
import numpy as np
import actstore
store = actstore.open(sys.argv[1])
for number in range(5):
    store.attach(f"{sys.argv[2]}{number}", np.full(store.rows, number))
"""


def test_processes_that_attach_at_the_same_time_all_succeed(store):
    command = [sys.executable, "-c", ATTACH, str(store.path)]
    running = [subprocess.Popen([*command, name]) for name in "abc"]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    targets = actstore.open(store.path).targets
    assert set(targets) == {"digit", *(f"{name}{number}" for name in "abc" for number in range(5))}
    for name in "abc":
        for number in range(5):
            assert (targets[f"{name}{number}"] == number).all()


@pytest.mark.parametrize("damage", ["missing", "short", "changed journal"])
def test_a_damaged_target_is_named(store, damage):
    store.attach("new", np.arange(ROWS))
    path: Path = store.path / "targets" / "000000.h5"
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        os.truncate(path, path.stat().st_size - 1)
    else:
        path = store.path / "journal"
        path.write_bytes(path.read_bytes().replace(b'"new"', b'"old"'))
    with pytest.raises(StoreError, match=f"{path.name}.*(missing|bytes where|damaged)"):
        actstore.open(store.path)


def test_half_a_file_of_labels_is_removed_by_the_next_that_attaches(write_store, names_in):
    """Its writer was killed: whoever holds the journal is the only one. What is not ours stays."""
    with write_store("out.acts") as store:
        store.attach("first", ["a", "b"] * 20)
        targets = store.path / "targets"
        mark = "0" * 16
        for name in (
            f"000001.h5.{mark}.tmp",
            f"000007.h5.{mark}.tmp",
            f"mine.h5.{mark}.tmp",
            "000001.h5.tmp.bak",
        ):
            (targets / name).write_bytes(b"half")
        store.attach("second", ["a", "b"] * 20)
        assert names_in(targets) == ["000000.h5", "000001.h5", "000001.h5.tmp.bak", f"mine.h5.{mark}.tmp"]
        assert store.targets["second"].tolist() == ["a", "b"] * 20
