"""Keras: the names, calls and axes of layers, what a batch may be, and that the model is left as it was found."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.adapters.for_keras import model as keras_model
from actstore.arrays import to_bits
from actstore.errors import AdapterError, LayerError
from actstore.patterns import select
from tests.frameworks.keras_networks import BACKEND, convnet, keras, layers, residual


class Block(layers.Layer):
    """A convolution and an activation that several blocks share."""

    def __init__(self, act, **options):
        super().__init__(**options)
        self.conv, self.act = layers.Conv1D(3, 2), act

    def call(self, x):
        return self.act(self.conv(x))


class Net(keras.Model):
    """A model of the user's own: blocks in a list, layers in a dict, one under a private name, one never called."""

    def __init__(self):
        super().__init__()
        act = layers.Activation("relu")
        self.blocks = [Block(act), Block(act)]
        self.heads = {"a": layers.Dense(2)}
        self._hidden = layers.Dense(4, name="hidden")
        self.unused = layers.Activation("tanh")

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](self._hidden(x))


class Counting(layers.Layer):
    """Counts its calls and gives what it was given."""

    calls = 0

    def call(self, x):
        self.calls += 1
        return x


@pytest.fixture
def pictures():
    return np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)


def sequences(rows=3):
    return np.random.default_rng(1).normal(size=(rows, 6, 3)).astype(np.float32)


def built():
    keras.utils.set_random_seed(0)
    net = Net()
    net(sequences())
    return net


def rows_of(model, inputs=None):
    return {layer.name: layer for layer in adapt(model).layers(inputs)}


# Names and calls


def test_layers_of_a_functional_model_by_their_names(pictures):
    names = [layer.name for layer in adapt(convnet()).layers(pictures)]
    (operation,) = [name for name in names if name.startswith("add")]
    inner = ["inner.norm", "inner.drop", "inner"]
    assert names == [
        "input", "first", "relu", "second", "relu#1", operation, *inner, "pool", "head", "output"
    ]  # fmt: skip


def test_each_call_of_a_shared_layer_gives_its_own_values(captured, pictures):
    found = {name: layer.array for name, layer in captured(convnet(), pictures).items()}
    np.testing.assert_array_equal(found["relu"], np.maximum(found["first"], 0))
    np.testing.assert_array_equal(found["relu#1"], np.maximum(found["second"], 0))
    (operation,) = [name for name in found if name.startswith("add")]
    np.testing.assert_array_equal(found[operation], found["relu"] + found["relu#1"])
    np.testing.assert_array_equal(found["inner.drop"], found["inner.norm"])


def test_layers_of_a_subclassed_model_by_their_attributes():
    found = rows_of(built(), sequences())
    calls = ["blocks.0.conv", "blocks.0.act", "blocks.0", "blocks.1.conv", "blocks.0.act#1", "blocks.1"]
    assert [name for name, layer in found.items() if layer.shape is not None] == [
        "input", *calls, "hidden", "heads.a", "output"
    ]  # fmt: skip
    assert found["blocks.1.act"].note == "it is the same layer as 'blocks.0.act'"
    assert found["unused"].note == "it was not called for this batch"


def test_layers_are_listed_without_a_batch():
    found = rows_of(built())
    assert set(found) == {
        "blocks.0", "blocks.0.conv", "blocks.0.act", "blocks.1", "blocks.1.conv", "blocks.1.act", "heads.a",
        "hidden", "unused", "output",
    }  # fmt: skip
    assert all(layer.shape is None for layer in found.values())


def test_layers_after_the_deepest_one_do_not_run_where_passes_stop_early():
    head, tail = Counting(), Counting()
    model = keras.Sequential([keras.Input((3,)), head, tail])
    for stop_early, of_tail in ((False, 4), (True, 2)):
        head.calls = tail.calls = 0
        adapter = adapt(model, stop_early=stop_early)
        chosen = select([head.name], adapter.layers(np.ones((2, 3))))
        with adapter.running(chosen) as run:
            for _ in range(2):
                run(np.ones((2, 3)))
        assert (head.calls, tail.calls) == (4, of_tail), "two passes describe the model"


@pytest.mark.parametrize(("times", "how"), [([2, 3], "more often"), ([3, 2], "less often")])
def test_calls_that_change_between_batches_are_an_error(times, how):
    class Repeats(keras.Model):
        def __init__(self):
            super().__init__()
            self.step, self.tail = Counting(), Counting()

        def call(self, x):
            for _ in range(int(x[0, 0])):
                x = self.step(x)
            return self.tail(x)

    batches = [np.full((2, 1), count, np.float32) for count in times]
    model = Repeats()
    model(batches[0])
    adapter = adapt(model)
    chosen = select(["step", "tail"], adapter.layers(batches[0]))
    with (
        adapter.running(chosen) as run,
        pytest.raises(AdapterError, match=f"layer 'step' is called {how} for this batch than for the first"),
    ):
        run(batches[1])


def test_of_several_arrays_the_first_is_taken():
    inputs = keras.Input((5, 3))
    outputs = layers.LSTM(4, return_sequences=True, return_state=True, name="lstm")(inputs)
    found = rows_of(keras.Model(inputs, outputs[0]), np.ones((2, 5, 3)))
    assert found["lstm"].shape == (5, 4)
    assert found["lstm"].note.startswith("the first of ")


@pytest.mark.skipif(
    BACKEND != "jax", reason="only jax compiles the loop of a recurrent layer when it is called"
)
def test_a_layer_inside_a_compiled_loop_is_told_apart():
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, layers.RNN(layers.LSTMCell(4), name="rnn")(inputs))
    with pytest.raises(
        LayerError, match=r"'rnn.cell' cannot be stored: it is called inside a loop that the backend"
    ):
        select(["rnn.cell"], adapt(model).layers(np.ones((2, 5, 3))))


# Axes


@pytest.mark.parametrize(
    ("order", "axes"),
    [("channels_last", ("height", "width", "channel")), ("channels_first", ("channel", "height", "width"))],
)
def test_axes_of_images_are_in_the_layers_own_order(pictures, order, axes):
    if order == "channels_first":
        pictures = pictures.transpose(0, 3, 1, 2)
    found = rows_of(convnet(order=order), pictures)
    for name in ("first", "relu#1", "inner.norm", "inner"):
        assert found[name].axes == axes
    assert found["pool"].axes == ("feature",)


def test_axes_of_sequences():
    inputs = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(7, 8, name="embedding")(inputs)
    hidden = layers.MultiHeadAttention(2, 4, name="attention")(hidden, hidden)
    hidden = layers.LayerNormalization(name="norm")(hidden)
    model = keras.Model(inputs, layers.Conv1D(3, 2, name="conv")(hidden))
    found = rows_of(model, np.zeros((2, 5), np.int32))
    for name in ("embedding", "attention", "norm"):
        assert (found[name].axes, found[name].shape) == (("position", "feature"), (5, 8))
    assert found["conv"].axes == ("position", "channel")
    assert found["attention.query"].axes == ("axis0", "axis1", "feature")


# The model as it was found


def test_nothing_random_and_nothing_learned(captured):
    inputs = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.BatchNormalization(), layers.Dropout(0.5, name="drop")])
    before = [np.array(to_bits(weight.value)[0]) for weight in model.weights]
    first, second = captured(model, inputs), captured(model, inputs)
    np.testing.assert_array_equal(first["drop"].array, second["drop"].array)
    assert (first["drop"].array != 0).all()
    for weight, kept in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(to_bits(weight.value)[0], kept)


def test_a_call_that_was_the_users_own_comes_back(captured):
    model = residual()
    layer = model.layers[0].first
    own = layer.call
    vars(layer)["call"] = own
    captured(model, np.ones((2, 6)))
    assert vars(layer)["call"] is own


@pytest.mark.skipif(BACKEND != "torch", reason="layers are torch modules on the torch backend alone")
def test_torch_models_of_keras_are_keras_models_and_modules_inside_keep_their_modes(captured):
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5))
    model = keras.Sequential([keras.Input((3,)), keras.layers.TorchModuleWrapper(module, name="module")])
    module.train()
    assert adapt(model).name == "keras"
    first, second = (captured(model, np.ones((2, 3)))["module"].array for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert module.training
    assert torch.is_grad_enabled()


# Batches


def test_several_inputs_come_as_the_model_wants_them(captured):
    one, two = keras.Input((2,), name="one"), keras.Input((2,), name="two")
    model = keras.Model([one, two], layers.Subtract(name="difference")([one, two]))
    a, b = np.ones((3, 2)), np.arange(6).reshape(3, 2)
    for batch in ((a, b), {"two": b, "one": a}):
        found = captured(model, batch, "difference")["difference"]
        assert found.dtype == "float32"
        np.testing.assert_array_equal(found.array, a - b)


def test_arrays_of_other_libraries_and_orders_are_taken(captured):
    x = np.ones((2, 6), ">f8")
    x.flags.writeable = False
    np.testing.assert_array_equal(
        captured(residual(), x, "block")["block"].array,
        captured(residual(), np.ones((2, 6), np.float32), "block")["block"].array,
    )


def test_bfloat16_keeps_its_bits(captured):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, dtype="bfloat16", name="dense")])
    found = captured(model, np.ones((2, 3), np.float32))["dense"]
    assert (found.dtype, found.array.dtype) == ("bfloat16", np.uint16)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow has layers that take text")
@pytest.mark.parametrize("batch", [np.array(["a", "b"]), ["a", "b"]])
def test_text_is_refused(captured, batch):
    with pytest.raises(
        AdapterError, match=rf"takes numbers on its {BACKEND} backend, but the batch is ndarray <U1"
    ):
        captured(residual(), batch, "block")


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has layers that take text")
@pytest.mark.parametrize("batch", [np.array(["b", "a"]), ["b", "a"]])
def test_text_is_given_to_layers_that_take_it(captured, batch):
    model = keras.Sequential([layers.StringLookup(vocabulary=["a", "b"], name="codes")])
    model.build((None,))
    assert captured(model, batch, "codes")["codes"].array.tolist() == [2, 1]


def test_a_model_without_weights_is_refused():
    with pytest.raises(
        AdapterError, match=r"Net '.*' is not built, so that it has no weights yet: call it on a batch"
    ):
        adapt(Net()).layers(sequences())


# Devices


def test_the_device_where_the_model_is_can_be_asked_for(captured):
    model = residual()
    place = keras_model.place(model.weights[0].value)
    found = captured(model, np.ones((2, 6)), "block", device=place)
    assert found["block"].array.shape == (2, 6)


@pytest.mark.parametrize("device", ["cuda:77", "nonsense"])
def test_another_device_is_refused(captured, device):
    with pytest.raises(
        AdapterError, match=rf"the model is on '.*:0' and not on device '{device}', and a Keras model"
    ):
        captured(residual(), np.ones((2, 6)), "block", device=device)
