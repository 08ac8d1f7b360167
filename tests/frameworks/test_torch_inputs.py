"""Torch: ``NAME:in``, what goes into a module, as a layer of its own."""

import numpy as np
import pytest
from frameworks.torch_calls import Calls

import actstore
from actstore.adapters import adapt
from actstore.errors import LayerError
from actstore.patterns import select
from actstore.reductions import ReductionSettings

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn


def vectors(rows=4, width=3):
    return np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)


def described(model, inputs):
    return {layer.name: layer for layer in adapt(model).layers(inputs)}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))).eval()


def test_what_goes_into_a_module_is_what_came_out_before(captured):
    activations = captured(network(), vectors(), "0", "1:in", "1.1:in", "1.0")
    assert list(activations) == ["0", "1:in", "1.0", "1.1:in"]
    np.testing.assert_array_equal(activations["1:in"].array, activations["0"].array)
    np.testing.assert_array_equal(activations["1.1:in"].array, activations["1.0"].array)


def test_it_is_copied_before_the_module_changes_it(captured):
    activations = captured(network(), vectors(), "1.0:in", "1.0")
    assert (activations["1.0:in"].array < 0).any()
    assert (activations["1.0"].array >= 0).all()


def test_an_input_comes_before_everything_inside_the_module():
    assert list(described(network(), vectors())) == [
        "input", "0:in", "0", "1:in", "1.0:in", "1.0", "1.1:in", "1.1", "1", "output",
    ]  # fmt: skip


def test_inputs_are_taken_only_by_patterns_that_end_so(captured):
    assert list(captured(network(), vectors(), "**")) == ["0", "1.0", "1.1", "1"]
    assert list(captured(network(), vectors(), "**:in")) == ["0:in", "1:in", "1.0:in", "1.1:in"]
    assert list(captured(network(), vectors(), "*:in", "1.1")) == ["0:in", "1:in", "1.1"]


def test_every_call_has_its_own(captured):
    shared = nn.Linear(3, 3)
    activations = captured(nn.Sequential(shared, nn.ReLU(), shared), vectors(), "0:in", "1")
    assert list(activations) == ["0:in", "1", "0:in#1"]
    np.testing.assert_array_equal(activations["0:in"].array, vectors())
    np.testing.assert_array_equal(activations["0:in#1"].array, activations["1"].array)
    assert list(captured(nn.Sequential(shared, nn.ReLU(), shared), vectors(), "0:in#1")) == ["0:in#1"]


def test_the_pass_stops_once_the_last_of_them_is_there():
    tail = Calls(lambda self, x: self.seen.append(len(x)) or x)
    tail.seen = []
    adapter = adapt(nn.Sequential(nn.Linear(3, 3), tail), stop_early=True)
    layers = select(["1:in"], adapter.layers(vectors()))
    with adapter.running(layers) as run:
        run(vectors())
    assert tail.seen == [2, 3], "only the passes that describe the model"


@pytest.mark.parametrize(
    ("call", "note"),
    [
        (lambda inner, x: inner(None, x, x + 1), ""),
        (lambda inner, x: inner(x, scale=x), ""),
        (lambda inner, x: inner(2, hidden=x), "given by name, 'hidden'"),
        (lambda inner, x: inner(hidden=x, mask=None), "given by name, 'hidden'"),
    ],
)
def test_the_first_positional_tensor_is_taken_or_the_only_named_one(captured, call, note):
    inner = Calls(lambda self, *inputs, **named: torch.zeros(4, 1))
    model = Calls(lambda self, x: call(self.inner, x), inner=inner)
    np.testing.assert_array_equal(captured(model, vectors(), "inner:in")["inner:in"].array, vectors())
    assert described(model, vectors())["inner:in"].note == note


@pytest.mark.parametrize(
    ("call", "given"),
    [
        (lambda inner, x: inner(hidden=x, mask=x), r"2 tensors by name \(hidden, mask\)"),
        (lambda inner, x: inner([x]), r"tuple of 1 \(list\)"),
        (lambda inner, x: inner(), r"tuple of 0 \(\)"),
        (lambda inner, x: inner(x.sum()), r"Tensor float32 \(\), which no store holds"),
    ],
)
def test_an_input_that_is_no_one_tensor_is_named(captured, call, given):
    inner = Calls(lambda self, *inputs, **named: torch.zeros(4, 1))
    model = Calls(lambda self, x: call(self.inner, x), inner=inner)
    with pytest.raises(LayerError, match=f"layer 'inner:in' cannot be stored: it is given {given}"):
        captured(model, vectors(), "inner:in")


def test_a_module_that_is_not_called_has_none(captured):
    model = Calls(lambda self, x: self.first(x), first=nn.Linear(3, 3), spare=nn.ReLU())
    with pytest.raises(LayerError, match="layer 'spare:in' cannot be stored: it was not called for this batch"):
        captured(model, vectors(), "spare:in")


def test_an_input_that_is_no_batch_is_refused(captured):
    model = Calls(lambda self, x: self.inner(x.T).T, inner=nn.Identity())
    with pytest.raises(LayerError, match=r"'inner:in' cannot be stored: no row per example: .* along axis 1"):
        captured(model, vectors(), "inner:in")


def test_the_model_itself_has_none(captured):
    with pytest.raises(
        LayerError, match=r"'output:in': none of the layers here .* or 'input' for what goes into"
    ):
        captured(nn.Linear(3, 2), vectors(), "output:in")


def test_a_module_named_so_is_itself(captured):
    model = Calls(lambda self, x: self.get_submodule("a:in")(self.a(x)), a=nn.Linear(3, 3))
    model.add_module("a:in", nn.Linear(3, 2))
    activations = captured(model, vectors(), "a:in")
    assert {name: layer.array.shape for name, layer in activations.items()} == {"a:in": (4, 2)}


def test_axes_are_those_that_the_module_expects(images):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(2), nn.Linear(36, 5))
    axes = {name: layer.axes for name, layer in described(model, images).items()}
    pixels = ("channel", "height", "width")
    assert [axes[name] for name in ("0:in", "1:in", "2:in", "3:in")] == [pixels] * 3 + [("feature", "position")]
    assert described(nn.Sequential(nn.Embedding(9, 2)), np.zeros((2, 7), int))["0:in"].axes == ("position",)


def test_without_data_they_are_known_by_name():
    layers = described(network(), None)
    assert (layers["1.0:in"].type, layers["1.0:in"].shape, layers["1.0:in"].explicit) == ("ReLU", None, True)


def test_a_pass_that_happens_anyway_shows_them_too():
    model, x = network(), torch.from_numpy(vectors())
    with actstore.capture(model, ["1.0:in", "1"]) as activations:
        output = model(x)
    assert list(activations) == ["1.0:in", "1"]
    np.testing.assert_array_equal(activations["1.0:in"], model[0](x).detach())
    np.testing.assert_array_equal(activations["1"], output.detach())
    with actstore.capture(model, ["*"]) as activations:
        model(x)
    assert list(activations) == ["0", "1"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_capture_takes_one_call_of_an_input_beside_a_glob():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared).eval()
    with actstore.capture(model, ["**", "0:in#1"]) as activations:
        model(torch.from_numpy(vectors()))
    assert list(activations) == ["0", "1", "0:in#1", "0#1"]


def test_a_store_holds_them_and_pools_them(tmp_path, images):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Conv2d(2, 3, 3)).eval()
    pooled = ReductionSettings(("**:in=mean",))
    with actstore.create(tmp_path / "run.h5", layers=["2:in", "2"], reductions=pooled) as recording:
        recording.dump(model, [images])
    with actstore.open(tmp_path / "run.h5") as store, torch.no_grad():
        expected = model[:2](torch.from_numpy(images)).mean((2, 3))
        assert store.layers["2"].shape == (8, 3, 4, 4)
        np.testing.assert_allclose(store.layers["2:in"][:], expected, rtol=1e-5)  # means of 36, in float32
