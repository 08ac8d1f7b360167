"""One thing has one rule, whichever door it comes in by: labels, masks, pictures."""

from __future__ import annotations

import numpy as np
import pytest

import actstore
from actstore.errors import ActstoreError, SourceError
from actstore.exchange import import_files
from actstore.labels import read_file
from actstore.sources import split_data
from actstore.sources.python import from_object

X = np.arange(18, dtype="f4").reshape(6, 3)
LABELS = {
    "whole numbers as floats": (np.array([0.0, 1, 2, 0, 1, 2]), [0, 1, 2, 0, 1, 2]),
    "halves": (np.array([0, 1, 2, 0, 1, 2], "f2"), [0, 1, 2, 0, 1, 2]),
    "NaN": (np.array([0, 1, np.nan, 0, 1, 2]), [0, 1, None, 0, 1, 2]),
    "empty text": (np.array(["a", "", "b", "a", "b", "c"]), ["a", None, "b", "a", "b", "c"]),
    "bytes": (np.array([b"a", b"", b"b", b"a", b"b", b"c"]), ["a", None, "b", "a", "b", "c"]),
    "bools": (np.array([True, False] * 3), [True, False] * 3),
    "64 bits": (np.array([1, 2, 3, 1, 2, 2**63 + 1], "u8"), [1, 2, 3, 1, 2, 2**63 + 1]),
    "fractions": (np.array([0.5, 1, 2, 0, 1, 2]), None),
    "days": (np.array(["2020-01-01"] * 6, "M8[D]"), None),
    "two columns": (np.zeros((6, 2), int), None),
}


def by_dump(folder, labels):
    np.save(folder / "y.npy", labels)
    return split_data([f"{folder}/x.npy"], [f"y={folder}/y.npy"])[0].targets["y"]


def by_label(folder, labels):
    np.save(folder / "y.npy", labels)
    with import_files([f"{folder}/x.npy"], folder / "out.acts") as store:
        store.attach("y", read_file(f"{folder}/y.npy").values)
    return actstore.open(folder / "out.acts").targets["y"]


def by_import(folder, labels):
    np.savez(folder / "both.npz", x=X, **{"target:y": labels})
    with import_files([f"{folder}/both.npz"], folder / "out.acts") as store:
        return store.targets["y"]


def by_append(folder, labels):
    with actstore.create(folder / "out.acts", layers=["a"]) as store:
        store.append({"a": X}, targets={"y": labels})
    return actstore.open(folder / "out.acts").targets["y"]


def by_attach(folder, labels):
    with import_files([f"{folder}/x.npy"], folder / "out.acts") as store:
        store.attach("y", labels)
    return actstore.open(folder / "out.acts").targets["y"]


def by_loader(folder, labels):
    (batch,) = from_object([(X, labels)], "loader").batches(6)
    return batch.targets["label"]


DOORS = [by_dump, by_label, by_import, by_append, by_attach, by_loader]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("labels", "expected"), LABELS.values(), ids=LABELS.keys())
def test_labels_mean_the_same_at_every_door(tmp_path, door, labels, expected):
    np.save(tmp_path / "x.npy", X)
    if expected is None:
        with pytest.raises(ActstoreError):
            door(tmp_path, labels)
        return
    found = door(tmp_path, labels)
    values, mask = np.ma.getdata(found).tolist(), np.ma.getmaskarray(found)
    assert [None if none else value for value, none in zip(values, mask, strict=True)] == expected


# -- what lies under a mask is no value

MASKED = np.ma.MaskedArray(X, mask=X == 7)
NOTHING_MASKED = np.ma.MaskedArray(X, mask=False)
UNDER = r"MaskedArray float32 \(\d, 3\) has \d+ values under its mask, which are no values: leave their rows out, or"


def appended(folder, array):
    with actstore.create(folder / "out.acts", layers=["a"]) as store:
        store.append({"a": array})
    return actstore.open(folder / "out.acts").layers["a"][:]


def from_batches(values):
    return list(from_object(values, "loader").batches(6))


def as_array(folder, array):
    with from_object(array, "data").slicing() as take:
        return take(np.arange(6)).inputs


def as_batches(folder, array):
    return from_batches([array])[0].inputs


def as_part(folder, array):
    return from_batches([({"x": X, "more": [array]}, np.arange(6))])[0].inputs["more"][0]


def as_output(folder, array):
    store = actstore.create(folder / "out.acts", layers=["a"])
    store.dump(lambda batch: {"a": np.ma.masked_where(batch >= 0, batch)}, [X])
    return actstore.open(folder / "out.acts").layers["a"][:]


@pytest.mark.parametrize("door", [appended, as_array, as_batches, as_part, as_output])
def test_what_lies_under_a_mask_is_refused_at_every_door(tmp_path, door):
    with pytest.raises(ActstoreError, match=UNDER):
        door(tmp_path, MASKED)


@pytest.mark.parametrize("door", [appended, as_array, as_batches, as_part])
def test_a_mask_over_nothing_is_none(tmp_path, door):
    np.testing.assert_array_equal(np.asarray(door(tmp_path, NOTHING_MASKED)), X)


@pytest.mark.parametrize("door", [by_append, by_attach, by_loader])
def test_a_masked_target_keeps_its_mask(tmp_path, door):
    np.save(tmp_path / "x.npy", X)
    found = door(tmp_path, np.ma.MaskedArray(np.arange(6), mask=[0, 0, 1, 0, 0, 0]))
    assert np.ma.getmaskarray(found).tolist() == [False, False, True, False, False, False]


def test_an_archive_s_targets_are_counted_before_they_are_read(tmp_path):
    np.savez(tmp_path / "x.npz", x=X, **{"target:y": np.array(["x" * 5000] * 6)})
    with pytest.raises(SourceError, match=r"x\.npz:target:y has labels of up to 5,000 characters"):
        import_files([f"{tmp_path}/x.npz"], tmp_path / "out.acts")
