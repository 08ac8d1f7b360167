"""JAX functions: jitted ones, pairs with parameters, trees of arrays; and JAX's arrays as stores take them."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

from actstore import arrays as interop
from actstore.adapters import adapt
from actstore.adapters.for_functions import FunctionAdapter
from actstore.errors import AdapterError
from actstore.provenance import hash_arrays

jax = pytest.importorskip("jax", reason="jax is not installed: make test-frameworks")
jnp = jax.numpy

BATCH = np.arange(6, dtype=np.float32).reshape(3, 2)


class Block(NamedTuple):
    attn: object
    mlp: object


def layers(model, batch=BATCH, device=None):
    """The layers of one batch by name, with the adapter that gave them."""
    adapter = adapt(model, device)
    described = [layer for layer in adapter.layers(batch) if not layer.explicit]
    with adapter.running(described) as run:
        return adapter.name, run(batch)


def tree(x):
    return {"z": [x, (2 * x, None)], "block": {0: Block(3 * x, mlp=4 * x)}}


def single(x):
    return 2 * jnp.asarray(x)


NAMES = {"z.0": 1, "z.1.0": 2, "block.0.attn": 3, "block.0.mlp": 4}


@pytest.mark.parametrize("jitted", [True, False])
def test_a_tree_gives_its_leaves_by_their_paths(jitted):
    name, found = layers(jax.jit(tree) if jitted else lambda x: tree(jnp.asarray(x)))
    assert name == ("jax" if jitted else "function")
    assert list(found) == (sorted(NAMES) if jitted else list(NAMES)), "jit sorts a mapping"
    for path, factor in NAMES.items():
        np.testing.assert_array_equal(found[path].array, factor * BATCH)


@pytest.mark.parametrize("jitted", [True, False])
def test_a_single_array_is_the_layer_output(jitted):
    _, found = layers(jax.jit(single) if jitted else single)
    np.testing.assert_array_equal(found["output"].array, 2 * BATCH)


def test_a_flat_mapping_of_jax_arrays_keeps_its_order():
    _, found = layers(lambda x: {"b": jnp.asarray(x), "a": jnp.asarray(x)})
    assert list(found) == ["b", "a"]


def test_two_leaves_of_one_name_are_refused():
    with pytest.raises(
        AdapterError, match=r"two arrays of dict of 'a', 'a.b' have the same name 'a.b'; rename one"
    ):
        layers(lambda x: {"a": {"b": jnp.asarray(x)}, "a.b": jnp.asarray(x)})


def test_a_function_that_returns_nothing_is_refused():
    with pytest.raises(AdapterError, match=r"returned None, expected a tree of arrays"):
        layers(jax.jit(lambda x: None))


def test_a_pair_is_called_with_its_parameters():
    params = {"w": jnp.full((2, 2), 2.0), "b": [np.ones(2, np.float32)]}
    for function in (lambda params, x: {"y": x @ params["w"] + params["b"][0]},):
        for model in ((function, params), (jax.jit(function), params), (partial(function), params)):
            name, found = layers(model)
            assert name == "jax"
            np.testing.assert_array_equal(found["y"].array, BATCH @ np.full((2, 2), 2) + 1)


def test_the_parameters_of_a_pair_are_hashed_as_the_weights():
    def function(params, x):
        return x

    arrays = {"w": np.ones((2, 2), np.float32), "b": np.zeros(2, np.float32)}
    found = adapt((function, {"a": {name: jnp.asarray(array) for name, array in arrays.items()}})).provenance()
    assert found["weights"] == hash_arrays([("a.b", arrays["b"]), ("a.w", arrays["w"])])
    assert found["fingerprint"] == adapt(function).provenance()["fingerprint"]
    half = adapt((function, {"a": jax.tree_util.tree_map(lambda leaf: leaf.astype(np.float16), arrays)}))
    assert half.provenance()["weights"] != found["weights"]


def test_a_jitted_function_has_no_weights_to_see_but_a_source():
    found = adapt(jax.jit(single)).provenance()
    assert (found["weights"], found["fingerprint"]) == ("not seen", adapt(single).provenance()["fingerprint"])
    bound = adapt(partial(jax.jit(lambda x, scale: scale * x), scale=3))
    assert (bound.name, bound.provenance()["arguments"]) == ("jax", {"scale": "3"})


def test_floats_come_in_the_dtype_of_the_parameters():
    function = jax.jit(lambda params, x: {"x": x})
    for dtype in ("bfloat16", "float16", "float32"):
        _, found = layers((function, [jnp.ones(2, dtype)]), BATCH.astype(np.float64))
        assert found["x"].dtype == dtype
    _, found = layers((function, [jnp.ones(2, int)]), BATCH.astype(np.float64))
    assert found["x"].dtype == "float32", "x64 is off"


def test_the_device_is_looked_up():
    assert layers((lambda params, x: {"x": x}, []), device="cpu")[1]["x"].dtype == "float32"
    with pytest.raises(AdapterError, match="cannot go to device 'gpu:7': "):
        layers((lambda params, x: {"x": x}, []), device="gpu:7")


def test_errors_say_what_the_function_was_given():
    with pytest.raises(TypeError, match="dot_general") as caught:
        layers((jax.jit(lambda params, x: x @ params), jnp.ones((3, 3))))
    assert caught.value.__notes__ == ["the model was given ndarray float32 (3, 2)"]


@pytest.mark.parametrize("model", [(3, {}), ("a", "b", "c"), (dict, {}), ({}, len)])
def test_other_pairs_are_no_models(model):
    with pytest.raises(AdapterError, match=r"tuple of .* is not a model that an adapter knows"):
        adapt(model)


def test_a_function_of_numpy_stays_a_plain_function():
    assert type(adapt(lambda x: {"x": x})) is FunctionAdapter
    with pytest.raises(AdapterError, match=r"returned list of 1 \(ndarray\), where a mapping"):
        layers(lambda x: [x])


# Arrays


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "int8", "uint32", "bool"])
def test_jax_arrays_come_as_their_bits(dtype):
    array = jnp.asarray([[0, 1], [1, 3]]).astype(dtype)
    bits, name = interop.to_bits(array)
    assert (name, bits.dtype.name) == (dtype, "uint16" if dtype == "bfloat16" else dtype)
    np.testing.assert_array_equal(bits, np.asarray(array).view(bits.dtype))
    if dtype == "bfloat16":
        wide = (bits.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_array_equal(wide, [[0, 1], [1, 3]])


def test_a_capture_of_a_jax_array_is_a_copy():
    array = jnp.ones((2, 3))
    captured = interop.capture(array)
    captured.array[:] = 0
    np.testing.assert_array_equal(array, np.ones((2, 3)))
