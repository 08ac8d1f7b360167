"""The weights of a torch model: what their hash is over, and how they are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.adapters.extras import safetensors
from actstore.adapters.for_torch.wrappers import WRAPPED_PREFIXES, names_without_wrappers
from actstore.errors import AdapterError
from actstore.usercode import explain

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module


def state(model: Module) -> Iterable[tuple[str, object]]:
    """The state dict, as names with dtypes and shapes, and bytes; the text of whatever is no tensor in it.

    Raises:
        UnseenWeightsError: the model gives none, or one of its tensors cannot be hashed.
    """
    import torch
    from torch.nn.parameter import is_lazy

    names = names_without_wrappers(model)
    with _naming("state_dict()"):
        found = dict(model.state_dict())
    for path, value in found.items():
        module, _, own = path.rpartition(".")
        name = f"{names[module]}.{own}" if names.get(module) else own if module in names else path
        if is_lazy(value):  # of a module that was never called: it has no shape yet
            yield name, np.array("not initialised")
            continue
        if not arrays.is_array(value):
            with _naming(name):
                text = repr(value)
            yield name, np.array(text)
            continue
        with _naming(name):
            for part, dense in _dense(value.detach()).items():
                flat = dense.cpu().contiguous().reshape(-1)
                yield f"{name}{part} {value.dtype} {tuple(value.shape)}", flat.view(torch.uint8)


def _dense(value: Any) -> dict[str, Any]:
    """The dense tensors that make up one: indices and values of a sparse one, the integers of a quantised one."""
    import torch

    if value.layout == torch.sparse_coo:
        whole = value.coalesce()
        return {" indices": whole.indices(), " values": whole.values()}
    if value.layout in (torch.sparse_csr, torch.sparse_bsr):
        return {
            " rows": value.crow_indices(),
            " columns": value.col_indices(),
            " values": value.values(),
        }
    if value.layout in (torch.sparse_csc, torch.sparse_bsc):
        return {
            " columns": value.ccol_indices(),
            " rows": value.row_indices(),
            " values": value.values(),
        }
    if value.is_quantized:
        return {f" {value.qscheme()} {_scales(value)}": value.int_repr()}
    return {"": value}


def _scales(value: Any) -> str:
    """The scale and the zero of a quantised tensor, or of each of its channels."""
    if hasattr(value, "q_per_channel_scales") and "channel" in str(value.qscheme()):
        return f"{value.q_per_channel_scales().tolist()} {value.q_per_channel_zero_points().tolist()}"
    return f"{value.q_scale()} {value.q_zero_point()}"


class UnseenWeightsError(Exception):
    """A weight that cannot be hashed: of a type of its own, or not there (offloaded)."""


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # torch says in many ways that a tensor has no bytes
        msg = f"{name}: {explain(error)}"
        raise UnseenWeightsError(msg) from error


SAFE_VERSION = (2, 6)
"""Of torch: from it on ``weights_only`` runs nothing."""


def _version(text: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` as (2, 13)."""
    return tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())


def load_weights(model: Module, path: Path, key: str | None) -> None:
    """Load a state dict into ``model``, strictly.

    Raises:
        AdapterError: the file holds anything but tensors, or not exactly the model's.
    """
    found = safetensors(path, "torch") if path.suffix == ".safetensors" else _pickled_tensors(path)
    if key is not None:
        if not isinstance(found, Mapping) or key not in found:
            msg = f"{path} holds no {key!r} but {arrays.describe(found)}"
            raise AdapterError(msg)
        found = found[key]
    if not isinstance(found, Mapping) or not any(arrays.is_array(value) for value in found.values()):
        msg = f"{path} holds {arrays.describe(found)}, expected a state dict; say which by {path.name}:KEY"
        raise AdapterError(msg)
    try:
        model.load_state_dict(_without_prefix(found, model))
    except RuntimeError as error:
        msg = f"the weights in {path} are not those of {type(model).__name__}: {explain(error)}"
        raise AdapterError(msg) from error


def _without_prefix(found: Mapping[str, Any], model: Module) -> dict[str, Any]:
    """The names as ``model`` has them, where the state dict was saved of a wrapper around such a model."""
    own = model.state_dict()
    for prefix in WRAPPED_PREFIXES:
        if all(str(name).startswith(prefix) for name in found) and not any(map(found.__contains__, own)):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return dict(found)


def _pickled_tensors(path: Path) -> Any:
    import torch

    if _version(torch.__version__) < SAFE_VERSION:
        msg = (
            f"{path} is a pickle, and torch {torch.__version__} can be made to run code by one, whatever it is told "
            f"(CVE-2025-32434): update torch to 2.6 or newer, or save the weights as .safetensors"
        )
        raise AdapterError(msg)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever its unpickler stumbles over
        msg = f"{path} does not hold tensors alone (a pickle can run anything, and is refused): save the state_dict"
        raise AdapterError(msg) from error
