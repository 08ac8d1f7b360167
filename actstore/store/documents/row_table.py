"""The row table: id, split, group and position of each row, and its targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actstore.store.documents.coding import CodedColumn, common_dtype, encode_texts
from actstore.store.documents.shard import ShardColumn
from actstore.store.format import (
    ROW_GROUP,
    ROW_ID,
    ROW_POSITION,
    ROW_SPLIT,
    TARGET_NAMES,
    codes_path,
    target_path,
    text_dtype,
    values_path,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class TableRows:
    """What is known of some rows, checked, beside their activations; ``ids`` as UTF-8."""

    ids: Sequence[bytes]
    splits: Sequence[str]
    groups: Sequence[str] | None
    positions: Sequence[int] | np.ndarray | None
    targets: Mapping[str, np.ndarray]


class RowTable:
    """A growing row table, to be stored as columns."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self._splits = CodedColumn()
        self._groups: CodedColumn | None = None
        self._positions: list[np.ndarray] = []
        self._targets: dict[str, CodedColumn] = {}
        self._target_dtypes: dict[str, np.dtype] = {}

    @classmethod
    def of(cls, rows: TableRows) -> RowTable:
        """The table of these rows."""
        table = cls()
        table.add(rows)
        return table

    def add(self, rows: TableRows) -> None:
        """Add rows below the last; where a target is new or left out, the other rows have no label."""
        for name, values in rows.targets.items():
            labels = np.ma.getdata(values)
            column = self._targets.setdefault(name, CodedColumn())
            column.pad(len(self.ids))
            column.extend(labels.tolist(), np.ma.getmaskarray(values))
            known = self._target_dtypes.get(name, labels.dtype)
            self._target_dtypes[name] = common_dtype(name, [known, labels.dtype])
        self.ids.extend(rows.ids)
        self._splits.extend(rows.splits)
        if rows.groups is not None:
            self._groups = self._groups or CodedColumn()
            self._groups.extend(rows.groups)
        if rows.positions is not None:
            self._positions.append(np.asarray(rows.positions, np.int64))

    def columns(self) -> dict[str, ShardColumn]:
        """The datasets, by path."""
        ids = np.array(self.ids, np.bytes_)
        columns = {ROW_ID: ShardColumn.of(text_dtype(ids), ids)}
        columns |= _coded(ROW_SPLIT, self._splits, np.dtype(np.str_))
        if self._groups is not None:
            columns |= _coded(ROW_GROUP, self._groups, np.dtype(np.str_))
        if self._positions:
            columns[ROW_POSITION] = ShardColumn.of("int64", np.concatenate(self._positions))
        if self._targets:
            columns[TARGET_NAMES] = text_column(list(self._targets))
        for name, column in self._targets.items():
            column.pad(len(self.ids))
            columns |= _coded(target_path(name), column, self._target_dtypes[name])
        return columns


def target_columns(name: str, labels: np.ma.MaskedArray) -> dict[str, ShardColumn]:
    """The datasets of a file that holds one target and nothing else, by path."""
    column = CodedColumn()
    column.extend(labels.data.tolist(), np.ma.getmaskarray(labels))
    return {TARGET_NAMES: text_column([name]), **_coded(target_path(name), column, labels.dtype)}


def text_column(texts: Sequence[object]) -> ShardColumn:
    """Checked texts as a column."""
    data = encode_texts(texts)
    return ShardColumn.of(text_dtype(data), data)


def _coded(path: str, column: CodedColumn, dtype: np.dtype) -> dict[str, ShardColumn]:
    labels = column.vocabulary()
    values = text_column(labels) if dtype.kind == "U" else ShardColumn.of(dtype.name, np.array(labels, dtype))
    return {codes_path(path): ShardColumn.of("int32", column.codes()), values_path(path): values}
