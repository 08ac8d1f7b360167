"""Files of torch.save, read without torch; what is not tensors and plain values is refused, and nothing is run."""

import os
import pickle

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.exchange import import_files
from actstore.formats.containers.torch_file import read_torch
from actstore.formats.containers.torch_pickle import read_pickle
from tests.actstore.torch_files import View, torch_bytes

X = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")


@pytest.fixture
def read(tmp_path):
    """Reads what torch.save would write of a value."""

    def written(value, **options):
        (tmp_path / "x.pt").write_bytes(torch_bytes(value, **options))
        arrays, others = read_torch(tmp_path / "x.pt", "x.pt")
        return {name: np.asarray(one.whole()) for name, one in arrays.items()}, others

    return written


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_of_every_shape_and_type(read, protocol):
    flat = np.arange(24.0)
    tensors = {
        "row": X,
        "turned": X.T,
        "part": View(flat, (3, 2), (4, 2), 5),
        "wide": View(flat[:3], (4, 3), (0, 1)),
        "empty": np.empty((0, 3), "f4"),
        "half": X.astype("f2"),
        "flags": X > 0,
        "counts": np.arange(6),
        "b16": View(np.array([0x3F80, 0xC000], np.uint16), (2,), (1,), kind="BFloat16"),
    }
    found, others = read(tensors | {"lr": 0.1, "none": None, "name": "run"}, protocol=protocol)
    assert others == ["lr", "none", "name"]
    expected = tensors | {
        "part": np.array([[5, 7], [9, 11], [13, 15]]),
        "wide": np.tile([0.0, 1, 2], (4, 1)),
        "b16": np.array([1, -2]),
    }
    assert [*found] == [*expected]
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_lists_and_dicts_are_gone_into(read):
    found, others = read(
        {"layers": [X, {"b": X * 2}], "labels": [1, 2, 3], "names": ["a", "b"], "mixed": [1, "a"]}
    )
    assert [*found] == ["layers.0", "layers.1.b", "labels", "names"]
    assert (found["labels"].tolist(), found["names"].tolist(), others) == ([1, 2, 3], ["a", "b"], ["mixed"])


def test_big_endian_machines(read):
    found, _ = read({"x": X.byteswap()}, byteorder=b"big")
    np.testing.assert_array_equal(found["x"], X)


class Trap:
    """Unpickling this would be noticed."""

    def __reduce__(self):
        return os.system, ("touch /tmp/trap",)


class Plain:
    """An object with a state of its own."""

    def __init__(self):
        self.x = 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": X, "y": Trap()}, r"it holds posix.system, and Python's objects are not loaded"),
        ({"x": X, "y": Plain()}, r"it holds \S*test_torch_files.Plain, and Python's objects"),
        ({"x": {1, 2}}, "it holds .*set, and Python's"),
        ({"lr": 0.1}, "x.pt holds no tensor; it holds 'lr'"),
        ({}, "x.pt holds no tensor; it holds nothing"),
        ({"x": View(np.zeros(4), (3,), (2,))}, r"a tensor of shape \(3,\) reaches out of its 32 bytes"),
        ({"x": View(np.zeros(4), (2,), (-1,))}, r"a tensor of shape \(2,\) and strides \(-1,\)"),
        ({"x": View(np.zeros(2, "c8"), (2,), (1,), kind="ComplexFloat")}, "is of torch's type ComplexFloat"),
        ({"a.b": X, "a": {"b": X}}, "it has two values called 'a.b'"),
    ],
)
def test_what_is_no_tensor_is_refused_in_one_line(read, value, message):
    with pytest.raises(SourceError, match=message) as caught:
        read(value)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_means_harm_runs_nothing(read):
    bombs = {
        "a call of a call": b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        "a build": b"\x80\x02}(X\x01\x00\x00\x00ati}b.",
        "no stop": b"\x80\x02}",
        "an empty stack": b"\x80\x02.",
        "itself": b"\x80\x02]q\x00h\x00a.",
        "rubbish": b"\xff\xfe\xfd",
    }
    for pickled in bombs.values():
        with pytest.raises(SourceError, match=r"x.pt cannot be read as tensors of torch") as caught:
            read(X, **{"data.pkl": pickled})
        assert "\n" not in str(caught.value)


def test_names_that_share_lists_do_not_grow_without_end():
    value = [1.5, "a"]
    for _ in range(40):
        value = [value, value]
    from actstore.formats.containers.torch_pickle import flattened

    with pytest.raises(ValueError, match="is nested deeper"):
        flattened(read_pickle(pickle.dumps(value, 2)))


def test_a_flipped_bit_is_found(tmp_path):
    data = bytearray(torch_bytes({"x": X}))
    data[data.find(X.tobytes()) + 5] ^= 4
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(SourceError, match="data/0 is not what its checksum says"):
        read_torch(tmp_path / "x.pt", "x.pt")


def test_labels_beside_layers_become_targets_of_a_store(tmp_path):
    value = {"acts": X, "label": np.arange(6) % 2, "name": list("abcdef"), "score": X[:, 0], "few": [1, 2]}
    (tmp_path / "x.pt").write_bytes(torch_bytes(value | {"few": 3}))
    with pytest.warns(UserWarning, match="left out, since it is no layer: 'few'"):
        store = import_files([f"{tmp_path}/x.pt"], tmp_path / "o.h5")
    with store:
        assert [*store.layers] == ["acts", "score"]
        assert store.targets["label"].tolist() == [0, 1, 0, 1, 0, 1]
        assert store.targets["name"].tolist() == list("abcdef")
