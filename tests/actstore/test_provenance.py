"""Hashes of weights see everything; hashes of inputs do not see how they were cut into batches."""

import os
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from actstore.provenance import InputHash, hash_arrays, versions
from actstore.store.documents.versions import other_versions, resumed

A = np.arange(12, dtype=np.float32).reshape(6, 2)


def test_names_dtypes_shapes_bytes_and_order_enter_a_hash():
    variants = [
        [("a", A)],
        [("b", A)],
        [("a", A.reshape(4, 3))],
        [("a", A.view(np.int32))],
        [("a", np.where(A == 5, np.nextafter(A, 9), A))],
        [("a", A[:3]), ("b", A[3:])],
        [("b", A[3:]), ("a", A[:3])],
        [("a", A[:0])],
        [],
    ]
    hashes = [hash_arrays(arrays) for arrays in variants]
    assert len(set(hashes)) == len(hashes)
    assert all(found.startswith("xxh3_128:") for found in hashes)
    assert hash_arrays([("a", np.asfortranarray(A))]) == hashes[0]


def streamed(*batches):
    running = InputHash()
    for batch in batches:
        running.update(batch)
    return running.hexdigest()


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a,
        lambda a: (a, a + 1),
        lambda a: {"x": a},
        lambda a: [str(value) for value in a[:, 0]],
        lambda a: [[str(value)] * int(1 + value) for value in a[:, 0]],
    ],
    ids=["array", "tuple", "dict", "texts", "sentences"],
)
def test_batches_do_not_enter_the_hash_of_inputs(make):
    whole = streamed(make(A))
    assert streamed(*(make(A[row : row + 1]) for row in range(6))) == whole
    assert streamed(make(A[:4]), make(A[4:])) == whole
    assert streamed(make(A[:5])) != whole
    assert streamed(make(A[::-1])) != whole


def test_components_dtypes_and_features_enter_it():
    hashes = {streamed(A), streamed((A,)), streamed({"x": A}), streamed({"y": A}), streamed(A.astype(float))}
    assert len(hashes | {streamed(A.reshape(6, 2, 1)), streamed(["ab", "c"]), streamed(["a", "bc"])}) == 8


def test_texts_and_sentences_are_told_apart_however_they_are_cut():
    inputs = [
        ["ab", "c"],
        ["a", "bc"],
        ["abc"],
        [["ab", "c"]],
        [["ab"], ["c"]],
        [["a"], ["bc"]],
        [["ab", "c"], []],
        [[], ["ab", "c"]],
        [["1:a"]],
        [["1", "a"]],
    ]
    hashes = [streamed(batch) for batch in inputs]
    assert "not seen" not in hashes
    assert len(set(hashes)) == len(inputs)


@pytest.mark.parametrize("batch", [object(), np.array([None, "a"], dtype=object), [[1, 2], [3]]])
def test_what_can_not_be_hashed_is_said_to_be_unseen(batch):
    assert streamed(A, batch) == "not seen"


def test_versions_are_those_of_packages_that_are_loaded_whatever_they_are_imported_as(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", ModuleType("PIL"))
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    found = versions()
    assert {"python", "actstore", "numpy", "pillow"} <= set(found)
    assert "keras" not in found
    assert "PIL" not in found


@pytest.mark.parametrize(
    ("asked", "threads"),
    [("3", 3), ("2,1", 2), ("0", None), ("", None), ("many", None), ("9" * 5, 1024), ("9" * 5000, None)],
)
def test_threads_are_those_that_were_asked_for(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 5, __version__="0"))
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__version__="0"))
    found = versions()["threads"]
    assert found["torch"] == 5
    assert found["onnxruntime"] == threads or str(os.cpu_count()) in found["onnxruntime"]


def test_other_threads_are_noted_and_refuse_nothing():
    before, now = ({"python": "3", "threads": {"torch": count}} for count in (2, 4))
    assert not other_versions(before, now)
    assert resumed([(0, before), (4, now), (8, now)]) == [
        {"from_row": 0, "versions": before},
        {"from_row": 4, "versions": now},
    ]
