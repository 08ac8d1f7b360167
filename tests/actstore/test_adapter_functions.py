"""Plain functions: whatever speaks DLPack or `__array__`, and what a function may not return."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.errors import AdapterError, LayerError
from actstore.patterns import select

BATCH = np.arange(6, dtype=np.float32).reshape(3, 2)


class OnlyDlpack:
    """An array of another library, as NumPy sees it."""

    def __init__(self, array):
        self._array, self.shape = array, array.shape

    def __dlpack__(self, **kwargs):
        return self._array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class OnlyArray:
    def __init__(self, array):
        self._array, self.shape = array, array.shape

    def __array__(self, dtype=None, copy=None):
        return self._array


def layers(model, batch=BATCH):
    adapter = adapt(model)
    described = [layer for layer in adapter.layers(batch) if not layer.explicit]
    with adapter.running(described) as run:
        return run(batch)


@pytest.mark.parametrize("wrap", [np.asarray, OnlyDlpack, OnlyArray])
def test_arrays_of_any_library_are_taken(wrap):
    activations = layers(lambda batch: {"a": wrap(2 * batch)})
    np.testing.assert_array_equal(activations["a"].array, 2 * BATCH)
    assert activations["a"].axes == ("feature",)


class OnAnotherDevice(OnlyDlpack):
    def __dlpack__(self, **kwargs):
        raise BufferError("the memory is not the CPU's")


def test_arrays_that_numpy_can_not_reach_are_named():
    with pytest.raises(
        AdapterError, match=r"'a' cannot be stored: OnAnotherDevice .* cannot become a NumPy array: the"
    ):
        layers(lambda batch: {"a": OnAnotherDevice(batch)})


def test_the_input_alone_needs_no_run():
    calls = []
    adapter = adapt(lambda batch: calls.append(batch) or {"a": batch})
    (given,) = [layer for layer in adapter.layers(BATCH) if layer.explicit]
    with adapter.running([given]) as run:
        np.testing.assert_array_equal(run(BATCH)["input"].array, BATCH)
    assert len(calls) == 2, "to describe the layers"


@pytest.mark.parametrize("batch", [["one", "three"], np.array(["one", "three"]), (BATCH, BATCH)])
def test_there_is_no_layer_input_where_the_model_takes_no_single_array_of_numbers(batch):
    described = adapt(lambda batch: {"a": np.zeros((len(batch), 2))}).layers(batch)
    assert [layer.name for layer in described] == ["a"]


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint64", "bool", ">f4"])
def test_dtypes_are_kept_in_native_order(dtype):
    found = layers(lambda batch: {"a": batch.astype(dtype)})["a"]
    assert found.dtype == found.array.dtype.name == np.dtype(dtype).name
    assert found.array.dtype.isnative
    np.testing.assert_array_equal(found.array, BATCH.astype(dtype))


@pytest.mark.parametrize(
    ("shape", "axes"), [((), ()), ((2,), ("feature",)), ((1, 2, 1), ("axis0", "axis1", "axis2"))]
)
def test_features_of_any_shape(shape, axes):
    found = layers(lambda batch: {"a": np.zeros((len(batch), *shape))})["a"]
    assert (found.array.shape, found.axes) == ((3, *shape), axes)


def test_a_batch_of_texts():
    found = layers(lambda texts: {"length": np.array([[len(text)] for text in texts])}, ["one", "three"])
    assert found["length"].array.tolist() == [[3], [5]]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            BATCH,
            r"function '<lambda>' returned ndarray float32 \(3, 2\), where a mapping from layer names to arrays",
        ),
        ([BATCH], r"returned list of 1 \(ndarray\), where a mapping"),
        (None, "returned None, where a mapping .*if it makes a model, give each of its arguments by --arg"),
        ({}, "returned dict of nothing, where a mapping"),
        ({3: BATCH}, "function '<lambda>' named a layer 3; layer names are text"),
    ],
)
def test_what_is_no_mapping_of_arrays_is_refused(returned, message):
    with pytest.raises(AdapterError, match=message) as caught:
        layers(lambda _: returned)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2, 3], r"list of 3 \(int, int, int\) is no array"),
        (3.5, "float is no array"),
        (np.float32(3), r"float32 \(\) has no rows"),
        (BATCH.astype(complex), ".*complex128 .* is not of a dtype that a store"),
        (np.array(["x", "y", "z"]), "ndarray <U1 .* is not of a dtype"),
        (BATCH[:2], r"no row per example: it is \(2, 2\) for 2 rows and \(2, 2\) for 3, whatever the rows"),
    ],
)
def test_what_can_not_be_stored_is_passed_over_and_refused_by_its_name(value, message):
    found = adapt(lambda batch: {"a": value, "b": batch}).layers(BATCH)
    assert [layer.name for layer in select(["*"], found)] == ["b"]
    with pytest.raises(LayerError, match=f"^layer 'a' cannot be stored: {message}") as caught:
        select(["a"], found)
    assert "\n" not in str(caught.value)


def test_a_layer_that_is_gone_in_a_later_batch_is_named():
    def model(batch):
        return {"a": batch} if len(batch) == 1 else {"a": batch, "b": batch}

    adapter = adapt(model)
    with (
        adapter.running(adapter.layers(BATCH)) as run,
        pytest.raises(AdapterError, match="returned no 'b' this time"),
    ):
        run(BATCH[:1])


def test_layers_are_not_known_without_data():
    with pytest.raises(
        AdapterError, match="a plain function shows its layers only when it runs; give it --data"
    ):
        adapt(lambda batch: {}).layers(None)


def one(batch):
    return {"a": batch}


def two(batch):
    return {"a": 2 * batch}


def test_provenance_is_the_source_or_the_functions_own_fingerprint():
    from functools import partial

    found = adapt(one).provenance()
    assert found["weights"] == "not seen"
    assert (
        found["fingerprint"] == adapt(one).provenance()["fingerprint"] != adapt(two).provenance()["fingerprint"]
    )
    bound = adapt(partial(one, scale=3)).provenance()
    assert (bound["fingerprint"], bound["arguments"]) == (found["fingerprint"], {"scale": "3"})

    class Model:
        fingerprint = "revision 7"

        def __call__(self, batch):
            return {"a": batch}

    assert adapt(Model()).provenance()["fingerprint"] == "revision 7"
    assert adapt(eval("lambda batch: {}")).provenance()["fingerprint"] == "not seen"
