"""What every adapter owes, checked over the folder: a new adapter without an example here fails.

An example is a model that does its worst (changes its inputs in place, uses a buffer or a module again) with the
activations it should give, computed without actstore.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from actstore.adapters import adapt, adapters
from actstore.adapters.conformance import check_adapter
from actstore.errors import AdapterError
from actstore.interop import to_bits
from actstore.patterns import select
from actstore.reductions import ReductionSettings, plan_reductions

ROWS = 8


@dataclass
class Example:
    """A model, its inputs, the layers it should give in call order, and what must be as it was found afterwards."""

    model: object
    inputs: np.ndarray
    expected: dict[str, np.ndarray]
    condition: Callable[[], object]


def inputs():
    return np.random.default_rng(0).normal(size=(ROWS, 6)).astype(np.float32)


def function_example():
    buffer = np.empty((ROWS, 6), dtype=np.float32)

    def model(batch):
        batch += 1
        doubled = np.multiply(batch, 2, out=buffer[: len(batch)])
        return {"doubled": doubled, "blocks.0/sum": doubled.sum(axis=1)}

    doubled = 2 * (inputs() + 1)
    expected = {"doubled": doubled, "blocks.0/sum": doubled.sum(axis=1)}
    return Example(model, inputs(), expected, lambda: None)


def sklearn_example():
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
    network = MLPRegressor(hidden_layer_sizes=(5,), activation="tanh", tol=10.0, random_state=0)
    model = make_pipeline(StandardScaler(copy=False), network).fit(data.copy(), data[:, 0])
    scaled = model[0].transform(inputs())
    before = scaled @ network.coefs_[0] + network.intercepts_[0]
    last = np.tanh(before) @ network.coefs_[1] + network.intercepts_[1]
    expected = {
        "standardscaler": scaled,
        "mlpregressor.hidden0.pre": before,
        "mlpregressor.hidden0": np.tanh(before),
        "mlpregressor.output.pre": last,
        "mlpregressor.output": last,
    }
    return Example(model, inputs(), expected, lambda: sorted(vars(network)))


def torch_example():
    torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")

    class Residual(torch.nn.Module):
        """The same ReLU twice, in place, and a residual that is added in place."""

        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)
            self.relu = torch.nn.ReLU(inplace=True)
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x):
            x += 1
            hidden = self.drop(self.relu(self.first(x)))
            out = self.relu(self.second(hidden))
            out += x
            return out

    torch.manual_seed(0)
    model = Residual()
    model.second.eval()
    with torch.no_grad():
        first = model.first(torch.from_numpy(inputs()) + 1)
        second = model.second(first.relu())
    expected = {
        "first": first,
        "relu": first.relu(),
        "drop": first.relu(),
        "second": second,
        "relu#1": second.relu(),
    }

    def condition():
        hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
        return hooks, [module.training for module in model.modules()], torch.is_grad_enabled()

    return Example(model, inputs(), {name: layer.numpy() for name, layer in expected.items()}, condition)


def hf_example():
    """The same module as a model of transformers, which takes arrays as they are."""
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: make test-frameworks"
    )
    found = torch_example()

    class Model(transformers.PreTrainedModel):
        config_class = transformers.PretrainedConfig

        def __init__(self, module):
            super().__init__(transformers.PretrainedConfig())
            self.inner = module

        def forward(self, x):
            return self.inner(x)

    model = Model(found.model)
    expected = {f"inner.{name}": layer for name, layer in found.expected.items()}
    expected["inner"] = expected["inner.relu#1"] + found.inputs + 1
    return Example(model, found.inputs, expected, found.condition)


def jax_network():
    """Weights of a linear layer that is used twice, and what its layers should be."""
    weights = np.random.default_rng(2).normal(size=(6, 6)).astype(np.float32)
    first = (inputs() + 1) @ weights
    return weights, first, np.maximum(first, 0) @ weights


def jax_example():
    jax = pytest.importorskip("jax", reason="jax is not installed: make test-frameworks")
    weights, first, second = jax_network()

    @jax.jit
    def function(params, batch):
        first = (batch + np.ones(6, np.float32)) @ params["w"]
        return [{"z": first, "a": jax.nn.relu(first) @ params["w"]}]

    model = (function, {"w": jax.numpy.asarray(weights)})
    return Example(model, inputs(), {"0.a": second, "0.z": first}, lambda: [*model[1]])


def linen_example():
    pytest.importorskip("flax", reason="flax is not installed: make test-frameworks")
    from flax import linen

    class Twice(linen.Module):
        """The same layer twice, the second time within a part that is jitted; dropout, and what it sows."""

        def setup(self):
            self.dense, self.drop = linen.Dense(6, use_bias=False), linen.Dropout(0.5)
            self.inner = linen.jit(Inner)(self.dense)

        def __call__(self, x, train=True):
            first = self.dense(x + np.ones(6, np.float32))
            self.sow("intermediates", "positive", linen.relu(first))
            return self.inner(self.drop(linen.relu(first), deterministic=not train))

    class Inner(linen.Module):
        dense: linen.Module

        def __call__(self, x):
            return linen.relu(self.dense(x))

    weights, first, second = jax_network()
    variables = {"params": {"dense": {"kernel": weights}}}
    expected = {
        "dense": first,
        "drop": np.maximum(first, 0),
        "dense#1": second,
        "inner": np.maximum(second, 0),
        "positive": np.maximum(first, 0),
    }
    return Example((Twice(), variables), inputs(), expected, lambda: [*variables])


def nnx_example():
    pytest.importorskip("flax", reason="flax is not installed: make test-frameworks")
    from flax import nnx

    class Dense(nnx.Linear):
        """Inherits its call."""

    class Twice(nnx.Module):
        """The same layer twice, the second time within a part that is jitted; dropout, and a counter of calls."""

        def __init__(self, weights):
            self.dense = Dense(6, 6, use_bias=False, rngs=nnx.Rngs(0))
            self.dense.kernel[...] = weights
            self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
            self.calls = nnx.Variable(np.zeros(()))

        def __call__(self, x):
            self.calls[...] += 1
            first = self.dense(x + np.ones(6, np.float32))
            return nnx.jit(lambda module, x: module.dense(x))(self, self.drop(nnx.relu(first)))

    weights, first, second = jax_network()
    model = Twice(weights)
    expected = {"dense": first, "drop": np.maximum(first, 0), "dense#1": second}
    before = Dense.__call__

    def condition():
        kept = [sorted(vars(module)) for _, module in nnx.iter_modules(model)]
        return kept, model.drop.deterministic, model.calls[...].item(), Dense.__call__ is before

    return Example(model, inputs(), expected, condition)


def keras_example():
    """The same ReLU twice, inside a layer of the user's own, and layers that are the same in training only."""
    from tests.frameworks.keras_networks import residual

    model = residual()
    kernels = [to_bits(weight.value)[0] for weight in model.weights]
    first = inputs() @ kernels[0] + kernels[1]
    second = np.maximum(first, 0) @ kernels[2] + kernels[3]
    expected = {
        "block.first": first,
        "block.relu": np.maximum(first, 0),
        "block.drop": np.maximum(first, 0),
        "block.second": second,
        "block.relu#1": np.maximum(second, 0),
        "block": np.maximum(second, 0) + inputs(),
    }

    def condition():
        layers = [model, *model._flatten_layers()]
        return [sorted(vars(layer)) for layer in layers], [getattr(layer, "training", None) for layer in layers]

    return Example(model, inputs(), expected, condition)


def onnx_example():
    """A scope of two nodes, nodes without names, an output, and a sum of weights that is no layer."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: make test-frameworks")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: make test-frameworks")
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(6, 6)).astype(np.float32)
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            node("Add", ["one", "one"], ["two"], name="/first/Constant"),
            node("MatMul", ["x", "weights"], ["product"], name="/first/MatMul"),
            node("Add", ["product", "two"], ["sum"], name="/first/Add"),
            node("Relu", ["sum"], ["relu"]),
            node("Add", ["relu", "x"], ["y"]),
        ],
        "example",
        [value("x", onnx.TensorProto.FLOAT, ["rows", 6])],
        [value("y", onnx.TensorProto.FLOAT, ["rows", 6])],
        [
            onnx.numpy_helper.from_array(weights, "weights"),
            onnx.numpy_helper.from_array(np.ones(6, np.float32), "one"),
        ],
    )
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    product = inputs() @ weights
    relu = np.maximum(product + 2, 0)
    expected = {"first.MatMul": product, "first": product + 2, "relu": relu, "y": relu + inputs()}
    return Example(model, inputs(), expected, lambda: model.SerializeToString(deterministic=True))


EXAMPLES = {
    "flax linen": linen_example,
    "flax nnx": nnx_example,
    "function": function_example,
    "hf": hf_example,
    "jax": jax_example,
    "keras": keras_example,
    "onnx": onnx_example,
    "scikit-learn": sklearn_example,
    "torch": torch_example,
}
FRAMEWORKS = {"flax linen", "flax nnx", "hf", "jax", "keras", "onnx", "torch"}


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
