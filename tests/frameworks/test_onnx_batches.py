"""ONNX: what a batch may be, how many rows it may have, and on what device it runs."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.errors import AdapterError
from tests.frameworks.onnx_networks import FLOAT, convnet, model_of, node, onnx, value


def two_inputs():
    return model_of(
        [node("Cast", ["count"], ["cast"], to=FLOAT), node("Add", ["x", "cast"], ["y"])],
        [value("x", "rows", 2), value("count", "rows", 1, kind=onnx.TensorProto.INT32)],
        [value("y", "rows", 2)],
    )


def test_several_inputs_come_as_a_dict_or_in_order(captured):
    x, count = np.ones((3, 2)), np.arange(3)[:, None]
    for batch in ((x, count), {"count": count, "x": x}):
        found = captured(two_inputs(), batch, "y")["y"]
        assert found.dtype == "float32", "floats and integers are cast to what the model declares"
        np.testing.assert_array_equal(found.array, x + count)


@pytest.mark.parametrize("batch", [np.array(["1.5", "2"]), ["1.5", "2"]])
def test_text_is_given_to_models_that_take_it(captured, batch):
    text = value("x", "rows", kind=onnx.TensorProto.STRING)
    model = model_of([node("Cast", ["x"], ["y"], to=FLOAT)], [text], [value("y", "rows")])
    assert captured(model, batch, "y")["y"].array.tolist() == [1.5, 2]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.ones((3, 2)), r"takes 'x', 'count', but the batch is ndarray float64 \(3, 2\); give one array for"),
        ({"x": np.ones((3, 2))}, "takes 'x', 'count', but the batch is dict of 'x'"),
        ((np.ones((3, 2)),), r"takes 'x', 'count', but the batch is tuple of 1"),
        (
            (np.ones((3, 2), np.uint8), np.ones((3, 1), int)),
            r"input 'x' is declared float32, but the batch is ndarray uint8 \(3, 2\): convert the data",
        ),
        (
            (np.ones((3, 2)), np.ones((3, 1))),
            "input 'count' is declared int32, but the batch is ndarray float64",
        ),
        (
            (np.ones((3, 2)), np.full((3, 1), 2**31)),
            "declared int32, which does not hold 2147483648 to 2147483648",
        ),
        (
            (np.ones((3, 5)), np.ones((3, 1), int)),
            r"input 'x' has the shape \(any, 2\), but the batch is ndarray",
        ),
        ((np.ones((3, 2, 1)), np.ones((3, 1), int)), r"input 'x' has the shape \(any, 2\), but"),
        (
            (np.array(["a", "b"]), np.ones((3, 1), int)),
            r"input 'x' is declared float32, but the batch is ndarray <U1",
        ),
        (("text", np.ones((3, 1), int)), "input 'x' takes arrays of float32: str is no array"),
    ],
)
def test_a_batch_that_does_not_fit_is_told_in_one_line(captured, batch, message):
    with pytest.raises(AdapterError, match=message) as caught:
        captured(two_inputs(), batch, "y")
    assert "\n" not in str(caught.value)


def test_a_batch_size_that_was_exported_is_kept_to(captured, images):
    layers = adapt(convnet(rows=1)).layers(images)
    assert layers[1].shape == (4, 8, 8), "shapes are shown for any number of rows"
    with pytest.raises(
        AdapterError, match=r"batches of 1 and was given one of 8: use --batch-size 1, or export it"
    ):
        captured(convnet(rows=1), images, "fc")
    with pytest.raises(
        AdapterError, match="use --batch-size 4, for a number of rows that 4 divides, or export"
    ):
        captured(convnet(rows=4), images[:2], "fc")
    assert captured(convnet(rows=4), images[:4], "fc")["fc"].array.shape == (4, 5)


# Devices


@pytest.mark.parametrize("device", ["nonsense", "cpu:one", "rocm:3"])
def test_a_device_that_is_not_there(captured, images, device):
    with pytest.raises(AdapterError, match=f"no execution provider for device '{device}' here; it has .*'cpu'"):
        captured(convnet(), images, "fc", device=device)


def test_a_provider_that_does_not_start_is_no_silent_cpu(captured, images, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(AdapterError, match=r"onnxruntime .*CUDAExecutionProvider"):
        captured(convnet(), images, "fc", device="cuda:0")


def test_the_cpu_can_be_asked_for(captured, images):
    assert captured(convnet(), images, "fc", device="cpu")["fc"].array.shape == (8, 5)
