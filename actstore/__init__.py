"""Dump a network's activations once, from any framework; read them back for ever after."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actstore.activations import Captured as Captured
    from actstore.activations import RowBatch as RowBatch
    from actstore.adapters.base import TrainingModeWarning as TrainingModeWarning
    from actstore.dumping.dump import dump as dump
    from actstore.dumping.recording import capture as capture
    from actstore.dumping.recording import create as create
    from actstore.errors import ActstoreError as ActstoreError
    from actstore.errors import AdapterError as AdapterError
    from actstore.errors import DumpError as DumpError
    from actstore.errors import LayerError as LayerError
    from actstore.errors import SourceError as SourceError
    from actstore.errors import StoreError as StoreError
    from actstore.errors import TargetError as TargetError
    from actstore.store.merging.merge import merge as merge
    from actstore.store.merging.side_by_side import merge_layers as merge_layers
    from actstore.store.merging.unpack import unpack as unpack
    from actstore.store.reading.layer import Layer as Layer
    from actstore.store.reading.reader import Store as Store
    from actstore.store.reading.reader import open as open  # noqa: A004 - the package's own word for it
    from actstore.store.verifying.verify import verify as verify
    from actstore.store.writing.writer import Writer as Writer

_HOMES = {
    "TrainingModeWarning": "adapters.base",
    "Captured": "activations",
    "RowBatch": "activations",
    "ActstoreError": "errors",
    "AdapterError": "errors",
    "DumpError": "errors",
    "LayerError": "errors",
    "SourceError": "errors",
    "StoreError": "errors",
    "TargetError": "errors",
    "Layer": "store.reading.layer",
    "Store": "store.reading.reader",
    "open": "store.reading.reader",
    "capture": "dumping.recording",
    "create": "dumping.recording",
    "dump": "dumping.dump",
    "Writer": "store.writing.writer",
    "verify": "store.verifying.verify",
    "merge": "store.merging.merge",
    "merge_layers": "store.merging.side_by_side",
    "unpack": "store.merging.unpack",
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
