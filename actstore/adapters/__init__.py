"""Adapters, one framework a file: the folder is the registry, and finding one imports no framework.

Other packages add theirs through the entry point ``actstore.adapters`` (see ``actstore.plugins``).
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from actstore import arrays
from actstore.adapters.base import Adapter, ModelLayer
from actstore.errors import AdapterError
from actstore.plugins import ADAPTERS, of_other_packages
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Adapter", "ModelLayer", "adapt", "adapters", "loader"]

_PREFIX = "for_"


@cache
def adapters() -> tuple[type[Adapter], ...]:
    """Every adapter, in the order in which they are asked whether they know a model.

    First those of this folder, then those of other packages, then those that take what others may know better.
    """
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name.startswith(_PREFIX))
    modules = [import_module(f"{__name__}.{name}") for name in names]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Adapter)
        and f"{value.__module__}.".startswith(f"{module.__name__}.")
    ]
    others: list[Any] = of_other_packages(ADAPTERS, _fault)
    return tuple(sorted([*classes, *others], key=lambda adapter: adapter.fallback))


def _is_of(value: type, module: str) -> bool:
    """Whether a class is defined in a module, or in one of a package."""
    return value.__module__ == module or value.__module__.startswith(f"{module}.")


def _fault(value: object) -> str:
    if not (isinstance(value, type) and issubclass(value, Adapter)):
        return f"an adapter is a subclass of actstore.adapters.Adapter, not {arrays.describe(value)}"
    missing = sorted(value.__abstractmethods__) or [name for name in ("name",) if not hasattr(value, name)]
    return f"it does not define {listed(missing)}" if missing else ""


def adapt(
    model: object,
    device: str | None = None,
    *,
    autocast: str | None = None,
    trace: bool = False,
    stop_early: bool = False,
    batch_axis: Sequence[str] = (),
    truncate: bool = False,
) -> Adapter:
    """The adapter that runs ``model``.

    Args:
        model: of any framework.
        device: where it runs; None for where it is.
        autocast: ``bf16`` or ``fp16``: run under torch's autocast.
        trace: show the functional calls between torch modules as layers, too.
        stop_early: end each pass after the deepest layer asked for.
        batch_axis: ``PATTERN=N``: which axis of a layer is the rows of the batch.
        truncate: cut texts that are longer than the model takes.

    Raises:
        AdapterError: no adapter knows such a model, or its adapter cannot do what is asked.
    """
    for adapter in adapters():
        if adapter.accepts(model):
            adapted = adapter(model, device)
            adapted.ask(autocast=autocast, trace=trace)
            adapted.stop_early = stop_early
            adapted.batch_axis = batch_axis
            if truncate and not adapted.truncates:
                msg = (
                    f"--truncate cuts texts to the tokens that a model takes, and this {adapted.name} model is given "
                    "no texts that it makes tokens of; leave it out"
                )
                raise AdapterError(msg)
            adapted.truncate = truncate
            return adapted
    known = ", ".join(adapter.name for adapter in adapters())
    msg = f"{arrays.describe(model)} is not a model that an adapter knows ({known}), nor a function of a batch"
    raise AdapterError(msg + _advice(model))


def _advice(model: object) -> str:
    """What to give instead of some things that are nearly a model."""
    if type(model).__name__ == "ExportedProgram":
        return "; give the module that was exported"
    first = model[0] if isinstance(model, tuple) and model else None
    if hasattr(first, "get_base_model") or type(first).__name__ == "PeftModel":
        return "; give (model.get_base_model(), tokenizer): the adapters are part of it"
    if type(first).__name__ == "SentenceTransformer":
        return "; give (model[0].auto_model, model.tokenizer)"
    if first is not None:
        return "; a tuple is a model of transformers and its tokenizer or image processor"
    return ""


def loader(spec: str) -> type[Adapter] | None:
    """The adapter whose ``load`` understands a MODEL spec: by its ending (``.onnx``) or its beginning (``hf:``)."""
    for adapter in adapters():
        for known in adapter.loads:
            if spec.endswith(known) if known.startswith(".") else spec.startswith(known):
                return adapter
    return None
