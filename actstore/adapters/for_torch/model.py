"""How for_torch runs a whole model: in evaluation mode for the time being, on a device, in a precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.adapters.for_torch.hints import hints
from actstore.adapters.for_torch.wrappers import refuse_replicas, uncompiled
from actstore.errors import AdapterError
from actstore.usercode import explain
from actstore.wording import listed

if TYPE_CHECKING:
    import torch
    from torch.nn import Module


_AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}


@contextmanager
def evaluating(model: Module, device: str | None) -> Iterator[None]:
    """Evaluation mode on ``device`` (None: where the model is), then every module's own mode and device again.

    Raises:
        AdapterError: a module stays in training mode, is spread over several devices, or there is no such device.
    """
    refuse_replicas(model)
    modes = [(module, module.training) for module in model.modules()]
    try:
        try:
            model.eval()
        except NotImplementedError as error:
            msg = (
                f"{type(model).__name__} cannot be set to evaluation mode ({explain(error)}): what torch.export makes "
                "has none, and none of the model's layers; give the module that was exported"
            )
            raise AdapterError(msg) from error
        stubborn = [name for name, module in model.named_modules() if module.training]
        if stubborn:
            msg = (
                f"modules that stay in training mode after model.eval(): {listed(stubborn)}; their train() or eval() "
                "is overridden: mend it, since dropout and batch statistics would make the activations random"
            )
            raise AdapterError(msg)
        with _on_device(model, device), uncompiled(model):
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
        msg = f"the model cannot go to device {device!r}: {explain(error)}"
        raise AdapterError(msg) from error
    try:
        yield
    finally:
        model.to(*homes)


def forward(model: Module, inputs: object, autocast: str | None, call: Callable[..., object]) -> None:
    """One pass without gradients (not in inference mode, whose tensors a model that keeps some could not train with).

    An error that text or integer inputs may explain has a note saying so.

    Args:
        model: whose device and dtype the inputs get.
        inputs: a batch.
        autocast: one of ``base.AUTOCAST``, or None to compute in the dtypes that the model has.
        call: what runs, with the inputs as a model takes them: the model itself, or its trace.
    """
    import torch

    like = _like(model)
    # Text is for a model that has a tokenizer of its own inside: one argument, whatever it is a list of.
    text = isinstance(inputs, list) and arrays.is_text(inputs)
    given: Any = inputs if text else _given(inputs, like)
    try:
        with torch.no_grad(), _autocast(like.device.type, autocast):
            if isinstance(given, Mapping):
                call(**given)
            elif isinstance(given, tuple) and not text:
                call(*given)
            else:
                call(given)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        for hint in hints(model, given, error, floats=like.is_floating_point()):
            error.add_note(hint)
        raise


def _autocast(device_type: str, autocast: str | None) -> AbstractContextManager[object]:
    if autocast is None:
        return nullcontext()
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", UserWarning
        )  # torch warns of a dtype that a device cannot, and goes on without it
        try:
            return torch.autocast(device_type, getattr(torch, _AUTOCAST[autocast]))
        except (UserWarning, RuntimeError) as error:
            msg = f"autocast to {autocast} does not work on device {device_type!r}: {explain(error)}"
            raise AdapterError(msg) from error


def _given(inputs: Any, like: torch.Tensor) -> Any:
    """Inputs as the model takes them: tensors on the device, floats in the dtype of ``like`` where that is a float."""
    import torch

    if isinstance(inputs, Mapping):
        return {name: _given(value, like) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(_given(value, like) for value in inputs)
    if not arrays.is_array(inputs):
        return inputs
    if not hasattr(inputs, "detach"):
        array, _ = arrays.to_bits(inputs)
        if array.dtype.kind not in "biufc":
            msg = f"a torch model takes numbers, but the batch is {arrays.describe(inputs)}"
            raise AdapterError(msg)
        inputs = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
    cast = inputs.is_floating_point() and like.is_floating_point()
    return inputs.to(like.device, like.dtype if cast else inputs.dtype)


def _like(model: Module) -> torch.Tensor:
    """A tensor on the device that takes the inputs, of the floats that the model computes in, if it has any.

    Weights that were offloaded are on the device ``meta`` until hooks bring them; their hooks say where to.
    """
    import torch

    tensors = list(_tensors(model))
    there = [tensor for tensor in tensors if tensor.device.type != "meta"]
    known = there or tensors
    like = next((tensor for tensor in known if tensor.is_floating_point()), next(iter(known), None))
    if like is None:
        return torch.empty(0, dtype=torch.int64)
    if there or not (hooks := _hooks(model)):
        return like
    places = [place for hook in hooks if (place := getattr(hook, "execution_device", None)) is not None]
    return torch.empty(0, dtype=like.dtype, device=places[0] if places else "cpu")


def check_there(model: Module) -> None:
    """AdapterError where a model has no weights, and nothing that brings them: it was only described."""
    tensors = list(_tensors(model))
    if tensors and all(tensor.device.type == "meta" for tensor in tensors) and not _hooks(model):
        msg = (
            "the weights of the model are not there: all of them are on the device `meta`, which has shapes alone. "
            "Make it on a real device, or load its weights, first"
        )
        raise AdapterError(msg)


def _hooks(model: Module) -> list[object]:
    """What brings offloaded weights, by the attribute that accelerate gives modules."""
    return [hook for module in model.modules() if (hook := getattr(module, "_hf_hook", None)) is not None]


def _tensors(model: Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
