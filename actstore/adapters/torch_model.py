"""How for_torch handles a whole model: evaluation mode for the time being, the forward pass, its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import interop
from actstore.errors import AdapterError
from actstore.patterns import listed
from actstore.usercode import explain

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch.nn import Module


@contextmanager
def evaluating(model: Module, device: str | None) -> Iterator[None]:
    """Evaluation mode on ``device`` (None: where the model is), then every module's own mode and device again.

    Raises:
        AdapterError: a module stays in training mode, or there is no such device.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        stubborn = [name for name, module in model.named_modules() if module.training]
        if stubborn:
            msg = (
                f"modules that stay in training mode after model.eval(): {listed(stubborn)}; their train() or eval() "
                "is overridden: mend it, since dropout and batch statistics would make the activations random"
            )
            raise AdapterError(msg)
        with _on_device(model, device):
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _on_device(model: Module, device: str | None) -> Iterator[None]:
    if device is None:
        yield
        return
    homes = {tensor.device for tensor in _tensors(model)}
    if len(homes) > 1:
        msg = f"the model lies on several devices ({listed(sorted(map(str, homes)))}); leave --device out"
        raise AdapterError(msg)
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # how torch says that there is no such device
        model.to(*homes)
        msg = f"the model can not go to device {device!r}: {explain(error)}"
        raise AdapterError(msg) from error
    try:
        yield
    finally:
        model.to(*homes)


def forward(model: Module, inputs: object) -> None:
    """One pass without gradients (not in inference mode, whose tensors a model that keeps some could not train with).

    An error that integer inputs may explain has a note saying so.
    """
    import torch

    floating = next((tensor for tensor in _tensors(model) if tensor.is_floating_point()), None)
    like = floating if floating is not None else next(iter(_tensors(model)), torch.empty(0, dtype=torch.int64))
    given = _given(inputs, like)
    try:
        with torch.no_grad():
            if isinstance(given, Mapping):
                model(**given)
            elif isinstance(given, tuple):
                model(*given)
            else:
                model(given)
    except (RuntimeError, TypeError, ValueError) as error:
        if interop.is_array(given) and not (given.is_floating_point() or floating is None):
            error.add_note(
                f"the model was given {interop.describe(given)}, as it is in the data; where it wants floats or "
                "another shape, convert in its forward, x = x.float().unsqueeze(1) / 255, or in a module around it"
            )
        raise


def _given(inputs: Any, like: torch.Tensor) -> Any:
    """Inputs as the model takes them: tensors on the device, floats in the dtype of ``like`` where that is a float."""
    import torch

    if isinstance(inputs, Mapping):
        return {name: _given(value, like) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(_given(value, like) for value in inputs)
    if not interop.is_array(inputs):
        return inputs
    if not hasattr(inputs, "detach"):
        array, _ = interop.to_bits(inputs)
        if array.dtype.kind not in "biufc":
            msg = f"a torch model takes numbers, but the batch is {interop.describe(inputs)}"
            raise AdapterError(msg)
        inputs = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
    cast = inputs.is_floating_point() and like.is_floating_point()
    return inputs.to(like.device, like.dtype if cast else inputs.dtype)


def state(model: Module) -> Iterable[tuple[str, object]]:
    """The state dict, as names with dtypes and shapes, and bytes; the text of whatever is no tensor in it."""
    import torch

    for name, value in model.state_dict().items():
        if interop.is_array(value):
            flat = value.detach().cpu().contiguous().reshape(-1)
            yield f"{name} {value.dtype} {tuple(value.shape)}", flat.view(torch.uint8)
        else:
            yield name, np.array(repr(value))


def load_weights(model: Module, path: Path, key: str | None) -> None:
    """Load a state dict into ``model``, strictly.

    Raises:
        AdapterError: the file holds anything but tensors, or not exactly the model's.
    """
    found = _safetensors(path) if path.suffix == ".safetensors" else _pickled_tensors(path)
    if key is not None:
        if not isinstance(found, Mapping) or key not in found:
            msg = f"{path} holds no {key!r} but {interop.describe(found)}"
            raise AdapterError(msg)
        found = found[key]
    if not isinstance(found, Mapping) or not any(interop.is_array(value) for value in found.values()):
        msg = f"{path} holds {interop.describe(found)}, where a state dict was expected; say which by {path.name}:KEY"
        raise AdapterError(msg)
    try:
        model.load_state_dict(dict(found))
    except RuntimeError as error:
        msg = f"the weights in {path} are not those of {type(model).__name__}: {explain(error)}"
        raise AdapterError(msg) from error


def _pickled_tensors(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever its unpickler stumbles over
        msg = f"{path} does not hold tensors alone (a pickle can run anything, and is refused): save the state_dict"
        raise AdapterError(msg) from error


def _safetensors(path: Path) -> Any:
    try:
        reader = import_module("safetensors.torch")
    except ModuleNotFoundError as error:
        msg = f"{path} needs the package safetensors: pip install safetensors"
        raise AdapterError(msg) from error
    return reader.load_file(path)


def _tensors(model: Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
