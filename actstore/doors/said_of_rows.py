"""What Python users say of each row beside the data: labels, splits and groups, in the order of the rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from actstore import arrays
from actstore.errors import SourceError
from actstore.rows.choice import RowColumns
from actstore.rows.ids import index_of, is_pandas
from actstore.rows.labels import as_several
from actstore.sources.base import Source, check_labels
from actstore.wording import listed

if TYPE_CHECKING:
    import numpy as np

__all__ = ["by_split", "columns_of", "in_rows_order", "named_targets", "whole_column"]

SPLIT, GROUP = "split", "group"
_SPEC = re.compile(r"[^=\s]+=\S+")


def columns_of(split: object, split_by: str | None, group_by: object, ignore: object) -> tuple[str, RowColumns]:
    """Return the one split of all rows, and what is said of each row, as the keywords of a dump say them.

    Args:
        split: a text, that of all rows; or one per row.
        split_by: a column of the data, or a target.
        group_by: so, too; or one per row.
        ignore: a label, or several, that mean "no label".

    Raises:
        SourceError: splits of rows said in two ways.
    """
    given = {}
    if not isinstance(split, str):
        if split_by is not None:
            msg = f"split has one per row, and split_by is {split_by!r}, which says them, too; keep one of them"
            raise SourceError(msg)
        given[SPLIT], split, split_by = split, "", SPLIT
    if group_by is not None and not isinstance(group_by, str):
        given[GROUP], group_by = group_by, GROUP
    return split, RowColumns(split_by, group_by, as_several(ignore), given)  # type: ignore[arg-type]


def named_targets(targets: Any, target: str) -> Mapping[str, Any]:
    """Return labels by name: a mapping or a table as it is, labels alone as the target ``target``.

    Raises:
        SourceError: SPECs, or no labels.
    """
    if targets is None or isinstance(targets, Mapping):
        return targets or {}
    if is_pandas(targets) and getattr(targets, "ndim", 0) == 2:
        return {str(name): targets[name] for name in targets.columns}
    specs = isinstance(targets, list | tuple) and any(
        isinstance(one, str) and _SPEC.fullmatch(one) for one in targets
    )
    if isinstance(targets, str) or specs or not isinstance(targets, Iterable):
        msg = f"targets is {arrays.describe(targets)}; expected labels by name, such as {{'digit': labels}}"
        raise SourceError(msg)
    return {target: targets}


def by_split(name: str, given: Any, splits: Sequence[str]) -> Mapping[str, Any]:
    """Return what is said of rows under one name, by split.

    Raises:
        SourceError: one array for several splits, or a split that there is not.
    """
    if not isinstance(given, Mapping):
        if len(splits) > 1:
            msg = f"{name} has one array for the splits {listed(splits)}; give {{split: labels}} for each"
            raise SourceError(msg)
        return {splits[0]: given}
    strangers = [split for split in given if split not in splits]
    if strangers:
        there = listed(splits) if splits != [""] else "no split: give the labels alone"
        msg = f"{name} is for split {strangers[0]!r}, but the data has {there}"
        raise SourceError(msg)
    return given


def in_rows_order(values: Any, data: Any, what: str) -> np.ndarray:
    """Return (rows,) what is said of each row, checked: by the index that it shares with the data, or by position.

    Raises:
        SourceError: an index that is not that of the data, or no labels.
    """
    if is_pandas(values) and is_pandas(data) and index_of(data) is not None and len(values) == len(data):
        index, own = values.index.tolist(), data.index.tolist()
        if not values.index.equals(data.index):
            row = next((n for n, pair in enumerate(zip(index, own, strict=True)) if pair[0] != pair[1]), 0)
            msg = (
                f"the index of {what} is not that of the data: row {row} is {index[row]!r} there and {own[row]!r} "
                "here; put both in one order, or give .to_numpy() where the order is right as it is"
            )
            raise SourceError(msg)
        values = values.reset_index(drop=True)
    return check_labels(values, what)


def whole_column(values: Any, data: object, source: Source, name: str) -> np.ndarray:
    """Return (rows,) the splits or groups that were given for the rows of a source.

    Raises:
        SourceError: not one per row, or of data whose rows nobody has counted.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        msg = f"{name} is {values!r} for the rows of {source.spec}; expected one per row"
        raise SourceError(msg)
    if source.rows is None:
        msg = f"{name} has one per row, and {source.spec} is batches; give the rows as one array, or a list of texts"
        raise SourceError(msg)
    found = in_rows_order(values, data, name)
    if len(found) != source.rows:
        msg = f"{name} has {len(found):,} entries but {source.spec} has {source.rows:,} rows; expected one per row"
        raise SourceError(msg)
    return found
