"""A batch that cannot be stored is refused as a whole, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

import actstore
from actstore import Captured, LayerError, StoreError, Writer
from actstore.store.documents.unique import SeenIds


def changed_layer(**changes):
    layers = {"a": Captured(np.zeros((4, 2), np.float32), "float32", ("f",)), **changes}
    return {"activations": {name: captured for name, captured in layers.items() if captured is not None}}


BAD_BATCHES = {
    "no layer": ({"activations": {}}, StoreError, "a batch comes without a layer; expected one layer at least"),
    "row counts": (
        changed_layer(b=Captured(np.zeros((5, 2), np.float32), "float32", ("f",))),
        StoreError,
        r"layer 'a' has 4 rows in a batch where layer 'b' has 5; expected the same rows everywhere",
    ),
    "ids": ({"ids": ["1", "2"]}, StoreError, r"layer 'norm' has 4 rows in a batch where ids has 2"),
    "splits": ({"splits": ["a"] * 5}, StoreError, r"ids has 4 rows in a batch where splits has 5"),
    "target": ({"targets": {"t": np.zeros(3, int)}}, StoreError, r"splits has 4 rows .* target 't' has 3"),
    "groups": ({"groups": []}, StoreError, r"target 'digit' has 4 rows in a batch where groups has 0"),
    "positions": ({"positions": [1]}, StoreError, r"where positions has 1"),
    "float positions": ({"positions": [0.5] * 4}, StoreError, "positions are float64; expected ints"),
    "float labels": (
        {"targets": {"t": np.zeros(4)}},
        StoreError,
        "target 't' is 1-dimensional float64; expected one int, bool",
    ),
    "2d labels": ({"targets": {"t": np.zeros((4, 1), int)}}, StoreError, "target 't' is 2-dimensional int64"),
    "mixed labels": (
        {"targets": {"t": np.array(["a", 1, "b", None], object)}},
        StoreError,
        "'t' is 1-dimensional object",
    ),
    "ids that repeat": (
        {"ids": ["x", "y", "x", "y"]},
        StoreError,
        "id 'x' appears twice, as did 1 others of its batch",
    ),
    "NUL in an id": ({"ids": ["1", "2", "3\0", "4"]}, StoreError, r"id '3\\x00' contains a NUL character"),
    "an id that is no text": (
        {"ids": ["1", 2, "3", "4"]},
        StoreError,
        "id 2 is of type int; expected text",
    ),
    "surrogate in a split": (
        {"splits": ["\ud800"] * 4},
        StoreError,
        r"split '\\ud800' is not valid Unicode text",
    ),
    "NUL in a label": (
        {"targets": {"t": np.array(["a\0b"] * 4)}},
        StoreError,
        r"target 't': label 'a\\x00b' contains a NUL",
    ),
    "NUL in a layer name": (
        changed_layer(**{"a\0": Captured(np.zeros(4, np.int8), "int8", ())}),
        StoreError,
        r"layer name 'a\\x00' contains a NUL",
    ),
    "complex layer": (
        changed_layer(b=Captured(np.zeros((4, 2), complex), "complex128", ("f",))),
        LayerError,
        "layer 'b' is complex128 named 'complex128'; a store holds float16",
    ),
    "dtype that is not the array's": (
        changed_layer(b=Captured(np.zeros((4, 2), np.float32), "bfloat16", ("f",))),
        LayerError,
        "layer 'b' is float32 named 'bfloat16'",
    ),
    "axes": (
        changed_layer(b=Captured(np.zeros((4, 2), np.float32), "float32", ())),
        LayerError,
        r"layer 'b' has shape \(4, 2\) and axis names \(\); expected \(rows, \*features\) and a name for each",
    ),
}


@pytest.mark.parametrize(("change", "error", "message"), BAD_BATCHES.values(), ids=BAD_BATCHES.keys())
def test_a_first_batch_that_can_not_be_stored_leaves_nothing(out, batch_of, change, error, message):
    with pytest.raises(error, match=message), Writer(out) as writer:
        writer.append(batch_of(4, **change))
    assert not list(out.parent.iterdir())


LATER_BATCHES = {
    "a layer less": (changed_layer(), r"other layers than the first one \(missing: \['b'\], new: none\)"),
    "a layer more": (
        changed_layer(
            b=Captured(np.zeros(4, np.int8), "int8", ()), c=Captured(np.zeros(4, np.int8), "int8", ())
        ),
        r"other layers than the first one \(missing: none, new: \['c'\]\)",
    ),
    "shape": (
        changed_layer(b=Captured(np.zeros((4, 3), np.int8), "int8", ("f",))),
        r"layer 'b' is int8 \(3,\) \('f',\) where the first batch had int8 \(\) \(\); a row is the same size",
    ),
    "dtype": (
        changed_layer(b=Captured(np.zeros(4, np.int16), "int16", ())),
        r"layer 'b' is int16 \(\) \(\) where the first batch had int8",
    ),
    "groups": ({"groups": ["g"] * 4}, "a batch comes with groups, unlike the first one; give them throughout"),
    "positions": ({"positions": [1] * 4}, "a batch comes with positions, unlike the first one"),
    "kind of label": (
        {"targets": {"digit": np.array(["a"] * 4)}},
        "target 'digit' is int64 and <U1; expected one kind",
    ),
    "labels without a common dtype": (
        {"targets": {"digit": np.array([2**63] * 4, np.uint64)}},
        "target 'digit' is int64 and uint64",
    ),
    "ids that wait": (
        {"ids": ["a", "row/8", "b", "c"]},
        "id 'row/8' appears twice, as did 0 others of its batch",
    ),
    "ids that are sealed": ({"ids": ["row/1", "row/2", "b", "c"]}, "id 'row/1' appears twice, as did 1 others"),
}


@pytest.mark.parametrize(("change", "message"), LATER_BATCHES.values(), ids=LATER_BATCHES.keys())
def test_a_refused_batch_changes_nothing(out, batch_of, change, message):
    """The writer goes on as if the batch had not come."""
    first = changed_layer(b=Captured(np.zeros(4, np.int8), "int8", ()))
    writer = Writer(out, shard_bytes=73 * 3)  # three rows of 9 bytes, and 64 of the row table
    for start in (0, 4):
        writer.append(batch_of(4, start, **first, ids=[f"row/{start + row + 1}" for row in range(4)]))
    with pytest.raises((StoreError, LayerError), match=message):
        writer.append(
            batch_of(4, 20, **{**first, **change}) if "ids" not in change else batch_of(4, **first, **change)
        )
    writer.append(batch_of(4, 30, **first))
    store = writer.finish()
    assert store.ids.tolist() == [
        *(f"row/{row}" for row in range(1, 9)),
        *(f"row/{row}" for row in range(30, 34)),
    ]
    assert store.layers["a"].shape == (12, 2)


def test_layers_may_come_in_another_order(out, batch_of):
    activations = batch_of(3).activations
    with Writer(out) as writer:
        writer.append(batch_of(3))
        writer.append(batch_of(3, 3, activations=dict(reversed(activations.items()))))
    assert list(actstore.open(out).layers) == list(activations)


def test_ids_that_only_share_a_hash_are_not_repeats(out, batch_of, monkeypatch):
    """A hash can only propose that an id came before; the ids decide."""
    monkeypatch.setattr(SeenIds, "hashes", staticmethod(lambda ids: np.zeros(len(ids), np.uint64)))
    with Writer(out, shard_bytes=1000) as writer:
        for first in range(0, 40, 8):
            writer.append(batch_of(8, first))
    assert actstore.open(out).rows == 40
