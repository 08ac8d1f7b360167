"""Which rows a probe learns from, chooses its C by and is scored on: labels, splits, and a tenth set aside."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.labels import UNSEEN, place_labels, plain_labels
from solvers.probing.holdout import set_aside

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    SplitRows = ArrayLike | Mapping[str, ArrayLike] | None

__all__ = ["Task", "make_task", "make_tasks"]

_USUAL = ("train", "val", "test")


@dataclass(frozen=True)
class Task:
    """One target over the rows of a store, the same for every layer; its splits need not be another target's.

    ``labels`` (rows,) in their own type; ``classes`` those of the training rows, ascending; ``codes`` (rows,)
    the index of each label in ``classes``, ``UNSEEN`` where it is none of them. ``rows`` holds the labelled
    rows of each split, ascending, with train, val and test first; ``unlabelled`` counts the others. ``set_aside`` says
    that ``val`` was taken from ``train`` here.
    """

    labels: NDArray[Any]
    classes: NDArray[Any]
    codes: NDArray[np.int64]
    rows: Mapping[str, NDArray[np.int64]]
    unlabelled: Mapping[str, int]
    set_aside: bool = False

    def chance(self, split: str) -> float:
        """The error on a split of always saying the commonest training class; NaN without labelled rows."""
        commonest = np.bincount(self.codes[self.rows["train"]]).argmax()
        rows = self.rows[split]
        return float(np.mean(self.codes[rows] != commonest)) if len(rows) else float("nan")

    @cached_property
    def fingerprint(self) -> str:
        """What tells these labelled rows and splits from others, whatever the layer."""
        digest = hashlib.sha256(repr((self.classes.dtype.kind, self.classes.tolist())).encode())
        for split, rows in self.rows.items():
            digest.update(repr((split, len(rows))).encode() + rows.tobytes() + self.codes[rows].tobytes())
        return digest.hexdigest()


def make_tasks(
    labels: Mapping[str, ArrayLike],
    splits: SplitRows,
    groups: ArrayLike | None,
    seed: int | None,
    require_all: bool,
) -> dict[str, Task]:
    """A task for each target, each with its own tenth set aside; the arguments are those of ``make_task``.

    ``require_all`` refuses rows without a label.

    Raises:
        ProblemError: as ``make_task`` does, for no target at all, for labels that are missing where they must not
            be, and where there is a C to choose but no row to choose it by.
    """
    if not labels:
        msg = "there are no targets to fit; give the labels of at least one"
        raise ProblemError(msg)
    tasks = {target: make_task(given, splits, groups, seed, target) for target, given in labels.items()}
    for target, task in tasks.items():
        unlabelled = sum(task.unlabelled.values())
        if require_all and unlabelled:
            counts = ", ".join(f"{count:,} of {split}" for split, count in task.unlabelled.items() if count)
            msg = f"{unlabelled:,} rows have no label for {target!r} ({counts}); label them, or do without"
            raise ProblemError(msg)
        if seed is not None and not np.any(task.codes[task.rows["val"]] != UNSEEN):
            msg = (
                f"no row of the `val` split has a label for {target!r} that is known from training, so C "
                "can not be chosen; give a single C, or leave `val` out and a tenth of `train` is set aside"
            )
            raise ProblemError(msg)
    return tasks


def make_task(
    labels: ArrayLike, splits: SplitRows, groups: ArrayLike | None, seed: int | None, target: str
) -> Task:
    """Sort labelled rows into splits, and set a tenth of ``train`` aside as ``val`` where there is none.

    Args:
        labels: (rows,) of any type; masked where a row has no label.
        splits: a name per row ("" means train), row numbers or masks by name, or None: all train.
        groups: (rows,) or None: rows that must stay together when rows are set aside.
        seed: decides which rows are set aside; None when there is nothing to choose, so that none are.
        target: what the labels are called in messages.

    Raises:
        ProblemError: when labels, splits and groups do not fit together, no row is named ``train``, or the
            training rows have fewer than two classes.
    """
    values, missing = plain_labels(labels, target)
    rows = _split_rows(splits, len(values))
    unlabelled = {split: int(missing[numbers].sum()) for split, numbers in rows.items()}
    rows = {split: numbers[~missing[numbers]] for split, numbers in rows.items()}
    classes = _classes(values, rows, target)
    codes = np.full(len(values), UNSEEN)
    codes[~missing] = place_labels(values[~missing], classes)
    aside = False
    if "val" not in rows and seed is not None:
        aside = True
        train = rows["train"]
        held = set_aside(codes[train], _groups(groups, len(values), train), seed=seed)
        rows |= {"train": train[~held], "val": train[held]}
        unlabelled["val"] = 0
    order = sorted(rows, key=lambda split: _USUAL.index(split) if split in _USUAL else len(_USUAL))
    in_order = {split: rows[split] for split in order}
    return Task(values, classes, codes, in_order, {split: unlabelled[split] for split in order}, aside)


def _classes(values: NDArray[Any], rows: Mapping[str, NDArray[np.int64]], target: str) -> NDArray[Any]:
    """The classes of the training rows."""
    if "train" not in rows:
        msg = f"no rows to train on: the splits are {', '.join(rows) or 'empty'}; name one of them `train`"
        raise ProblemError(msg)
    classes = np.unique(values[rows["train"]])
    if len(classes) < 2:
        found = f"only the class {classes[0]!s}" if len(classes) else "no label"
        msg = (
            f"target {target!r} has {found} in its {len(rows['train']):,} labelled training rows; a probe "
            "needs two classes or more"
        )
        raise ProblemError(msg)
    return classes


def _groups(groups: ArrayLike | None, count: int, train: NDArray[np.int64]) -> NDArray[Any] | None:
    """The groups of the training rows."""
    if groups is None:
        return None
    groups = np.asarray(groups)
    if groups.shape != (count,):
        msg = f"there are {count:,} labels but groups of shape {groups.shape}; give one group per row"
        raise ProblemError(msg)
    return groups[train]


def _split_rows(splits: SplitRows, count: int) -> dict[str, NDArray[np.int64]]:
    """The rows of each split, ascending."""
    if splits is None:
        return {"train": np.arange(count)}
    if isinstance(splits, Mapping):
        return _mapped_rows(splits, count)
    names = np.asarray(splits)
    if names.shape != (count,):
        msg = f"there are {count:,} labels but splits of shape {names.shape}; give one split name per row"
        raise ProblemError(msg)
    names = np.where(names == "", "train", names).astype(str)
    return {str(split): np.flatnonzero(names == split) for split in np.unique(names)}


def _mapped_rows(splits: Mapping[str, ArrayLike], count: int) -> dict[str, NDArray[np.int64]]:
    """The rows of each split of a mapping, which must be rows there are, each in one split."""
    taken = np.full(count, -1)
    rows = {}
    for place, (split, given) in enumerate(splits.items()):
        numbers = np.asarray(given)
        if numbers.dtype == bool and numbers.shape == (count,):
            numbers = np.flatnonzero(numbers)
        numbers = np.unique(numbers)
        if numbers.size and (numbers.dtype.kind not in "iu" or numbers[0] < 0 or numbers[-1] >= count):
            msg = (
                f"split {split!r} must be numbers of rows from 0 to {count - 1:,}, or a mask of {count:,} rows"
            )
            raise ProblemError(msg)
        numbers = numbers.astype(np.int64)
        if np.any(taken[numbers] >= 0):
            row = numbers[taken[numbers] >= 0][0]
            msg = f"row {row} is in two splits, {list(splits)[taken[row]]!r} and {split!r}; put it in one"
            raise ProblemError(msg)
        taken[numbers] = place
        rows[split] = numbers
    return rows
