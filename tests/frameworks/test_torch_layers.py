"""Torch: which layers there are, what is taken of their outputs, and what its axes are called."""

from dataclasses import dataclass

import numpy as np
import pytest
from frameworks.torch_calls import Calls

from actstore.adapters import adapt
from actstore.errors import AdapterError, LayerError
from actstore.patterns import goes_in, select

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn


class Returning(nn.Module):
    """Gives what a function makes of the batch."""

    def __init__(self, wrap):
        super().__init__()
        self._wrap = wrap

    def forward(self, x):
        return self._wrap(x)


def described(model, inputs):
    return {layer.name: layer for layer in adapt(model).layers(inputs) if not goes_in(layer)}


def test_layers_are_listed_in_call_order_with_what_is_not_called_last():
    model = Calls(
        lambda self, x: self.second(self.first(x)),
        second=nn.Linear(4, 2),
        first=nn.Linear(3, 4),
        spare=nn.ReLU(),
    )
    layers = described(model, np.zeros((2, 3), np.float32))
    assert list(layers) == ["input", "first", "second", "output", "spare"]
    assert (layers["first"].type, layers["first"].shape, layers["first"].bytes_per_row) == ("Linear", (4,), 16)
    assert (layers["spare"].shape, layers["spare"].bytes_per_row) == (None, None)
    assert layers["output"].explicit
    with pytest.raises(LayerError, match="layer 'spare' cannot be stored: it was not called for this batch"):
        select(["spare"], list(layers.values()))


def test_without_data_layers_have_names_and_types_only():
    layers = described(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), None)
    assert [(layer.name, layer.type, layer.shape) for layer in layers.values()] == [
        ("0", "Conv2d", None),
        ("1", "ReLU", None),
        ("output", "Sequential", None),
    ]
    assert layers["output"].explicit


def test_nested_modules_have_dotted_names():
    block = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    layers = described(nn.Sequential(block, nn.Linear(3, 1)), np.zeros((2, 3), np.float32))
    assert list(layers) == ["input", "0.0", "0.1", "0", "1", "output"]


def test_a_module_of_several_names_is_one_layer_of_several_calls(captured):
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared))
    layers = described(model, np.zeros((2, 3), np.float32))
    assert [name for name in layers if layers[name].shape] == ["input", "0", "1.0", "0#1", "1", "output"]
    with pytest.raises(LayerError, match=r"layer '1.1' cannot be stored: it is the same module as '0'"):
        captured(model, np.zeros((2, 3), np.float32), "1.1")


def test_a_bare_module_has_its_output():
    assert list(described(nn.Linear(3, 2), np.zeros((2, 3), np.float32))) == ["input", "output"]


def test_modules_called_input_and_output_are_the_models_own():
    model = Calls(lambda self, x: self.output(self.input(x)), input=nn.Linear(3, 4), output=nn.Linear(4, 2))
    layers = described(model, np.zeros((2, 3), np.float32))
    assert {name: layer.shape for name, layer in layers.items()} == {"input": (4,), "output": (2,)}
    assert len(select(["*"], list(layers.values()))) == 2


def test_names_survive_dictionaries_with_odd_keys(captured):
    modules = nn.ModuleDict({"a/b": nn.Linear(3, 2), "x #1": nn.Linear(3, 2), "[é]*": nn.Linear(3, 2)})
    model = Calls(lambda self, x: sum(module(x) for module in self.heads.values()), heads=modules)
    assert list(captured(model, np.zeros((2, 3), np.float32), "heads.*")) == [
        f"heads.{name}" for name in modules
    ]


@dataclass
class Result:
    hidden: object
    loss: object = None


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda x: (x,), ""),
        (lambda x: (x, None), "the first of tuple of 2 (Tensor, NoneType)"),
        (lambda x: [x, x + 1], "the first of list of 2 (Tensor, Tensor)"),
        (lambda x: {"hidden": x}, "the only tensor of dict of 'hidden'"),
        (Result, "the only tensor of Result"),
    ],
)
def test_the_one_tensor_of_an_output_is_taken(captured, wrap, note):
    model = Calls(lambda self, x: self.wrapped(x), wrapped=Returning(wrap))
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(captured(model, x, "wrapped")["wrapped"].array, x)
    assert described(model, x)["wrapped"].note == note


@pytest.mark.parametrize(
    ("wrap", "returned"),
    [
        (lambda x: {"a": x, "b": x}, "dict of 'a', 'b', expected a tensor"),
        (lambda x: Result(x, x.sum()), "Result, expected a tensor"),
        (lambda x: ("text", x), r"tuple of 2 \(str, Tensor\), expected a tensor"),
        (lambda x: None, "None, expected a tensor"),
        (lambda x: x.sum(), r"Tensor float32 \(\), which no store holds"),
        (lambda x: x.to(torch.complex64), r"Tensor complex64 \(2, 3\), which no store holds"),
    ],
)
def test_an_output_without_one_tensor_is_named(captured, wrap, returned):
    model = Calls(lambda self, x: (self.odd(x), x)[1], odd=Returning(wrap), even=nn.ReLU())
    with pytest.raises(LayerError, match=f"layer 'odd' cannot be stored: it returns {returned}"):
        captured(model, np.zeros((2, 3), np.float32), "odd")


def test_an_output_that_changes_its_kind_is_named():
    model = Calls(lambda self, x: self.odd(x), odd=Calls(lambda _, x: x if len(x) < 4 else None))
    adapter = adapt(model)
    layers = select(["odd"], adapter.layers(np.zeros((2, 3), np.float32)))
    with pytest.raises(AdapterError, match="layer 'odd' cannot be stored: it returns None"):  # noqa: SIM117
        with adapter.running(layers) as run:
            run(np.zeros((4, 3), np.float32))


@pytest.mark.parametrize(
    ("module", "shape", "axes"),
    [
        (nn.Conv2d(1, 2, 3), (1, 8, 8), ("channel", "height", "width")),
        (nn.Conv1d(1, 2, 3), (1, 8), ("channel", "position")),
        (nn.Conv3d(1, 2, 3), (1, 8, 8, 8), ("channel", "depth", "height", "width")),
        (nn.BatchNorm1d(4), (4,), ("feature",)),
        (nn.BatchNorm1d(4), (4, 6), ("channel", "position")),
        (nn.Linear(4, 3), (4,), ("feature",)),
        (nn.Linear(4, 3), (5, 4), ("position", "feature")),
        (nn.Linear(4, 3), (2, 5, 4), ("height", "width", "feature")),
        (nn.LayerNorm(4), (5, 4), ("position", "feature")),
        (nn.GRU(4, 3, batch_first=True), (5, 4), ("position", "feature")),
        (nn.ReLU(), (5, 4), ("axis0", "axis1")),
        (nn.Flatten(), (5, 4), ("feature",)),
    ],
)
def test_axes_are_named_by_the_type_of_the_module(module, shape, axes):
    layers = described(nn.Sequential(module), np.zeros((2, *shape), np.float32))
    assert layers["0"].axes == axes


def test_axes_are_inherited_where_the_type_does_not_tell(images):
    block = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    model = nn.Sequential(block, nn.Dropout(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3))
    axes = {name: layer.axes for name, layer in described(model, images).items()}
    pixels = ("channel", "height", "width")
    assert [axes[name] for name in ("0.0", "0.1", "0", "1", "2")] == [pixels] * 5
    assert [axes[name] for name in ("3", "4", "output")] == [("feature",)] * 3


def test_a_transformer_encoder_layer_is_hooked_inside_too(captured):
    """In evaluation mode torch has a fused path that calls no sub-module; hooks switch it off."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    x = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)
    activations = captured(model, x, "linear1", "self_attn", "output")
    assert {name: layer.array.shape for name, layer in activations.items()} == {
        "self_attn": (3, 5, 8),
        "linear1": (3, 5, 16),
        "output": (3, 5, 8),
    }
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(x)).numpy()
    # The fused path sums in another order.
    np.testing.assert_allclose(activations["output"].array, expected, rtol=1e-4, atol=1e-5)
