"""What is known of the rows, column by column, over the files of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import StoreError
from actstore.store.documents.coding import common_dtype, decode, decode_texts
from actstore.store.documents.documents import undamaged
from actstore.store.format import ROW_ID, TARGET_NAMES, codes_path, target_path, values_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from actstore.store.documents.catalog import Contents, Part
    from actstore.store.reading.open_files import OpenFiles


class StoredColumns:
    """The row table and the targets of a step, read when they are asked for."""

    def __init__(self, contents: Contents, files: OpenFiles) -> None:
        self._contents = contents
        self._files = files

    def has(self, path: str) -> bool:
        """Whether any file has a dataset."""
        return any(path in part.extents for part in self._contents.parts)

    def ids(self) -> np.ndarray:
        """(rows,) text."""
        return self._joined(lambda part: self._texts(part, ROW_ID), np.dtype(np.str_))

    def id_bytes(self) -> list[bytes]:
        """The ids as they are stored, UTF-8."""
        ids: list[bytes] = []
        for part in self._contents.parts:
            stored = self._read(part, ROW_ID).tolist()
            with undamaged(part.path):
                b"\0".join(stored).decode("utf-8")
            ids += stored
        return ids

    def coded(self, column: str) -> np.ndarray:
        """(rows,) text of a column in which every row has one."""
        return self._joined(lambda part: self._coded(part, column).data, np.dtype(np.str_))

    def vocabulary(self, column: str) -> list[str]:
        """The labels that the codes of a column of the only file count into, as texts. StoreError for several files."""
        if len(self._contents.parts) != 1:
            files = f"{len(self._contents.parts)} files"
            msg = f"{self._contents.path} is {files}, each with codes of its own; pack it into one"
            raise StoreError(msg)
        part = self._contents.parts[0]
        values = self._read(part, values_path(column))
        with undamaged(part.path):
            return [
                str(label) for label in (decode_texts(values) if values.dtype.kind == "S" else values).tolist()
            ]

    def plain(self, path: str, dtype: np.dtype) -> np.ndarray:
        """(rows,) of a dataset as it is."""
        return self._joined(lambda part: self._read(part, path), dtype)

    def targets(self) -> dict[str, np.ndarray]:
        """By name, (rows,) labels of the targets that the files of rows hold; masked where rows have none."""
        by_part = [self._part_targets(part) for part in self._contents.parts]
        names = dict.fromkeys(name for targets in by_part for name in targets)
        return {name: self._target(name, [targets.get(name) for targets in by_part]) for name in names}

    def of_part(self, name: str, part: Part) -> np.ndarray:
        """(rows,) labels of a target in a file of its own; masked where rows have none."""
        labels = self._coded(part, target_path(name))
        return labels if labels.mask.any() else labels.data

    def _part_targets(self, part: Part) -> dict[str, np.ma.MaskedArray]:
        if TARGET_NAMES not in part.extents:
            return {}
        names = self._texts(part, TARGET_NAMES).tolist()
        return {name: self._coded(part, target_path(name)) for name in names}

    def _target(self, name: str, pieces: list[np.ma.MaskedArray | None]) -> np.ndarray:
        """A target over all parts; those that lack it have no labels."""
        dtype = common_dtype(name, [piece.dtype for piece in pieces if piece is not None])
        labels = np.ma.MaskedArray(np.zeros(self._contents.rows, dtype), mask=True)
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

    def _joined(self, read: Callable[[Part], np.ndarray], dtype: np.dtype) -> np.ndarray:
        pieces = [read(part) for part in self._contents.parts]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype)
