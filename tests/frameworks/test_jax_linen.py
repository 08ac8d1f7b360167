"""Flax linen: which layers there are, by which names, in which order, with which axes."""

import numpy as np
import pytest
from frameworks.linen_models import Calls, ConvNet, made, nn, pixels, rows_by_name, run_batches, vectors

from actstore.adapters import adapt
from actstore.errors import AdapterError, LayerError


@pytest.fixture(scope="module")
def convnet():
    return made(ConvNet(), pixels(), train=False)


def test_axes_are_named_channels_last(convnet):
    axes = {name: row.axes for name, row in rows_by_name(convnet, pixels()).items()}
    pixel = ("height", "width", "channel")
    assert {name: axes[name] for name in ("Conv_0", "BatchNorm_0", "Dropout_0", "Dense_0")} == {
        "Conv_0": pixel,
        "BatchNorm_0": pixel,
        "Dropout_0": pixel,
        "Dense_0": pixel,
    }
    assert (axes["Dense_1"], axes["output"]) == (("position", "feature"), ("feature",))


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.Conv(2, (3,)), (6, 1), ("position", "channel")),
        (nn.Conv(2, (2, 2, 2)), (3, 3, 3, 1), ("depth", "height", "width", "channel")),
        (nn.Embed(5, 2), (6,), ("position", "feature")),
        (nn.LayerNorm(), (6, 2), ("position", "feature")),
        (nn.DenseGeneral((2, 4)), (6, 2), ("position", "axis1", "feature")),
        (nn.RNN(nn.GRUCell(4)), (6, 2), ("position", "feature")),
    ],
)
def test_axes_by_the_type_of_the_module(layer, shape, axes):
    inputs = np.ones((2, *shape), np.int32 if isinstance(layer, nn.Embed) else np.float32)
    row = rows_by_name(made(layer, inputs), inputs)["output"]
    assert (row.type, row.axes) == (type(layer).__name__, axes)


def test_calls_of_a_shared_layer_are_numbered_in_their_order():
    model = made(Calls(lambda dense, x: dense(nn.relu(dense(x)))), vectors())
    rows = rows_by_name(model, vectors())
    assert [(name, row.calls) for name, row in rows.items()][1:] == [
        ("dense", 2),
        ("dense#1", 2),
        ("output", 1),
    ]
    (batch,) = run_batches(model, ["dense#1"], vectors())
    expected = model[0].apply(model[1], vectors())
    np.testing.assert_array_equal(batch["dense#1"].array, expected)


def test_a_layer_of_a_jitted_part_is_named_however_often_it_was_compiled():
    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.tanh(nn.Dense(3, name="dense")(x))

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            inner = nn.jit(Inner)(name="inner")
            return nn.Dense(2, name="last")(inner(inner(x)))

    model = made(Outer(), vectors())
    names = ["input", "inner.dense", "inner", "inner.dense#1", "inner#1", "last", "output"]
    for _ in range(3):
        rows = rows_by_name(model, vectors())
        assert list(rows) == names
        assert rows["inner.dense#1"].type == "Dense"


@pytest.mark.parametrize("steps", [4, 5])
def test_steps_of_a_scanned_part_are_told_from_rows(steps):
    class Step(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            x = nn.Dense(3, name="dense")(x)
            self.sow("intermediates", "half", x / 2)
            return x, x

    scanned = nn.scan(
        Step, variable_axes={"params": 0, "intermediates": 0}, split_rngs={"params": True}, length=steps
    )

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="last")(scanned(name="steps")(x, None)[0])

    model = made(Outer(), vectors())
    assert rows_by_name(model, vectors())["last"].shape == (2,)
    for name in ("dense", "half"):
        note = rf"'steps\.{name}' cannot be stored: .* gives its {steps} steps before the rows"
        with pytest.raises(LayerError, match=note):
            run_batches(model, [f"steps.{name}"], vectors())


def test_what_a_module_sows_is_a_layer_and_does_not_pile_up():
    class Sowing(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("intermediates", "half", x / 2)
            return nn.Dense(2)(x)

    module = Sowing()
    _, variables = made(module, vectors())
    _, sown = module.apply(variables, vectors(), mutable=["intermediates"])
    first, second = run_batches((module, {**variables, **sown}), ["half"], vectors(), vectors())
    np.testing.assert_array_equal(first["half"].array, vectors() / 2)
    assert list(second) == ["half"]


def test_outputs_of_several_arrays():
    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x):
            first = Calls(lambda dense, x: (dense(x), 2 * x), name="tuple")(x)[0]
            second = Calls(lambda dense, x: {"a": dense(x), "b": "text"}, name="dict")(first)["a"]
            return Calls(lambda dense, x: [[dense(x)]], name="nested")(second)

    model = made(Pair(), vectors())
    rows = rows_by_name(model, vectors())
    assert rows["tuple"].note == "the first of tuple of 2 (ArrayImpl, ArrayImpl)"
    assert rows["dict"].note == "the only array of dict of 'a', 'b'"
    with pytest.raises(LayerError, match=r"'nested' cannot be stored: it returns list of 1 \(list\)"):
        run_batches(model, ["nested"], vectors())


def test_layers_are_not_known_without_data(convnet):
    with pytest.raises(AdapterError, match="shows its layers only when it runs; give it --data"):
        adapt(convnet).layers(None)


def test_modules_that_a_scan_does_not_hand_out_are_listed():
    model = made(nn.RNN(nn.SimpleCell(4, name="cell")), vectors()[:, None])
    rows = rows_by_name(model, vectors()[:, None])
    assert rows["output"].shape == (1, 4)
    assert (
        rows["cell.i"].note
        == "it is called within a part that is jitted or scanned, which hands out its own result alone"
    )
    with pytest.raises(
        LayerError, match=r"'cell\.i' cannot be stored: it is called within a part that is jitted"
    ):
        run_batches(model, ["cell.i"], vectors()[:, None])


def test_a_layer_that_is_called_output_hides_that_of_the_model():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return 2 * nn.Dense(2, name="output")(x)

    model = made(Outer(), vectors())
    assert rows_by_name(model, vectors())["output"].type == "Dense"
    (found,) = run_batches(model, ["output"], vectors())
    np.testing.assert_array_equal(2 * found["output"].array, model[0].apply(model[1], vectors()))
