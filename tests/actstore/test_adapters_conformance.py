"""What every adapter owes, checked over the folder: a new adapter without one of the ``adapter_examples`` fails."""

import numpy as np
import pytest

from actstore.adapters import adapt, adapters
from actstore.adapters.conformance import check_adapter
from actstore.errors import AdapterError
from actstore.patterns import select
from actstore.reductions import ReductionSettings, plan_reductions
from tests.actstore.adapter_examples import EXAMPLES, FRAMEWORKS, inputs


@pytest.fixture(
    params=[
        pytest.param(adapter.name, marks=pytest.mark.framework if adapter.name in FRAMEWORKS else ())
        for adapter in adapters()
    ]
)
def example(request):
    if request.param not in EXAMPLES:
        pytest.fail(f"adapter {request.param!r} has no example; add one to EXAMPLES")
    return EXAMPLES[request.param]()


def captured(example, patterns=("**",), batches=(slice(None),)):
    """The layers of each batch, as an adapter gives them."""
    adapter = adapt(example.model)
    layers = select(patterns, adapter.layers(example.inputs))
    with adapter.running(layers) as run:
        return layers, [run(example.inputs[rows]) for rows in batches]


def test_no_example_is_left_over():
    assert set(EXAMPLES) == {adapter.name for adapter in adapters()}


def test_names_come_in_call_order_with_the_right_values(example):
    layers, (activations,) = captured(example)
    assert [layer.name for layer in layers] == list(activations) == list(example.expected)
    for layer, (name, expected) in zip(layers, example.expected.items(), strict=True):
        found = activations[name]
        assert found.dtype == layer.dtype == found.array.dtype.name
        assert found.array.shape[1:] == layer.shape
        assert len(layer.axes) == len(layer.shape)
        assert found.axes == layer.axes
        # The same sums of 6 float32 products of order 1, perhaps in another order.
        np.testing.assert_allclose(found.array, expected, rtol=1e-5, atol=1e-6)


def test_the_input_is_given_before_the_model_changes_it(example):
    layers, (activations,) = captured(example, ("input", "**"))
    assert layers[0].name == "input"
    np.testing.assert_array_equal(activations["input"].array, inputs())
    np.testing.assert_array_equal(example.inputs, inputs())


def test_batches_do_not_matter(example):
    _, (whole,) = captured(example)
    _, parts = captured(example, batches=(slice(0, 3), slice(3, 4), slice(4, None)))
    for name, layer in whole.items():
        joined = np.concatenate([part[name].array for part in parts])
        # Matrix products of other heights may sum in another order.
        np.testing.assert_allclose(joined, layer.array, rtol=1e-5, atol=1e-6)


def test_reductions_are_those_of_the_whole_layers(example):
    layers, (whole,) = captured(example, ("input", "**"))
    settings = ReductionSettings(random_features=4, dtype="float16", seed=1)
    plan = plan_reductions(settings, layers)
    with adapt(example.model).running(layers, plan) as run:
        found = run(example.inputs)
    assert list(found) == [layer.name for layer in plan.layers] == list(whole)
    for layer in plan.layers:
        (*drawn, cast) = plan.document()["layers"][layer.name]["steps"]
        chosen = drawn[0].get("indices")
        expected = whole[layer.name].array if chosen is None else whole[layer.name].array[:, chosen]
        assert cast["to"] == layer.dtype == found[layer.name].dtype == "float16"
        assert found[layer.name].axes == layer.axes
        np.testing.assert_array_equal(found[layer.name].array, expected.astype(np.float16))
        # Half a unit in the last of 11 bits.
        assert 0 < plan.report()[layer.name].largest_error <= 2.0**-11 * np.abs(expected).max()
    assert any(len(layer.shape) and layer.shape[0] == 4 for layer in plan.layers)


def test_a_capture_is_not_rewritten_by_the_next(example):
    _, (first, _second) = captured(example, batches=(slice(0, 4), slice(4, None)))
    _, (alone,) = captured(example, batches=(slice(0, 4),))
    for name, layer in alone.items():
        np.testing.assert_array_equal(first[name].array, layer.array)


def test_each_layer_alone_is_the_same_as_among_all(example):
    _, (whole,) = captured(example)
    for name, layer in whole.items():
        _, (alone,) = captured(example, (name,))
        np.testing.assert_array_equal(alone[name].array, layer.array)


def test_the_model_is_left_as_it_was_found(example):
    adapter = adapt(example.model)
    before = example.condition(), adapter.provenance()
    captured(example)
    assert (example.condition(), adapter.provenance()) == before


def test_the_model_is_left_as_it_was_found_after_an_error(example):
    adapter = adapt(example.model)
    before = example.condition(), adapter.provenance()
    layers = select(("**",), adapter.layers(example.inputs))
    with pytest.raises(KeyError, match="somewhere else"), adapter.running(layers):
        raise KeyError("somewhere else")
    with pytest.raises((ValueError, RuntimeError, AdapterError)), adapter.running(layers) as run:
        run(example.inputs[:, :5])  # a feature is missing, which each framework says in its own words
    assert (example.condition(), adapter.provenance()) == before


def test_provenance_says_what_the_weights_are(example):
    weights = adapt(example.model).provenance()["weights"]
    assert weights == "not seen" or weights.startswith("xxh3_128:")


def test_the_check_that_other_packages_call_passes(example):
    before = adapt(example.model).provenance()
    check_adapter(example.model, example.inputs, example.expected)
    assert adapt(example.model).provenance() == before
