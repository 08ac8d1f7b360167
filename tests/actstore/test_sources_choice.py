"""Which rows of a source are read: limits, samples, and batches by their numbers."""

import json
from itertools import pairwise

import h5py
import numpy as np
import pytest

from actstore.errors import DumpError, SourceError
from actstore.formats.foreign_array import ForeignArray
from actstore.formats.foreign_hdf5 import open_array
from actstore.sources import RowChoice, SplitData, split_data
from actstore.sources.python import from_object

ROWS = 50
INPUTS = np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3)
SIZES = (1, 7, 0, 20, 2, 20)
CHOICES = [RowChoice(), RowChoice(limit=23), RowChoice(sample=0.3), RowChoice(33, 0.5, seed=4)]


class Loader:
    """Batches of sizes of their own, as a DataLoader has them; counts what was read."""

    def __init__(self, wrap=lambda rows: INPUTS[rows], sizes=SIZES):
        self.wrap, self.sizes, self.read = wrap, sizes, 0

    def __iter__(self):
        edges = np.cumsum((0, *self.sizes))
        for start, stop in pairwise(edges):
            self.read += stop - start
            yield self.wrap(slice(start, stop)), np.arange(start, stop)


def array_data(split="train", **targets):
    return SplitData(split, from_object(INPUTS, "array"), targets)


def file_data(folder):
    with h5py.File(folder / "x.h5", "w") as file:
        file["x"] = INPUTS
    return split_data([f"train={folder}/x.h5:/x"])[0]


def loader_data(split="train", **targets):
    return SplitData(split, from_object(Loader(), "loader"), targets)


@pytest.fixture(params=["array", "npy", "h5", "loader", "digits", "txt", "csv", "jsonl"])
def data(request, tmp_path):
    """Data of each kind; the rows of arrays and loaders are ``INPUTS``, of the others whatever they are."""
    texts = [f"line {number}" for number in range(ROWS)]
    files = {
        "txt": texts,
        "csv": ["n,text", *(f"{number},{text}" for number, text in enumerate(texts))],
        "jsonl": [json.dumps({"text": text}) for text in texts],
    }
    if request.param in files:
        (tmp_path / f"x.{request.param}").write_text("\n".join(files[request.param]))
        return split_data([f"train={tmp_path}/x.{request.param}"])[0]
    if request.param == "npy":
        np.save(tmp_path / "x.npy", INPUTS)
        return split_data([f"train={tmp_path}/x.npy"])[0]
    if request.param == "digits":
        return split_data(["digits"])[1]
    return {"array": array_data, "h5": lambda: file_data(tmp_path), "loader": loader_data}[request.param]()


def read(item, batch_rows=8, choice=None, **options):
    return list(item.batches(batch_rows, choice or RowChoice(), **options))


def joined(batches):
    """Inputs, places and targets of all rows."""
    targets = {name: np.concatenate([batch.targets[name] for batch in batches]) for name in batches[0].targets}
    places = np.concatenate([batch.indices for batch in batches])
    return np.concatenate([batch.inputs for batch in batches]), places, targets


def assert_equal(found, expected):
    assert [batch.rows for batch in found] == [batch.rows for batch in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.rows == len(one.inputs) == len(one.indices)
        np.testing.assert_array_equal(one.inputs, other.inputs)
        np.testing.assert_array_equal(one.indices, other.indices)
        assert one.targets.keys() == other.targets.keys()
        for name in one.targets:
            np.testing.assert_array_equal(one.targets[name], other.targets[name])


# Places


@pytest.mark.parametrize("choice", CHOICES)
def test_places_say_which_rows_these_are(data, choice):
    whole, everywhere, labels = joined(read(data))
    np.testing.assert_array_equal(everywhere, np.arange(len(whole)))
    inputs, places, targets = joined(read(data, choice=choice))
    assert places.dtype == np.int64
    assert (np.diff(places) > 0).all()
    assert places[-1] < (choice.limit or len(whole))
    np.testing.assert_array_equal(inputs, whole[places])
    for name in labels:
        np.testing.assert_array_equal(targets[name], labels[name][places])


@pytest.mark.parametrize("choice", CHOICES)
def test_expected_rows_and_batch_rows_come_true(data, choice):
    sizes = [batch.rows for batch in read(data, 8, choice)]
    expected, planned = data.expected_rows(choice), data.batch_rows(8, choice)
    if data.source.spec == "loader":
        assert expected is planned is None
    else:
        assert (expected, planned) == (sum(sizes), sizes)
        assert set(sizes[:-1]) == {8}


def test_labels_given_by_hand_follow_their_rows():
    labels = np.ma.masked_array(np.arange(ROWS) * 10, mask=np.arange(ROWS) % 7 == 0)
    for make in (array_data, loader_data):
        _, places, targets = joined(read(make(mine=labels), choice=RowChoice(40, 0.4)))
        np.testing.assert_array_equal(targets["mine"], places * 10)
    (batch, *_) = read(array_data(mine=labels), choice=RowChoice(40, 0.4))
    np.testing.assert_array_equal(batch.targets["mine"].mask, batch.indices % 7 == 0)


def test_labels_of_another_length_are_refused_whatever_the_choice():
    for choice in CHOICES:
        with pytest.raises(SourceError, match="'mine' has 49 labels but array has 50 rows"):
            read(array_data(mine=np.arange(49)), choice=choice)
    with pytest.raises(SourceError, match="'mine' has 49 labels but loader has 50 rows"):
        read(loader_data(mine=np.arange(49)), choice=RowChoice(sample=0.5))
    with pytest.raises(SourceError, match="'mine' has 51 labels but loader has 50 rows"):
        read(loader_data(mine=np.arange(51)), choice=RowChoice(sample=0.5))


# Samples


@pytest.mark.parametrize("limit", [None, 31])
def test_a_sample_does_not_depend_on_the_size_of_batches(data, limit):
    choice = RowChoice(limit, 0.4, seed=2)
    expected = joined(read(data, 8, choice))
    for batch_rows in (1, 5, 1000):
        for found, part in zip(joined(read(data, batch_rows, choice))[:2], expected[:2], strict=True):
            np.testing.assert_array_equal(found, part)


def test_a_sample_is_the_same_however_its_rows_are_read(tmp_path):
    choice = RowChoice(sample=0.4)
    places = [
        joined(read(item, choice=choice))[1] for item in (array_data(), file_data(tmp_path), loader_data())
    ]
    for other in places[1:]:
        np.testing.assert_array_equal(other, places[0])


def test_a_sample_belongs_to_its_seed_its_split_and_its_place_in_the_data():
    def places(split="train", position=0, **choice):
        return joined(
            read(array_data(split), choice=RowChoice(**{"sample": 0.4, **choice}), position=position)
        )[1].tolist()

    first = places()
    assert places() == first
    others = [places("test"), places(position=1), places(seed=1)]
    assert len({tuple(found) for found in (first, *others)}) == 4
    # A row is kept by its own draw: of fewer rows, and at a larger fraction, the same ones are.
    assert places(limit=20) == [place for place in first if place < 20]
    assert set(first) < set(places(sample=0.7))


def test_a_sample_keeps_the_fraction_that_is_asked_for():
    item = SplitData("", from_object(np.zeros((3_000_000, 1), np.int8), "zeros"))
    # Binomial: standard deviation sqrt(3e6 * 0.01 * 0.99) = 172.
    assert abs(item.expected_rows(RowChoice(sample=0.01)) - 30_000) < 5 * 172
    assert sum(item.batch_rows(512, RowChoice(sample=0.01))) == item.expected_rows(RowChoice(sample=0.01))


@pytest.mark.parametrize("make", [array_data, loader_data])
def test_a_sample_without_rows_is_refused(make):
    with pytest.raises(
        SourceError, match=r"the sample keeps none of the 50 rows of .*; take a larger one, or another"
    ):
        read(make(), choice=RowChoice(sample=1e-9))


def test_batches_without_a_row_that_is_wanted_are_left_out():
    batches = read(loader_data(), choice=RowChoice(sample=0.1))
    kept = joined(read(array_data(), choice=RowChoice(sample=0.1)))[1]
    homes = np.searchsorted(np.cumsum(SIZES), kept, side="right")
    assert [batch.rows for batch in batches] == [int((homes == home).sum()) for home in np.unique(homes)]
    assert 0 < len(batches) < len(SIZES) - 1


# Batches by their numbers


@pytest.mark.parametrize("choice", CHOICES)
def test_every_partition_gives_the_same_batches(data, choice):
    whole = read(data, 4, choice)
    for first in range(len(whole) + 1):
        parts = [read(data, 4, choice, numbers=numbers) for numbers in (range(first), range(first, 10**9))]
        assert len(parts[0]) == first
        assert_equal(parts[0] + parts[1], whole)
    for number in range(len(whole)):
        assert_equal(read(data, 4, choice, numbers=range(number, number + 1)), whole[number : number + 1])


def test_what_is_not_asked_for_is_not_read(tmp_path, monkeypatch):
    seen = []

    class Spied:
        shape, dtype = INPUTS.shape, INPUTS.dtype

        def __array__(self, *_):
            raise AssertionError("all rows were read")

        def __getitem__(self, rows):
            seen.append(len(INPUTS[rows]))
            return INPUTS[rows]

    item = SplitData("", from_object(Spied(), "spied"))
    read(item, 4, RowChoice(sample=0.5), numbers=range(3, 5))
    assert seen == [4, 4]
    loader = Loader()
    read(SplitData("", from_object(loader, "loader")), numbers=range(1, 2))
    assert loader.read == 8, "the loader is left after the last batch that is wanted"


def test_rows_of_a_file_are_read_in_slices_that_do_not_span_what_lies_far_apart(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.arange(40_000, dtype=np.float32).reshape(10_000, 4)
    seen, read = [], ForeignArray.__getitem__

    def spied(array, rows):
        seen.append((rows.start, rows.stop))
        return read(array, rows)

    monkeypatch.setattr(ForeignArray, "__getitem__", spied)
    monkeypatch.setattr("actstore.formats.foreign_array.GAP_BYTES", 160)  # ten rows
    dataset = open_array(tmp_path / "x.h5", "x", "x")
    places = np.array([3, 4, 9, 500, 511, 513, 9999])
    np.testing.assert_array_equal(dataset.take(places)[:, 0], places * 4)
    assert seen == [(3, 10), (500, 514), (9999, 10_000)]


# Rows of every kind of input


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda rows: INPUTS[rows], lambda inputs: [inputs]),
        (lambda rows: (INPUTS[rows], INPUTS[rows] * 2), lambda inputs: [inputs[0], inputs[1] / 2]),
        (
            lambda rows: {"a": INPUTS[rows], "scale": 2, "kind": "text", "b": [INPUTS[rows]]},
            lambda inputs: [inputs["a"], inputs["b"][0]],
        ),
        (lambda rows: [str(x) for x in INPUTS[rows, 0]], lambda inputs: [np.array([float(x) for x in inputs])]),
    ],
    ids=["array", "tuple", "dict", "texts"],
)
@pytest.mark.parametrize("choice", CHOICES[1:])
def test_rows_are_picked_of_whatever_a_batch_is_made(wrap, unwrap, choice):
    batches = read(SplitData("train", from_object(Loader(wrap, (1, 7, 20, 22)), "loader")), choice=choice)
    for batch in batches:
        for part in unwrap(batch.inputs):
            expected = INPUTS[batch.indices]
            np.testing.assert_array_equal(part, expected if part.ndim == 2 else expected[:, 0])
        np.testing.assert_array_equal(batch.targets["label"], batch.indices)
        if isinstance(batch.inputs, dict):
            assert (batch.inputs["scale"], batch.inputs["kind"]) == (2, "text")


def test_a_part_of_a_batch_without_its_rows_is_named():
    item = SplitData("", from_object(Loader(lambda rows: {"a": INPUTS[rows], "b": INPUTS[:1]}), "loader"))
    match = (
        r"rows of a batch of loader cannot be picked: ndarray float32 \(1, 3\) has not 7 rows as the batch has"
    )
    with pytest.raises(SourceError, match=match):
        read(item, choice=RowChoice(sample=0.5))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"limit": 0}, "limit is 0; expected at least 1"),
        ({"sample": 0}, "sample is 0; expected a fraction between 0 and 1"),
        ({"sample": 1}, "sample is 1; expected a fraction between 0 and 1"),
        ({"sample": float("nan")}, "sample is nan; expected a fraction between 0 and 1"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(choice, message):
    with pytest.raises(DumpError, match=message):
        RowChoice(**choice)
