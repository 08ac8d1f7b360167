"""Adapters, one framework a file: the folder is the registry, and finding one imports no framework."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from actstore import interop
from actstore.adapters.base import Adapter, LayerRow
from actstore.errors import AdapterError

__all__ = ["Adapter", "LayerRow", "adapt", "adapters", "loader"]

_PREFIX = "for_"


@cache
def adapters() -> tuple[type[Adapter], ...]:
    """Every adapter of this folder, in the order in which they are asked whether they know a model."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name.startswith(_PREFIX))
    modules = [import_module(f"{__name__}.{name}") for name in names]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Adapter) and value.__module__ == module.__name__
    ]
    return tuple(sorted(classes, key=lambda adapter: adapter.fallback))


def adapt(model: object, device: str | None = None) -> Adapter:
    """The adapter that runs ``model``.

    Raises:
        AdapterError: no adapter knows such a model.
    """
    for adapter in adapters():
        if adapter.accepts(model):
            return adapter(model, device)
    known = ", ".join(adapter.name for adapter in adapters())
    msg = f"{interop.describe(model)} is not a model that an adapter knows ({known}), nor a function of a batch"
    raise AdapterError(msg)


def loader(spec: str) -> type[Adapter] | None:
    """The adapter whose ``load`` understands a MODEL spec: by its ending (``.onnx``) or its beginning (``hf:``)."""
    for adapter in adapters():
        for known in adapter.loads:
            if spec.endswith(known) if known.startswith(".") else spec.startswith(known):
                return adapter
    return None
