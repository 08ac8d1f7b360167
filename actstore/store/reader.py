"""Open a store and read what is in it."""

from __future__ import annotations

import os
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from actstore.errors import LayerError, StoreError, TargetError
from actstore.store.coding import common_dtype, decode, decode_texts
from actstore.store.documents import undamaged
from actstore.store.files import OpenFiles
from actstore.store.folder import read_folder
from actstore.store.format import (
    ROW_GROUP,
    ROW_ID,
    ROW_POSITION,
    ROW_SPLIT,
    TARGET_NAMES,
    codes_path,
    target_path,
    values_path,
)
from actstore.store.layer import Layer
from actstore.store.named import Named
from actstore.store.packed import read_packed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from actstore.store.contents import Contents, Part


def open(path: str | PathLike[str]) -> Store:  # noqa: A001 - the package's own word for it
    """Open a store, a ``NAME.acts`` folder or a ``NAME.h5`` file; one that is still being written, too.

    Returns:
        the store, with the rows that are sealed by now. ``complete`` says whether these are all.

    Raises:
        StoreError, in one line that names the file, where there is no store or it is damaged.
    """
    place = Path(os.path.abspath(path))
    return Store(read_folder(place) if place.is_dir() else read_packed(place))


def reopen(path: str | PathLike[str], fingerprint: str) -> Store:
    """Open a store that was pickled. StoreError where there are other rows now."""
    store = open(path)
    if store.fingerprint != fingerprint:
        msg = f"{path} holds other rows than when it was pickled; pickle it again"
        raise StoreError(msg)
    return store


class Store:
    """Stored activations, and what is known of their rows. Made by ``open``; safe to share between threads."""

    def __init__(self, contents: Contents) -> None:
        """A store of these contents, checked."""
        self._contents = contents
        self._files = OpenFiles()
        layers = {info.name: Layer(contents, self._files, info) for info in contents.header.layers}
        self.layers: Mapping[str, Layer] = Named("layer", LayerError, layers)
        """The layers, in call order."""

    @property
    def path(self) -> Path:
        """The folder or the file."""
        return self._contents.path

    @property
    def row_unit(self) -> str:
        """What a row is: "example", "token" or "word"."""
        return self._contents.header.row_unit

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._contents.rows

    @property
    def complete(self) -> bool:
        """Whether the dump was finished; otherwise these are the rows that were sealed."""
        return self._contents.complete

    @property
    def provenance(self) -> dict[str, Any]:
        """How the store came about: plain JSON."""
        return dict(self._contents.provenance)

    @property
    def fingerprint(self) -> str:
        """What identifies these rows and activations, wherever the store lies and however it is packed."""
        return self._contents.fingerprint

    @property
    def nonfinite(self) -> Mapping[str, int]:
        """By layer, how many rows have a NaN or an infinity."""
        return dict(self._contents.nonfinite)

    @cached_property
    def ids(self) -> np.ndarray:
        """(rows,) text, unique."""
        return self._column(lambda part: self._texts(part, ROW_ID), np.dtype(np.str_))

    @cached_property
    def splits(self) -> np.ndarray:
        """(rows,) text, "" where none was named."""
        return self._column(lambda part: self._coded(part, ROW_SPLIT).data, np.dtype(np.str_))

    @cached_property
    def groups(self) -> np.ndarray | None:
        """(rows,) text: rows of one group belong together. None where rows are on their own."""
        if not self._has(codes_path(ROW_GROUP)):
            return None
        return self._column(lambda part: self._coded(part, ROW_GROUP).data, np.dtype(np.str_))

    @cached_property
    def positions(self) -> np.ndarray | None:
        """(rows,) int64: the index within the group. None where rows are on their own."""
        if not self._has(ROW_POSITION):
            return None
        return self._column(lambda part: self._read(part, ROW_POSITION), np.dtype(np.int64))

    @cached_property
    def targets(self) -> Mapping[str, np.ndarray]:
        """By name, (rows,) labels of the dtype they came in; a masked array where rows have none."""
        by_part = [self._part_targets(part) for part in self._contents.parts]
        names = dict.fromkeys(name for targets in by_part for name in targets)
        values = {name: self._joined(name, [targets.get(name) for targets in by_part]) for name in names}
        return Named("target", TargetError, values)

    def _part_targets(self, part: Part) -> dict[str, np.ma.MaskedArray]:
        if TARGET_NAMES not in part.extents:
            return {}
        names = self._texts(part, TARGET_NAMES).tolist()
        return {name: self._coded(part, target_path(name)) for name in names}

    def _joined(self, name: str, pieces: list[np.ma.MaskedArray | None]) -> np.ndarray:
        """A target over all parts; those that lack it have no labels."""
        dtype = common_dtype(name, [piece.dtype for piece in pieces if piece is not None])
        labels = np.ma.MaskedArray(np.zeros(self.rows, dtype), mask=True)
        for part, piece in zip(self._contents.parts, pieces, strict=True):
            if piece is not None:
                labels[part.first_row : part.first_row + part.rows] = piece
        return labels if labels.mask.any() else labels.data

    def _coded(self, part: Part, column: str) -> np.ma.MaskedArray:
        values = self._read(part, values_path(column))
        with undamaged(part.path):
            return decode(
                self._read(part, codes_path(column)),
                decode_texts(values) if values.dtype.kind == "S" else values,
            )

    def _texts(self, part: Part, path: str) -> np.ndarray:
        data = self._read(part, path)
        with undamaged(part.path):
            return decode_texts(data)

    def _read(self, part: Part, path: str) -> np.ndarray:
        with undamaged(part.path):
            extent = part.extents[path]
        return self._files.get(part).read(extent)

    def _has(self, path: str) -> bool:
        return any(path in part.extents for part in self._contents.parts)

    def _column(self, read: Callable[[Part], np.ndarray], dtype: np.dtype) -> np.ndarray:
        pieces = [read(part) for part in self._contents.parts]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype)

    def close(self) -> None:
        """Close the files; arrays that were read stay valid, and so do views."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[str, str]]:
        return reopen, (str(self.path), self.fingerprint)

    def __repr__(self) -> str:
        state = "" if self.complete else ", unfinished"
        return f"<Store {self.path.name!r}: {self.rows:,} rows, {len(self.layers)} layers{state}>"
