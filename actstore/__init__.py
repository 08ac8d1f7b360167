"""Dump a network's activations once, from any framework; read them back for ever after."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actstore.adapters.base import TrainingModeWarning as TrainingModeWarning
    from actstore.captured import Captured as Captured
    from actstore.captured import RowBatch as RowBatch
    from actstore.errors import ActstoreError as ActstoreError
    from actstore.errors import AdapterError as AdapterError
    from actstore.errors import DumpError as DumpError
    from actstore.errors import LayerError as LayerError
    from actstore.errors import SourceError as SourceError
    from actstore.errors import StoreError as StoreError
    from actstore.errors import TargetError as TargetError
    from actstore.recording import capture as capture
    from actstore.recording import create as create
    from actstore.store.layer import Layer as Layer
    from actstore.store.merge import merge as merge
    from actstore.store.reader import Store as Store
    from actstore.store.reader import open as open  # noqa: A004 - the package's own word for it
    from actstore.store.verify import verify as verify
    from actstore.store.writer import Writer as Writer

_HOMES = {
    "TrainingModeWarning": "adapters.base",
    "Captured": "captured",
    "RowBatch": "captured",
    "ActstoreError": "errors",
    "AdapterError": "errors",
    "DumpError": "errors",
    "LayerError": "errors",
    "SourceError": "errors",
    "StoreError": "errors",
    "TargetError": "errors",
    "Layer": "store.layer",
    "Store": "store.reader",
    "open": "store.reader",
    "capture": "recording",
    "create": "recording",
    "Writer": "store.writer",
    "verify": "store.verify",
    "merge": "store.merge",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - names of the table above, each loaded when it is first asked for


def __getattr__(name: str) -> object:
    """Load the module that holds ``name`` (PEP 562): importing actstore itself loads nothing."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
