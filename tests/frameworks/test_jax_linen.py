"""Flax linen: which layers there are, how a batch runs, and what a model must not do."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.errors import AdapterError, LayerError
from actstore.patterns import select

jax = pytest.importorskip("jax", reason="jax is not installed: make test-frameworks")
nn = pytest.importorskip("flax.linen", reason="flax is not installed: make test-frameworks")
jnp = jax.numpy


class ConvNet(nn.Module):
    """A convolution over pixels, a dense layer over them, and one over what is left of them."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Conv(4, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.Dense(3)(x)
        return nn.Dense(2)(x.reshape(len(x), -1, 3)).mean(1)


class Calls(nn.Module):
    """A forward pass given as a function, over a dense layer that it can call."""

    forward: object
    width: int = 3

    @nn.compact
    def __call__(self, *inputs, **named):
        return self.forward(nn.Dense(self.width, name="dense"), *inputs, **named)


def pixels(rows=4):
    return np.random.default_rng(0).normal(size=(rows, 5, 5, 1)).astype(np.float32)


def vectors(rows=4):
    return np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)


def made(module, *inputs, **named):
    return module, module.init(jax.random.key(0), *inputs, **named)


@pytest.fixture(scope="module")
def convnet():
    return made(ConvNet(), pixels(), train=False)


def rows_by_name(model, inputs):
    return {row.name: row for row in adapt(model).layers(inputs)}


def run_batches(model, patterns, *batches):
    """The layers of each batch after the first, which only describes the model."""
    adapter = adapt(model)
    layers = select(patterns, adapter.layers(batches[0]))
    with adapter.running(layers) as run:
        return [run(batch) for batch in batches]


# Layers


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
        (nn.DenseGeneral((2, 4)), (6, 2), ("axis0", "axis1", "feature")),
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


def test_steps_of_a_scanned_part_are_told_from_rows():
    class Step(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            x = nn.Dense(3, name="dense")(x)
            return x, x

    scanned = nn.scan(
        Step, variable_axes={"params": 0, "intermediates": 0}, split_rngs={"params": True}, length=5
    )

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="last")(scanned(name="steps")(x, None)[0])

    model = made(Outer(), vectors())
    assert rows_by_name(model, vectors())["last"].shape == (2,)
    with pytest.raises(
        LayerError, match="'steps.dense' can not be stored: its first axis is 5 for a batch of 4"
    ):
        run_batches(model, ["steps.dense"], vectors())


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
    with pytest.raises(LayerError, match=r"'nested' can not be stored: it returns list of 1 \(list\)"):
        run_batches(model, ["nested"], vectors())


def test_layers_are_not_known_without_data(convnet):
    with pytest.raises(AdapterError, match="shows its layers only when it runs; give it --data"):
        adapt(convnet).layers(None)


# Models


def test_a_bound_module_and_a_pair_are_the_same_model(convnet):
    module, variables = convnet
    (pair,) = run_batches(convnet, ["**", "output"], pixels())
    (bound,) = run_batches(module.bind(variables), ["**", "output"], pixels())
    for name, layer in pair.items():
        np.testing.assert_array_equal(bound[name].array, layer.array)
    assert adapt(module.bind(variables)).provenance() == adapt(convnet).provenance()


@pytest.mark.parametrize("variables", [None, 3])
def test_a_module_without_variables_is_refused(variables):
    model = ConvNet() if variables is None else (ConvNet(), variables)
    with pytest.raises(AdapterError, match=r"ConvNet came with (no variables|int): give it bound, module.bind"):
        adapt(model)


def test_evaluation_mode_uses_the_batch_statistics_and_changes_none(convnet):
    module, variables = convnet
    moved = jax.tree_util.tree_map(lambda leaf: leaf + 1, variables)
    (found,) = run_batches((module, moved), ["output"], pixels())
    np.testing.assert_array_equal(found["output"].array, module.apply(moved, pixels(), train=False))
    before = jax.tree_util.tree_map(lambda leaf: leaf + 1, variables)
    assert all(map(np.array_equal, *map(jax.tree_util.tree_leaves, (before, moved))))


@pytest.mark.parametrize("layer", ["dropout", "norm"])
def test_a_model_that_stays_in_training_mode_is_explained(layer):
    class Training(nn.Module):
        def setup(self):
            self.dropout, self.norm = (
                nn.Dropout(0.5, deterministic=False),
                nn.BatchNorm(use_running_average=False),
            )

        def __call__(self, x):
            return getattr(self, layer)(x)

    module = Training()
    variables = module.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, vectors())
    with pytest.raises(Exception, match=r"dropout|mean") as caught:
        run_batches((module, variables), ["output"], vectors())
    assert caught.value.__notes__[0].startswith(
        "the model is not in evaluation mode: let its __call__ take train"
    )


def test_the_weights_hash_sees_every_collection(convnet):
    module, variables = convnet
    weights = adapt(convnet).provenance()["weights"]
    statistics = jax.tree_util.tree_map(lambda leaf: leaf + 1, variables["batch_stats"])
    assert adapt((module, {**variables, "batch_stats": statistics})).provenance()["weights"] != weights
    copied = jax.tree_util.tree_map(np.array, variables)
    assert adapt((module, copied)).provenance()["weights"] == weights


# Batches


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_floats_keep_their_own_bits(dtype):
    model = made(nn.Dense(2, dtype=dtype, param_dtype=dtype), vectors())
    (found,) = run_batches(model, ["output"], vectors().astype(np.float64))
    expected = np.asarray(model[0].apply(model[1], vectors().astype(dtype)))
    assert (found["output"].dtype, expected.dtype.name) == (dtype, dtype)
    np.testing.assert_array_equal(found["output"].array.view(np.uint16), expected.view(np.uint16))


def test_floats_come_in_the_dtype_of_the_parameters_and_integers_as_they_are():
    seen = []
    model = made(Calls(lambda dense, x: seen.append(x.dtype.name) or dense(x)), vectors())
    seen.clear()
    for dtype in ("float64", ">f4", "uint8", "int64"):
        run_batches(model, ["dense"], vectors().astype(dtype))
    assert seen[::2] == ["float32", "float32", "uint8", "int32"]  # x64 is off


def test_integers_that_would_be_cut_off_are_refused():
    model = made(nn.Embed(5, 2), np.zeros((2, 3), int))
    with pytest.raises(
        AdapterError, match="whole numbers that JAX would cut off to int32: set JAX_ENABLE_X64=1"
    ):
        run_batches(model, ["output"], np.full((2, 3), 2**40))


def test_text_is_refused():
    with pytest.raises(AdapterError, match=r"a JAX model takes numbers, but the batch is ndarray <U1 \(2,\)"):
        run_batches(made(nn.Dense(2), vectors()), ["output"], np.array(["a", "b"]))


def test_a_tuple_is_positional_and_a_dict_is_by_name():
    def forward(dense, a, b, train=True):
        return dense(a - b) if not train else None

    a, b = vectors(), vectors()[::-1].copy()
    model = made(Calls(forward), a, b, train=False)
    with pytest.raises(LayerError, match="it returns None"):
        run_batches(model, ["output"], (a, b))  # *inputs hides the argument, so that it is left alone
    (named,) = run_batches(model, ["dense"], {"b": b, "a": a, "train": False})
    expected = model[0].apply(model[1], a, b, train=False)
    np.testing.assert_array_equal(named["dense"].array, expected)


def test_what_the_model_raises_says_what_it_was_given(convnet):
    with pytest.raises(Exception, match="incompatible shapes|shape") as caught:
        run_batches(convnet, ["output"], pixels()[..., 0])
    assert caught.value.__notes__[-1] == "the model was given ndarray float32 (4, 5, 5), train=False"


@pytest.mark.parametrize(("times", "how"), [([2, 3], "more often"), ([3, 2], "less often")])
def test_calls_that_change_between_batches_are_an_error(times, how):
    def forward(dense, x):
        for _ in range(int(x[0, 0])):
            x = dense(x)
        return x

    batches = [np.full((2, 3), count, np.float32) for count in times]
    model = made(Calls(forward), batches[0])
    with pytest.raises(AdapterError, match=f"module 'dense' is called {how} for this batch than for the first"):
        run_batches(model, ["dense"], *batches)


def test_layers_inside_a_jitted_part_have_the_same_bits_alone():
    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(4):
                x = nn.LayerNorm()(nn.gelu(nn.Dense(16)(x)))
            return x

    model = made(nn.jit(Inner)(), vectors(64))
    (whole,) = run_batches(model, ["**", "output"], vectors(64))
    assert len(whole) == 9
    for name in whole:
        (alone,) = run_batches(model, [name], vectors(64))
        np.testing.assert_array_equal(alone[name].array, whole[name].array)


# Devices


@pytest.mark.parametrize(
    ("device", "reason"),
    [("nonsense", "Unknown backend"), ("cpu:99", "JAX has 'cpu:0'"), ("cpu:x", "JAX has 'cpu:0'")],
)
def test_a_device_that_is_not_there_is_refused(convnet, device, reason):
    with pytest.raises(AdapterError, match=f"the model can not go to device '{device}': .*{reason}") as caught:
        adapt(convnet, device).layers(pixels())
    assert "\n" not in str(caught.value)


def test_a_device_that_is_there_gives_the_same(convnet, captured):
    (here,) = run_batches(convnet, ["**"], pixels())
    there = captured(convnet, pixels(), device="cpu:0")
    for name, layer in here.items():
        np.testing.assert_array_equal(there[name].array, layer.array)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="there is no GPU that JAX can use")
def test_a_gpu_gives_the_same(convnet, captured):
    here, there = captured(convnet, pixels(), device="cpu"), captured(convnet, pixels(), device="gpu:0")
    for name, layer in here.items():
        # Products may run in TF32, which keeps 10 bits.
        np.testing.assert_allclose(there[name].array, layer.array, atol=1e-2)
