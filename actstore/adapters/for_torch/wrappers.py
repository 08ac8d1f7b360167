"""Modules around a module: DataParallel, DistributedDataParallel and what ``torch.compile`` makes.

A layer has the name that it has without them, and what was compiled runs uncompiled: inside compiled code hooks are
not called, or make torch compile again.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from actstore.errors import AdapterError
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.nn import Module

_WRAPPED = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
WRAPPED_PREFIXES = ("_orig_mod.", "module.")
"""Begins the names in a state dict that was saved of a wrapper; a compiled one is the outer of two."""
_COMPILER = "torch._dynamo"


def unwrapped(model: Module) -> Module:
    """The user's own module, however many others are around it."""
    while (inside := _inside(model)) is not None:
        model = getattr(model, inside)
    return model


def named_modules(model: Module, *, remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
    """``model.named_modules``, where what is wrapped stands under the name of its wrapper, which is passed over."""
    names = names_without_wrappers(model)
    for path, module in model.named_modules(remove_duplicate=remove_duplicate):
        if _inside(module) is None:
            yield names[path], module


def names_without_wrappers(model: Module) -> dict[str, str]:
    """By the path of every module, its name."""
    wrappers: dict[str, str] = {}
    names = {"": ""}
    for path, module in model.named_modules(remove_duplicate=False):
        parent, _, own = path.rpartition(".")
        if path:
            wrapped = wrappers.get(parent) == own
            below = f"{names[parent]}.{own}" if names[parent] else own
            names[path] = names[parent] if wrapped else below
        inside = _inside(module)
        if inside is not None:
            wrappers[path] = inside
    return names


def refuse_replicas(model: Module) -> None:
    """AdapterError where a DataParallel inside a model would run copies of a module on several GPUs at once."""
    for path, module in model.named_modules():
        if _inside(module) == "module" and len(getattr(module, "device_ids", None) or ()) > 1:
            msg = (
                f"{path or 'the model'} is a {type(module).__name__} over {len(module.device_ids)} devices, which "
                "splits every batch between copies of a module; use the module inside it, .module"
            )
            raise AdapterError(msg)


@contextmanager
def uncompiled(model: Module) -> Iterator[None]:
    """Runs what was compiled as it was written.

    Raises:
        AdapterError: something inside ``model`` was compiled, and this torch has no way around it.
    """
    if _COMPILER not in sys.modules:  # nothing was compiled; looking would take a second
        yield
        return
    import torch

    set_stance = getattr(torch.compiler, "set_stance", None)
    if set_stance is None:
        compiled = [
            path or type(module).__name__ for path, module in model.named_modules() if _is_compiled(module)
        ]
        if compiled:
            msg = f"compiled modules ({listed(compiled)}) can be run uncompiled from torch 2.6 on; do not compile them"
            raise AdapterError(msg)
    with nullcontext() if set_stance is None else set_stance("force_eager"):
        yield


def _is_compiled(module: Module) -> bool:
    return _inside(module) == "_orig_mod" or getattr(module, "_compiled_call_impl", None) is not None


def _inside(module: Module) -> str | None:
    """The attribute of a wrapper that holds what it wraps."""
    for kind in type(module).__mro__:
        if kind.__name__ in _WRAPPED and kind.__module__.startswith("torch."):
            return _WRAPPED[kind.__name__]
    return None
