"""What the JAX adapters share: names for the leaves of a tree, inputs as JAX takes them, devices."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.activations import OUTPUT
from actstore.errors import AdapterError
from actstore.store.format import BFLOAT16
from actstore.usercode import explain
from actstore.wording import listed

if TYPE_CHECKING:
    import jax

_HIDDEN_FRAMES = "-----"
"""How JAX's note on an error begins that says that its own frames are left out of the traceback."""


def named(tree: object) -> dict[str, Any]:
    """The leaves of a tree by their paths, joined with dots (``block.0.attn``); a single array is ``output``.

    Mappings keep their order, where JAX would sort it; a None holds nothing.

    Raises:
        AdapterError: two leaves have the same name.
    """
    leaves: dict[str, Any] = {}
    for path, leaf in _leaves(tree, ()):
        name = ".".join(path) or OUTPUT
        if name in leaves:
            msg = f"two arrays of {arrays.describe(tree)} have the same name {name!r}; rename one"
            raise AdapterError(msg)
        leaves[name] = leaf
    return leaves


def _leaves(node: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    from jax import tree_util

    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from _leaves(child, (*path, str(key)))
        return
    children, _ = tree_util.tree_flatten_with_path(node, is_leaf=lambda value: value is not node)
    for keys, child in children:
        if keys:
            yield from _leaves(child, (*path, tree_util.keystr(keys, simple=True)))
        else:
            yield path, child


def is_nested(tree: object) -> bool:
    """Whether ``tree`` holds JAX arrays in any other way than a mapping of names to arrays."""
    if "jax" not in sys.modules or (isinstance(tree, Mapping) and all(map(arrays.is_array, tree.values()))):
        return False
    jax = import_module("jax")
    return any(isinstance(leaf, jax.Array) for leaf in jax.tree_util.tree_leaves(tree))


def hashed(leaves: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Names and arrays as ``hash_arrays`` takes them: random keys by their data, text of what is no array.

    Sorted by name: JAX sorts a tree now and then, which makes no other model.
    """
    import jax

    for name, leaf in sorted(leaves.items(), key=lambda item: item[0]):
        if not arrays.is_array(leaf):
            yield name, np.array(repr(leaf))
        elif isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            yield name, jax.random.key_data(leaf)
        else:
            yield name, leaf


def float_dtype(tree: object) -> np.dtype | None:
    """The dtype of the first floating-point leaf, as JAX computes with it; None where there is none."""
    from jax import dtypes, tree_util

    found = (leaf.dtype for leaf in tree_util.tree_leaves(tree) if arrays.is_array(leaf))
    floats = (dtype for dtype in found if dtypes.issubdtype(dtype, np.floating))
    return next((dtypes.canonicalize_dtype(dtype) for dtype in floats), None)


def find_device(name: str) -> jax.Device:
    """The device ``cpu``, ``gpu``, ``gpu:1``, ....

    Raises:
        AdapterError: JAX has no such device.
    """
    import jax

    platform, _, number = name.partition(":")
    try:
        devices = jax.devices(platform)
        return devices[int(number or 0)]
    except RuntimeError as error:  # how JAX says that there is no such platform
        reason = explain(error)
    except (ValueError, IndexError):
        reason = f"JAX has {listed([f'{platform}:{index}' for index in range(len(devices))])}"
    msg = f"the model cannot go to device {name!r}: {reason}"
    raise AdapterError(msg)


@contextmanager
def explaining(inputs: object, **arguments: object) -> Iterator[None]:
    """Errors of a model with a note that says what it was given, and without JAX's note on the frames it hides."""
    try:
        yield
    except Exception as error:  # whatever the user's model raises goes on
        notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith(_HIDDEN_FRAMES)]
        given_too = "".join(f", {name}={value}" for name, value in arguments.items())
        error.__notes__ = [*notes, f"the model was given {arrays.describe(inputs)}{given_too}"]
        raise


@contextmanager
def on_device(device: jax.Device | None, tree: Any) -> Iterator[Any]:
    """A context in which arrays are made on ``device``; gives ``tree`` as it lies there (None: where it is).

    NumPy's arrays become JAX's, once and not in every batch, and so that no model can write into them.
    """
    import jax

    if device is None:
        yield jax.tree_util.tree_map(
            lambda leaf: jax.numpy.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, tree
        )
        return
    with jax.default_device(device):
        yield jax.device_put(tree, device)


def given(inputs: Any, floating: np.dtype | None, device: jax.Device | None) -> Any:
    """Inputs as a JAX model takes them: arrays on the device, floats in the dtype ``floating`` where there is one.

    Raises:
        AdapterError: text, or whole numbers that JAX would cut off to 32 bits.
    """
    import jax
    from jax import numpy as jnp

    if isinstance(inputs, Mapping):
        return {name: given(value, floating, device) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(given(value, floating, device) for value in inputs)
    if not arrays.is_array(inputs):
        return inputs
    array = inputs if isinstance(inputs, jax.Array) else _from_another_library(inputs)
    if floating is not None and jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(floating)
    return jnp.asarray(array) if device is None else jax.device_put(array, device)


def _from_another_library(value: object) -> np.ndarray:
    from jax import dtypes
    from jax import numpy as jnp

    bits, dtype = arrays.to_bits(value)
    array = (
        bits.view(jnp.bfloat16) if dtype == BFLOAT16 else bits.astype(bits.dtype.newbyteorder("="), copy=False)
    )
    if dtype != BFLOAT16 and array.dtype.kind not in "biufc":
        msg = f"a JAX model takes numbers, but the batch is {arrays.describe(value)}"
        raise AdapterError(msg)
    narrow = dtypes.canonicalize_dtype(array.dtype)
    if array.dtype.kind in "iu" and (array.astype(narrow) != array).any():
        msg = (
            f"the batch has whole numbers that JAX would cut off to {narrow}: set JAX_ENABLE_X64=1, "
            "or make them smaller"
        )
        raise AdapterError(msg)
    return array
