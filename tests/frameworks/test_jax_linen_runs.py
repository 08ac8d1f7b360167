"""Flax linen: what a model may be, how a batch runs, and what a model must not do."""

import numpy as np
import pytest
from frameworks.linen_models import Calls, ConvNet, jax, made, nn, pixels, run_batches, vectors

from actstore.adapters import adapt
from actstore.errors import AdapterError, LayerError


@pytest.fixture(scope="module")
def convnet():
    return made(ConvNet(), pixels(), train=False)


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
    with pytest.raises(
        AdapterError, match=r"ConvNet comes with (no variables|int): give it bound, module.bind"
    ):
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
    assert list(dict.fromkeys(seen)) == ["float32", "uint8", "int32"]  # x64 is off


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
    with pytest.raises(Exception, match="shape") as caught:
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
    with pytest.raises(AdapterError, match=f"the model cannot go to device '{device}': .*{reason}") as caught:
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
