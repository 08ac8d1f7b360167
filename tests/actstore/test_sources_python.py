"""`file.py:name`: arrays and batches from the user's own Python."""

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.sources import RowChoice, read_labels, split_data

FILE = """
import numpy as np

x = np.arange(8.0).reshape(4, 2)
y = np.array(["a", "b", "a", "b"])
plain = [x[:3], x[3:]]
pairs = [(x[:3], y[:3]), [x[3:], y[3:]]]
named = [(x, {"letter": y, "number": [0, 1, 2, 3]})]
alone = [(x,), (x, None)]
several = [((x, x + 1), y), ({"a": x, "b": x}, y)]
texts = [["one", "two"], ["three"]]
empty = [x[:0], x]

def made():
    yield from pairs

def labels():
    return [0, 1, 0, 1]

def breaks():
    yield x
    raise KeyError("gone")

def fails():
    raise OSError("no disk")

short = [(x, y[:3])]
triple = [(x, y, y)]
single = [(x[0], 3)]
scalar = [3.5]
number = 7
nothing = []
table = {"x": x}
"""


@pytest.fixture
def spec(tmp_path):
    """The SPEC of a name in the file above."""
    (tmp_path / "data.py").write_text(FILE)
    return lambda name: f"{tmp_path}/data.py:{name}"


@pytest.fixture
def read(spec):
    def batches(name, limit=None):
        (item,) = split_data([spec(name)])
        return list(item.batches(2, RowChoice(limit)))

    return batches


@pytest.mark.parametrize(
    ("name", "rows"), [("plain", [3, 1]), ("pairs", [3, 1]), ("made", [3, 1]), ("x", [2, 2])]
)
def test_batches_are_as_they_come_and_arrays_are_cut(read, name, rows):
    batches = read(name)
    assert [batch.rows for batch in batches] == rows
    np.testing.assert_array_equal(
        np.concatenate([batch.inputs for batch in batches]), np.arange(8.0).reshape(4, 2)
    )


def test_labels_become_a_target(read):
    assert [batch.targets["label"].tolist() for batch in read("pairs")] == [["a", "b", "a"], ["b"]]
    (batch,) = read("named")
    assert {name: values.tolist() for name, values in batch.targets.items()} == {
        "letter": ["a", "b", "a", "b"],
        "number": [0, 1, 2, 3],
    }
    assert [dict(batch.targets) for batch in read("alone")] == [{}, {}]


def test_several_inputs_and_texts_are_batches_too(read):
    assert [(type(batch.inputs), batch.rows) for batch in read("several")] == [(tuple, 4), (dict, 4)]
    assert [batch.rows for batch in read("texts")] == [2, 1]
    assert [batch.rows for batch in read("empty")] == [4]


@pytest.mark.parametrize("name", ["plain", "several", "texts"])
def test_a_limit_cuts_a_batch(read, name):
    (batch,) = read(name, limit=1)
    assert batch.rows == 1
    parts = batch.inputs if isinstance(batch.inputs, tuple) else [batch.inputs]
    assert [len(part) for part in parts] == [1] * len(parts)


@pytest.mark.parametrize("name", ["y", "labels"])
def test_labels_are_read_from_a_name_or_a_function(spec, name):
    assert len(read_labels(spec(name))) == 4


def test_labels_of_batches_that_are_not_counted_yet_are_checked_as_they_come(spec):
    (item,) = split_data([spec("plain")], [f"digit={spec('labels')}"])
    assert [batch.targets["digit"].tolist() for batch in item.batches(2, RowChoice())] == [[0, 1, 0], [1]]


@pytest.mark.parametrize("count", [3, 5])
def test_labels_of_another_length_than_batches_are_found_at_their_end(spec, tmp_path, count):
    np.save(tmp_path / "y.npy", np.arange(count))
    (item,) = split_data([spec("plain")], [f"digit={tmp_path}/y.npy"])
    with pytest.raises(SourceError, match=f"'digit' has {count} labels but .*data.py:plain has 4 rows"):
        list(item.batches(2, RowChoice()))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "short",
            "batch 1 of .*data.py:short has 4 inputs but 3 labels 'label'; expected one label per row",
        ),
        (
            "triple",
            r"batch 1 of .* is a tuple of 3 .*; expected inputs, or \(inputs, labels\): put several",
        ),
        (
            "single",
            r"'label' in batch 1 of .* has shape \(\); .*: put single examples into batches, with a DataLoader",
        ),
        ("scalar", "batch 1 of .* is not a batch of inputs: float has no rows"),
        ("number", "data.py:number is no data but int; an array, or an iterable of batches"),
        ("table", "data.py:table is no data but dict of 'x'"),
        ("nothing", "data.py:nothing gave no rows"),
        ("breaks", r"data.py:breaks failed to give its next batch: KeyError: 'gone' \(data.py, line 22\)"),
        ("fails", r"data.py:fails failed: OSError: no disk \(data.py, line 25\)"),
        ("plian", "data.py has no 'plian'; the nearest: 'plain'"),
    ],
)
def test_what_gives_no_batches_is_told_in_one_line(read, name, message):
    with pytest.raises(SourceError, match=message) as caught:
        read(name)
    assert "\n" not in str(caught.value)


def test_batches_are_no_features_of_ones_own(spec):
    (item,) = split_data([spec("plain")])
    with pytest.raises(SourceError, match=r"data\.py:plain is an iterable of batches; expected an array"):
        item.source.opened()
