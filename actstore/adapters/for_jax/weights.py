"""How the JAX adapters load ``--weights``: arrays by dotted names, from safetensors or Flax's msgpack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actstore import arrays as interop
from actstore.adapters import trees
from actstore.adapters.extras import safetensors
from actstore.errors import AdapterError
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read(path: Path, key: str | None) -> dict[str, Any]:
    """The arrays of a file, by dotted names; of what lies under ``key`` alone, where one is given.

    Raises:
        AdapterError: a file of another kind or not readable, or nothing under ``key``.
    """
    if path.suffix == ".safetensors":
        found = safetensors(path, "flax")
    elif path.suffix == ".msgpack":
        found = trees.named(_msgpack(path))
    else:
        msg = (
            f"weights for a JAX model cannot be loaded from {path.name}: a .safetensors or .msgpack "
            "(flax.serialization) file is needed; or let the function that makes the model load them"
        )
        raise AdapterError(msg)
    if key is None:
        return found
    below = {name.removeprefix(f"{key}."): value for name, value in found.items() if name.startswith(f"{key}.")}
    if not below:
        msg = f"{path} holds nothing under {key!r} but {listed([*found])}"
        raise AdapterError(msg)
    return below


def filled(tree: Any, arrays: Mapping[str, Any], path: Path) -> Any:
    """``tree`` with its leaves replaced by the arrays of their names, in the dtypes of the leaves.

    Raises:
        AdapterError: a name or a shape is missing, left over or another.
    """
    from jax import numpy as jnp
    from jax import tree_util

    own = trees.named(tree)
    missing, strange = [*own.keys() - arrays.keys()], [*arrays.keys() - own.keys()]
    if missing or strange:
        msg = (
            f"the weights in {path} are not those of the model: it lacks {listed(sorted(missing))} "
            f"and has {listed(sorted(strange))} besides"
        )
        raise AdapterError(msg)
    for name, leaf in own.items():
        if jnp.shape(leaf) != jnp.shape(arrays[name]):
            msg = (
                f"the weights in {path} are not those of the model: {name} is {interop.describe(arrays[name])}, "
                f"where {interop.describe(leaf)} is needed"
            )
            raise AdapterError(msg)

    def loaded(path: tuple[Any, ...], leaf: Any) -> Any:
        return jnp.asarray(arrays[tree_util.keystr(path, simple=True, separator=".")], leaf.dtype)

    return tree_util.tree_map_with_path(loaded, tree)


def _msgpack(path: Path) -> Any:
    from flax import serialization

    try:
        return serialization.msgpack_restore(path.read_bytes())
    except Exception as error:  # whatever its decoder stumbles over
        msg = f"{path} is no file that flax.serialization wrote: {error}"
        raise AdapterError(msg) from error
