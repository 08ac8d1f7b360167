"""Dump a network's activations once, from any framework; read them back for ever after."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actstore.activations import Captured as Captured
    from actstore.activations import ModelLayer as ModelLayer
    from actstore.activations import RowBatch as RowBatch
    from actstore.adapters.base import Adapter as Adapter
    from actstore.adapters.base import TrainingModeWarning as TrainingModeWarning
    from actstore.adapters.for_hf.adapter import UntrainedWeightsWarning as UntrainedWeightsWarning
    from actstore.adapters.for_hf.text import TruncatedTextWarning as TruncatedTextWarning
    from actstore.doors.capture import Activations as Activations
    from actstore.doors.capture import capture as capture
    from actstore.doors.dump import dump as dump
    from actstore.dumping.dump import DumpSettings as DumpSettings
    from actstore.dumping.dump import describe_layers as describe_layers
    from actstore.dumping.loop import Progress as Progress
    from actstore.dumping.loop import SameWeightsWarning as SameWeightsWarning
    from actstore.dumping.recording import Recording as Recording
    from actstore.dumping.recording import create as create
    from actstore.dumping.repeats import RepeatedInputsWarning as RepeatedInputsWarning
    from actstore.dumping.subject import SelfCheckWarning as SelfCheckWarning
    from actstore.errors import ActstoreError as ActstoreError
    from actstore.errors import AdapterError as AdapterError
    from actstore.errors import DumpError as DumpError
    from actstore.errors import LayerError as LayerError
    from actstore.errors import RowError as RowError
    from actstore.errors import SourceError as SourceError
    from actstore.errors import StoreError as StoreError
    from actstore.errors import TargetError as TargetError
    from actstore.exchange.export import Exported as Exported
    from actstore.exchange.export import export as export
    from actstore.exchange.run import ImportSettings as ImportSettings
    from actstore.exchange.run import import_files as import_files
    from actstore.models import load_model as load_model
    from actstore.reductions.settings import ReductionSettings as Reductions  # noqa: F401 - public
    from actstore.rows.label_marks import SentinelWarning as SentinelWarning
    from actstore.sources.base import Batch as Batch
    from actstore.sources.base import Source as Source
    from actstore.sources.python import RowOrderWarning as RowOrderWarning
    from actstore.sources.row_names import RowNamesWarning as RowNamesWarning
    from actstore.sources.split import SplitData as SplitData
    from actstore.store.merging.merge import UnlabelledRowsWarning as UnlabelledRowsWarning
    from actstore.store.merging.merge import merge as merge
    from actstore.store.merging.side_by_side import merge_layers as merge_layers
    from actstore.store.merging.unpack import unpack as unpack
    from actstore.store.reading.layer import Layer as Layer
    from actstore.store.reading.reader import Store as Store
    from actstore.store.reading.reader import open as open  # noqa: A004 - the package's own word for it
    from actstore.store.verifying.verify import verify as verify
    from actstore.store.writing.pack import pack_store as pack  # noqa: F401 - public
    from actstore.store.writing.writer import Writer as Writer

__version__: str
"""Of the package ``actstore``, as it is installed."""

_HOMES = {
    "Activations": "doors.capture",
    "ActstoreError": "errors",
    "Adapter": "adapters.base",
    "AdapterError": "errors",
    "Batch": "sources.base",
    "Captured": "activations",
    "DumpError": "errors",
    "DumpSettings": "dumping.dump",
    "Exported": "exchange.export",
    "ImportSettings": "exchange.run",
    "Layer": "store.reading.layer",
    "LayerError": "errors",
    "ModelLayer": "activations",
    "Progress": "dumping.loop",
    "Recording": "dumping.recording",
    "Reductions": "reductions.settings:ReductionSettings",
    "RepeatedInputsWarning": "dumping.repeats",
    "RowBatch": "activations",
    "RowError": "errors",
    "RowNamesWarning": "sources.row_names",
    "RowOrderWarning": "sources.python",
    "SameWeightsWarning": "dumping.loop",
    "SelfCheckWarning": "dumping.subject",
    "SentinelWarning": "rows.label_marks",
    "Source": "sources.base",
    "SourceError": "errors",
    "SplitData": "sources.split",
    "Store": "store.reading.reader",
    "StoreError": "errors",
    "TargetError": "errors",
    "TrainingModeWarning": "adapters.base",
    "UnlabelledRowsWarning": "store.merging.merge",
    "TruncatedTextWarning": "adapters.for_hf.text",
    "UntrainedWeightsWarning": "adapters.for_hf.adapter",
    "Writer": "store.writing.writer",
    "capture": "doors.capture",
    "create": "dumping.recording",
    "describe_layers": "dumping.dump",
    "dump": "doors.dump",
    "export": "exchange.export",
    "import_files": "exchange.run",
    "load_model": "models",
    "merge": "store.merging.merge",
    "merge_layers": "store.merging.side_by_side",
    "unpack": "store.merging.unpack",
    "open": "store.reading.reader",
    "pack": "store.writing.pack:pack_store",
    "verify": "store.verifying.verify",
}
"""Where each name is; after a colon, what it is called there."""

__all__ = sorted(_HOMES)  # noqa: PLE0605 - names of the table above, each loaded when it is first asked for


def __getattr__(name: str) -> object:
    """Load the module that holds ``name`` (PEP 562): importing actstore itself loads nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("actstore")
    if name not in _HOMES:
        from difflib import get_close_matches

        near = get_close_matches(name, _HOMES, 1)
        msg = f"module {__name__!r} has no attribute {name!r}" + (
            f"; did you mean {near[0]!r}?" if near else ""
        )
        raise AttributeError(msg)
    module, _, called = _HOMES[name].partition(":")
    value = getattr(import_module(f"{__name__}.{module}"), called or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
