"""Torch: functional calls between modules, found by tracing the model with torch.fx."""

import threading
import weakref

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.dumping.dump import DumpSettings, describe_layers, dump
from actstore.errors import AdapterError, LayerError
from actstore.patterns import goes_in, select
from actstore.sources import SplitData
from actstore.sources.python import from_object

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn
functional = torch.nn.functional


class Block(nn.Module):
    """A residual block whose additions and second activation are no modules."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.conv2(self.relu(self.conv1(x)))
        out = out + x
        return functional.relu(out + 1)


class Net(nn.Module):
    """Two blocks in a Sequential, one of them used twice, and functions around them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 2, 3)
        self.blocks = nn.Sequential(Block(), Block())
        self.fc = nn.Linear(2 * 6 * 6, 4)

    def forward(self, x, scale=None):
        x = functional.relu(self.stem(x)) * 2
        x = self.blocks[0](self.blocks(x))
        if scale is not None:
            x = x * scale
        x.relu_()
        return functional.log_softmax(self.fc(torch.flatten(x, 1)), dim=1)


class Calls(nn.Module):
    """A forward pass given as a function of the module and its inputs, over sub-modules given by name."""

    def __init__(self, forward, **modules):
        super().__init__()
        self._forward = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self._forward(self, x)


def traced(model, inputs, *patterns, **options):
    adapter = adapt(model, trace=True, **options)
    layers = select(patterns or ("**",), adapter.layers(inputs))
    with adapter.running(layers) as run:
        return run(inputs)


def test_operations_are_named_within_their_modules_in_call_order(images):
    layers = [layer.name for layer in adapt(Net(), trace=True).layers(images) if not goes_in(layer)]
    block = ["conv1", "relu", "conv2", "add", "add_1", "relu_1"]
    assert layers == [
        "input", "stem", "relu", "mul",
        *(f"blocks.0.{name}" for name in block), "blocks.0",
        *(f"blocks.1.{name}" for name in block), "blocks.1", "blocks",
        *(f"blocks.0.{name}#1" for name in block), "blocks.0#1",
        "relu_", "flatten", "fc", "log_softmax", "output",
    ]  # fmt: skip


def test_operations_have_the_values_that_the_model_computes(images):
    model = Net().eval()
    found = traced(model, images, "mul", "blocks.0.add", "blocks.0.add_1", "blocks.0.relu_1", "flatten")
    with torch.no_grad():
        start = 2 * model.stem(torch.from_numpy(images)).relu()
        inside = model.blocks[0].conv2(model.blocks[0].conv1(start).relu())
    np.testing.assert_array_equal(found["mul"].array, start)
    np.testing.assert_array_equal(found["blocks.0.add"].array, inside + start)
    np.testing.assert_array_equal(found["blocks.0.add_1"].array, inside + start + 1)
    np.testing.assert_array_equal(found["blocks.0.relu_1"].array, (inside + start + 1).relu())
    assert found["flatten"].array.shape == (8, 72)


def test_modules_and_what_goes_into_them_are_as_without_a_trace(captured, images):
    model = Net()
    expected = captured(model, images, "input", "**", "**:in", "output")
    found = traced(model, images, "input", "**", "**:in", "output")
    assert [name for name in found if name in expected] == list(expected)
    for name, layer in expected.items():
        np.testing.assert_array_equal(found[name].array, layer.array)
        assert (found[name].axes, found[name].dtype) == (layer.axes, layer.dtype)


def test_what_is_changed_in_place_later_is_stored_as_it_came(captured, images):
    model = Calls(lambda self, x: self.inner(x).add_(5).mul(2), inner=Calls(lambda self, x: x.abs().neg_() + 0))
    found = traced(model, images, "**")
    assert list(found) == ["inner.abs", "inner.neg_", "inner.add", "inner", "add_", "mul"]
    np.testing.assert_array_equal(found["inner.abs"].array, np.abs(images))
    np.testing.assert_array_equal(found["inner"].array, -np.abs(images))
    np.testing.assert_array_equal(found["mul"].array, 2 * (5 - np.abs(images)))


def test_a_module_returns_what_it_changed_after_making_it(captured, images):
    def inner(self, x):
        y = x + 1
        y.mul_(2)
        return y

    model = Calls(lambda self, x: self.inner(x), inner=Calls(inner))
    expected = captured(model, images, "inner")["inner"].array
    np.testing.assert_array_equal(traced(model, images, "inner")["inner"].array, expected)
    np.testing.assert_allclose(expected, 2 * (images + 1), rtol=1e-6)


def test_a_model_that_changes_its_input_is_compared_over_the_same(images):
    model = Calls(lambda self, x: x.add_(1).mul(2))
    before = images.copy()
    found = traced(model, images, "input", "mul")
    np.testing.assert_array_equal(found["input"].array, before)
    np.testing.assert_allclose(found["mul"].array, 2 * (before + 1), rtol=1e-6)
    np.testing.assert_array_equal(images, before)


def test_the_pass_stops_after_the_deepest_operation_asked_for(images):
    seen = []
    tail = nn.Identity()
    tail.register_forward_hook(lambda *_: seen.append(1))
    model = Calls(lambda self, x: self.tail(x + 1), tail=tail)
    adapter = adapt(model, trace=True, stop_early=True)
    layers = select(["add"], adapter.layers(images))
    before = len(seen)
    with adapter.running(layers) as run:
        run(images)
    assert len(seen) == before


def test_results_are_let_go_once_nothing_needs_them(images):
    alive, given = [], []

    def look(_module, inputs, _output):
        alive.append(sum(reference() is not None for reference in given))
        given.append(weakref.ref(inputs[0]))

    steps = [nn.Identity() for _ in range(5)]
    for step in steps:
        step.register_forward_hook(look)

    def forward(self, x):
        x = x * 1
        for step in self.steps:
            x = step(x) + 1
        return x

    traced(Calls(forward, steps=nn.ModuleList(steps)), images, "add_4")
    assert len(alive) > 4 * len(steps), "the model and its trace, to compare; to describe; to run"
    assert max(alive[-len(steps) :]) == 0


def test_the_model_is_left_as_it_was_found(images):
    class Keeping(nn.Module):
        def forward(self, x):
            self.last = x + torch.ones(
                1
            )  # a constant, which fx keeps, and an attribute, which it would overwrite
            return self.last * 2

    model = nn.Sequential(Keeping(), nn.ReLU())
    model(torch.from_numpy(images))
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    weights = adapt(model).provenance()
    found = traced(model, images, "0.add")
    np.testing.assert_allclose(found["0.add"].array, images + 1, rtol=1e-6)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert isinstance(model[0].last, torch.Tensor)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert adapt(model).provenance() == weights


def test_parameters_by_name_and_defaults_are_those_of_the_batch(images):
    scale = np.full((8, 1, 1, 1), 3, np.float32)
    plain, scaled = traced(Net(), images, "mul*"), traced(Net(), {"scale": scale, "x": images}, "mul*")
    assert (list(plain), list(scaled)) == (["mul"], ["mul", "mul_1"])
    both = traced(Net(), (images, scale), "mul_1", "flatten")
    np.testing.assert_array_equal(both["mul_1"].array, scaled["mul_1"].array)


def test_what_has_no_row_for_each_of_the_batch_is_passed_over_and_named(images):
    model = Calls(lambda self, x: x + self.fc.weight.abs().mean(), fc=nn.Linear(8, 3))
    assert list(traced(model, images, "**")) == ["add"]
    with pytest.raises(LayerError, match="layer 'abs' cannot be stored: no row per example"):
        traced(model, images, "abs")
    with pytest.raises(LayerError, match="layer 'mean' cannot be stored: it returns Tensor float32"):
        traced(model, images, "mean")


def test_without_data_operations_are_known_by_name():
    layers = {layer.name: layer for layer in describe_layers(Net(), trace=True)}
    assert (layers["blocks.1.add"].type, layers["blocks.1.add"].shape) == ("function", None)
    assert layers["relu_"].type == "method"


def branching(_self, x):
    return x if x.sum() > 0 else -x


def counting(_self, x):
    return x + len(x)


@pytest.mark.parametrize(
    ("forward", "why"), [(branching, "TraceError: .*control flow"), (counting, "RuntimeError: 'len'")]
)
def test_a_model_that_can_not_be_traced_is_explained_in_one_line(forward, why):
    with pytest.raises(
        AdapterError, match=f"torch.fx cannot trace Calls: {why}.*; leave the trace out"
    ) as caught:
        traced(Calls(forward), np.ones((2, 3), np.float32), "**")
    assert "\n" not in str(caught.value)
    assert "test_torch_trace.py, line" in str(caught.value)


def test_a_model_that_can_not_be_copied_is_not_traced(images):
    model = nn.Sequential(nn.ReLU())
    model.lock = threading.Lock()
    with pytest.raises(
        AdapterError, match=r"cannot trace Sequential: TypeError: cannot pickle '_thread.lock' object; leave"
    ):
        traced(model, images, "**")


def test_a_trace_that_gives_something_else_is_refused():
    generator = torch.Generator().manual_seed(0)
    model = Calls(lambda self, x: x + torch.rand(3, generator=generator))
    with pytest.raises(AdapterError, match=r"trace of Calls by torch.fx gives something else than the model"):
        traced(model, np.ones((2, 3), np.float32), "**")


def test_layers_of_a_trace_come_from_a_description(images):
    adapter = adapt(Net(), trace=True)
    layers = adapt(Net(), trace=True).layers(images)
    with pytest.raises(AdapterError, match="described before its trace is run"), adapter.running(layers[1:3]):
        pytest.fail("without a trace there is nothing to run")


def test_a_model_called_input_and_operations_too(images):
    model = Calls(lambda self, x: self.output(self.input(x) + 1), input=nn.ReLU(), output=nn.ReLU())
    assert list(traced(model, images, "**")) == ["input", "add", "output"]


def test_wrapped_models_are_traced_as_their_own(images):
    model = Net()
    model.blocks[1] = torch.compile(model.blocks[1], backend="eager")
    expected = traced(Net(), images, "**")
    for wrapped in (nn.DataParallel(Net()), torch.compile(Net(), backend="eager"), model):
        found = traced(wrapped, images, "**")
        assert list(found) == list(expected)
        assert all((found[name].array == layer.array).all() for name, layer in expected.items())


def test_a_dump_stores_operations_in_batches_of_any_size(tmp_path, images):
    data = [SplitData("", from_object(images, "images"))]
    settings = DumpSettings(("blocks.*.add", "relu"), batch_size=3, trace=True)
    with dump(Net(), data, tmp_path / "run.h5", settings) as store:
        assert list(store.layers) == ["relu", "blocks.0.add", "blocks.1.add", "blocks.0.add#1"]
        expected = traced(Net(), images, "blocks.1.add")["blocks.1.add"].array
        # Convolutions of other batch sizes may sum in another order.
        np.testing.assert_allclose(store.layers["blocks.1.add"][:], expected, rtol=1e-5, atol=1e-6)
        assert store.layers["blocks.1.add"].axes == ("channel", "height", "width")
