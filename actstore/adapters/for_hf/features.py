"""What ``datasets.load_dataset("hdf5", ...)`` has to be told of a single-file store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actstore.errors import AdapterError, LayerError, StoreError
from actstore.store.format import (
    BFLOAT16,
    ROW_GROUP,
    ROW_ID,
    ROW_POSITION,
    ROW_SPLIT,
    codes_path,
    layer_path,
    target_path,
)
from actstore.store.reading.single_file import is_single_file
from actstore.wording import hint

try:
    import datasets
except ImportError as error:
    _MISSING = "store.features needs datasets, which is not installed; pip install 'actstore[hf]'"
    raise AdapterError(_MISSING) from error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actstore.store.reading.layer import Layer
    from actstore.store.reading.reader import Store

__all__ = ["features_of"]

_ARRAYS = {2: datasets.Array2D, 3: datasets.Array3D, 4: datasets.Array4D, 5: datasets.Array5D}


def features_of(store: Store, layers: Iterable[str] | None = None) -> Any:
    """Return the features of a store's file: its layers, and codes of targets, splits and groups with their names.

    Nested as the file is: ``layers``, ``targets`` and ``rows``. A row without a label has the code -1.

    Raises:
        StoreError: the store is a folder.
        LayerError: an unknown layer, or one of more axes than datasets has types for.
    """
    if store.path.is_dir() or not is_single_file(store.path):
        msg = f"{store.path} is a folder of files with codes of their own; pack it: actstore.pack(path, 'NAME.h5')"
        raise StoreError(msg)
    names = list(store.layers) if layers is None else [layers] if isinstance(layers, str) else list(layers)
    strangers = [name for name in names if name not in store.layers]
    if strangers:
        msg = f"{store.path} has no layer {strangers[0]!r}; {hint(str(strangers[0]), list(store.layers))}"
        raise LayerError(msg)
    found: dict[str, Any] = {}
    for name in names:
        _put(found, layer_path(name), _layer(store.layers[name]))
    _put(found, ROW_ID, datasets.Value("binary"))
    if store.positions is not None:
        _put(found, ROW_POSITION, datasets.Value("int64"))
    columns = [ROW_SPLIT] if store.groups is None else [ROW_SPLIT, ROW_GROUP]
    for column in [*columns, *(target_path(name) for name in store.targets)]:
        _put(found, codes_path(column), datasets.ClassLabel(names=store.vocabulary(column)))
    return datasets.Features(found)


def _layer(layer: Layer) -> Any:
    dtype = "float32" if layer.stored_dtype == BFLOAT16 else layer.stored_dtype
    shape = layer.shape[1:]
    if not shape:
        return datasets.Value(dtype)
    if len(shape) == 1:
        return datasets.List(datasets.Value(dtype), length=shape[0])
    if len(shape) not in _ARRAYS:
        msg = f"layer {layer.name!r} has {len(shape)} feature axes; datasets has types for 5 at most: leave it out"
        raise LayerError(msg)
    return _ARRAYS[len(shape)](shape, dtype)


def _put(features: dict[str, Any], path: str, feature: Any) -> None:
    """Nest a feature at a path of the file."""
    *groups, name = path.strip("/").split("/")
    for group in groups:
        features = features.setdefault(group, {})
    features[name] = feature
