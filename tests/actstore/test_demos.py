"""`digits` and `demo:digits`: fixed splits, and a network that is the same each time and learned something."""

import zlib

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.models import load_model
from actstore.sources import RowChoice, split_data


def rows(item):
    batches = list(item.batches(500, RowChoice()))
    return np.concatenate([b.inputs for b in batches]), np.concatenate([b.targets["digit"] for b in batches])


def test_digits_come_in_their_own_splits():
    data = split_data(["digits"])
    assert {item.split: item.source.rows for item in data} == {"train": 1078, "val": 360, "test": 359}
    images, digits = zip(*(rows(item) for item in data), strict=True)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    everything = np.concatenate(images)
    assert (everything.dtype, everything.shape) == (np.float32, (1797, 64))
    # Every row once: the same multiset of images with their digits.
    found = sorted(
        (image.tobytes(), digit) for image, digit in zip(everything, np.concatenate(digits), strict=True)
    )
    original = bunch.data.astype(np.float32)
    assert found == sorted(
        (image.tobytes(), digit) for image, digit in zip(original, bunch.target, strict=True)
    )


def test_the_splits_are_stratified_and_never_change():
    data = {item.split: rows(item) for item in split_data(["digits"])}
    assert {split: np.bincount(digits).tolist() for split, (_, digits) in data.items()} == {
        "train": [107, 109, 106, 110, 109, 109, 109, 107, 104, 108],
        "val": [35, 37, 36, 36, 36, 37, 36, 36, 35, 36],
        "test": [36, 36, 35, 37, 36, 36, 36, 36, 35, 36],
    }
    checksums = {split: zlib.crc32(images.tobytes()) for split, (images, _) in data.items()}
    assert checksums == {"train": 3319940365, "val": 3517377606, "test": 84004085}


def test_a_named_split_has_all_rows():
    (item,) = split_data(["test=digits"])
    assert (item.split, item.source.rows) == ("test", 1797)


def test_digits_as_features_of_ones_own():
    (item,) = split_data(["all=digits"])
    with item.source.opened() as images:
        assert images.shape == (1797, 64)


@pytest.fixture(scope="module")
def network():
    return load_model("demo:digits")


def test_the_demo_has_learned_and_gives_float32(network):
    images, digits = rows(split_data(["digits"])[2])
    assert network.score(images, digits) > 0.95
    layers = adapt(network).layers(images)
    assert [layer.name for layer in layers if ".pre" not in layer.name] == [
        "input", "hidden0", "hidden1", "hidden2", "output",
    ]  # fmt: skip
    assert {layer.dtype for layer in layers} == {"float32"}


def test_the_demo_is_the_same_each_time(network):
    again = load_model("demo:digits")
    assert adapt(again).provenance() == adapt(network).provenance()


def test_the_demo_takes_arguments():
    small = load_model("demo:digits", {"hidden": "(16,)", "seed": "1"})
    assert [weights.shape for weights in small.coefs_] == [(64, 16), (16, 10)]
