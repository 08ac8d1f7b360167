"""An example of each adapter, for the conformance check.

An example is a model that does its worst (changes its inputs in place, uses a buffer or a module again) with the
activations it should give, computed without actstore.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from actstore.arrays import to_bits

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
