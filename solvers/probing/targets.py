"""Several targets over the rows of one layer, each with its own labelled rows and splits, read together."""

from __future__ import annotations

import hashlib
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting.result import Status
from solvers.labels import UNSEEN
from solvers.probing.holdout import ALWAYS
from solvers.probing.row_table import RowTable
from solvers.rows import Rows
from solvers.scoring.split_score import nonfinite_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.probing.task import Task
    from solvers.rows import RowSource

__all__ = ["bad_rows", "folds_of", "id_digests", "row_tables", "rows_and_labels", "union"]


def rows_and_labels(rows: RowSource, tasks: Mapping[str, Task], split: str) -> tuple[Rows, Any]:
    """The rows that any target has in a split, and the labels of each, masked over rows that it has not there."""
    numbers = union(tasks, split)
    labels: dict[str, Any] = {}
    for target, task in tasks.items():
        elsewhere = ~np.isin(numbers, task.rows[split], assume_unique=True)
        values = task.labels[numbers]
        labels[target] = np.ma.masked_array(values, elsewhere) if elsewhere.any() else values
    return Rows(rows, numbers), labels


def folds_of(numbers: NDArray[np.int64], task: Task) -> NDArray[np.int64]:
    """The fold of each of these rows (ascending), among which are all training rows of a task with folds."""
    folds = np.full(len(numbers), ALWAYS)
    folds[np.searchsorted(numbers, task.rows["train"])] = task.folds
    return folds


def union(tasks: Mapping[str, Task], split: str) -> NDArray[np.int64]:
    """Return the rows, ascending, that any of the tasks has in a split."""
    return reduce(np.union1d, [task.rows[split] for task in tasks.values() if split in task.rows])


def row_tables(
    tasks: Mapping[str, Task], groups: ArrayLike | None, ids: ArrayLike | None
) -> tuple[RowTable, ...]:
    """Return the rows of each target and split: which they are, and what is true of them.

    Args:
        tasks: by target.
        groups: (rows,) of any type, or None.
        ids: (rows,) texts, or None.

    Raises:
        ProblemError: another number of ids than of labels.
    """
    group_of = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    digests = None if ids is None else id_digests(ids)
    tables = []
    for target, task in tasks.items():
        if digests is not None and len(digests) != len(task.labels):
            msg = f"there are {len(task.labels):,} labels but {len(digests):,} ids; give one id per row"
            raise ProblemError(msg)
        for split, rows in task.rows.items():
            truth = task.codes[rows]
            unseen, place = np.unique(task.labels[rows[truth == UNSEEN]], return_inverse=True)
            truth[truth == UNSEEN] = len(task.classes) + place
            arrays: dict[str, Array] = {"index": rows, "truth": truth.astype(np.int32)}
            arrays |= {} if group_of is None else {"group": group_of[rows].astype(np.int64)}
            arrays |= {} if digests is None else {"id": digests[rows]}
            tables.append(RowTable(target, split, arrays, classes=np.concatenate([task.classes, unseen])))
    return tuple(tables)


def id_digests(ids: ArrayLike) -> NDArray[np.uint64]:
    """Return 8 bytes of the hash of each id (rows,), by which rows of two stores are compared."""
    texts = np.asarray(ids).astype(str)
    hashes = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts.tolist())
    return np.frombuffer(hashes, dtype="<u8")


def bad_rows(rows: RowSource, tasks: Mapping[str, Task]) -> dict[str, str]:
    """For each target that needs rows with NaN or infinite values: how many rows of which split."""
    reasons = {}
    for target, task in tasks.items():
        bad = {split: nonfinite_rows(Rows(rows, numbers)) for split, numbers in task.rows.items()}
        listed = [f"{count:,} of {len(task.rows[split]):,} {split}" for split, count in bad.items() if count]
        first = _first_bad(rows, [task.rows[split] for split, count in bad.items() if count])
        if listed:
            total, where = sum(bad.values()), ", ".join(listed)
            reasons[target] = (
                f"{Status.BAD_DATA}: {total:,} rows hold NaN or infinite values ({where}), the first is row {first:,}; "
                f"{_CURE}"
            )
    return reasons


_CURE = "mend or leave out such rows; what a narrow dtype made infinite, dump in a wider one"


def _first_bad(rows: RowSource, splits: Sequence[NDArray[np.int64]]) -> int:
    """The first row, counted from 0 in the file, that is not finite, in splits that each have one."""
    return min((_first_of(rows, numbers) for numbers in splits), default=-1)


def _first_of(rows: RowSource, numbers: NDArray[np.int64]) -> int:
    """The first row of a split, by halves: so few rows are read again."""
    while len(numbers) > 1:
        half = numbers[: len(numbers) // 2]
        numbers = half if nonfinite_rows(Rows(rows, half)) else numbers[len(half) :]
    return int(numbers[0])
