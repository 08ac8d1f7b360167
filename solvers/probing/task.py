"""Which rows a probe learns from, chooses its C by and is scored on: labels, splits, and rows to choose by."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting.splits import VAL, divided_groups, in_order, split_rows
from solvers.given import refuse_index
from solvers.labels import UNSEEN, marks_of_none, place_labels, plain_labels, read_labels
from solvers.probing.holdout import divide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.fitting.splits import SplitRows, Splits
    from solvers.probing.records import JSON

__all__ = ["RowRules", "Task", "make_task", "make_tasks"]


@dataclass(frozen=True)
class RowRules:
    """What decides which rows of a target are for what, besides its labels.

    Args:
        splits: a name per row ("" means train), row numbers or masks by name, or None: all train.
        groups: (rows,) or None: rows that must stay together when rows are set aside or dealt into folds.
        split_as: the split that is meant by ``train``, ``val`` or ``test``, by these.
        ignore_label: labels that mean "no label".
        require_all: refuse rows without a label.
        choose: whether there is a C to choose.
        folds: choose it by so many folds of the training rows; None for as many as are usual.
        holdout: choose it by this part of the training rows, set aside.
        seed: decides which rows are set aside, or in which fold.
    """

    splits: SplitRows = None
    groups: ArrayLike | None = None
    split_as: Mapping[str, str] = field(default_factory=dict)
    ignore_label: Sequence[Any] = ()
    require_all: bool = False
    choose: bool = False
    folds: int | None = None
    holdout: float | None = None
    seed: int = 0

    def check(self) -> None:
        """Refuse what no rows could be chosen by.

        Raises:
            ProblemError: both ways at once, fewer than two folds, or no part.
        """
        if self.folds is not None and self.holdout is not None:
            msg = "both folds and holdout were given; they are two ways to choose C: give one"
            raise ProblemError(msg)
        if self.folds is not None and self.folds < 2:
            msg = f"folds is {self.folds}; expected 2 or more"
            raise ProblemError(msg)
        if self.holdout is not None and not 0 < self.holdout < 1:
            msg = f"holdout is {self.holdout}; expected a part of the training rows, above 0 and below 1"
            raise ProblemError(msg)
        if not self.choose and (self.folds is not None or self.holdout is not None):
            msg = "folds and holdout are for choosing C, but a single C was given; give several, or leave them out"
            raise ProblemError(msg)


@dataclass(frozen=True)
class Task:
    """One target over the rows of a store, the same for every layer; its splits need not be another target's.

    ``labels`` (rows,) in their own type; ``classes`` those of the training rows, ascending; ``codes`` (rows,)
    the index of each label in ``classes``, ``UNSEEN`` where it is none of them. ``rows`` holds the labelled
    rows of each split, ascending, with train, val and test first; ``unlabelled`` counts the others. ``folds``
    (training rows,) is the fold of each, ``holdout.ALWAYS`` where it is in none; None where C is not chosen by folds.
    ``chosen`` says, in JSON, how C is chosen, by how many rows, and which labels and rows are left out.
    """

    labels: Array
    classes: Array
    codes: NDArray[np.int64]
    rows: Mapping[str, NDArray[np.int64]]
    unlabelled: Mapping[str, int]
    folds: NDArray[np.int64] | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def marks(self) -> dict[Any, int]:
        """The labels that look like marks for "no label", of all that there are, each with its count."""
        return marks_of_none(self.labels[np.concatenate([np.zeros(0, np.int64), *self.rows.values()])])

    def chance(self, split: str) -> float:
        """The error on a split of always saying the commonest training class; NaN without labelled rows."""
        commonest = np.bincount(self.codes[self.rows["train"]]).argmax()
        rows = self.rows[split]
        return float(np.mean(self.codes[rows] != commonest)) if len(rows) else float("nan")

    @cached_property
    def fingerprint(self) -> str:
        """Return what tells these labelled rows and splits from others, whatever the layer."""
        digest = hashlib.sha256(repr((self.classes.dtype.kind, self.classes.tolist())).encode())
        for split, rows in self.rows.items():
            digest.update(repr((split, len(rows))).encode() + rows.tobytes() + self.codes[rows].tobytes())
        return digest.hexdigest()

    @cached_property
    def mark(self) -> str:
        """Return what tells this task from others: the fingerprint, and the folds that C is chosen by."""
        if self.folds is None:
            return self.fingerprint
        return hashlib.sha256(self.fingerprint.encode() + self.folds.tobytes()).hexdigest()


def make_tasks(labels: Mapping[str, ArrayLike], rules: RowRules) -> dict[str, Task]:
    """Return a task for each target, each with its own rows to choose C by.

    Raises:
        ProblemError: as ``make_task`` does, for no target at all, for labels that are missing where they must not
            be, and where there is a C to choose but no row to choose it by.
    """
    if not labels:
        msg = "there are no targets to fit; give the labels of at least one"
        raise ProblemError(msg)
    rules.check()
    tasks = {target: make_task(given, rules, target) for target, given in labels.items()}
    for target, task in tasks.items():
        if rules.require_all:
            _refuse_unlabelled(target, task)
        if rules.choose:
            _refuse_empty_val(target, task)
    return tasks


def _refuse_unlabelled(target: str, task: Task) -> None:
    unlabelled = sum(task.unlabelled.values())
    if unlabelled:
        counts = ", ".join(f"{count:,} of {split}" for split, count in task.unlabelled.items() if count)
        msg = f"{unlabelled:,} rows have no label for {target!r} ({counts}); label them, or do without"
        raise ProblemError(msg)


def _refuse_empty_val(target: str, task: Task) -> None:
    """Refuse a ``val`` split that C cannot be chosen by."""
    if VAL in task.rows and not np.any(task.codes[task.rows[VAL]] != UNSEEN):
        msg = (
            f"no row of the `val` split has a label for {target!r} that is known from training, so C "
            "cannot be chosen; give a single C, or leave `val` out and C is chosen by rows of `train`"
        )
        raise ProblemError(msg)


def make_task(labels: ArrayLike, rules: RowRules, target: str) -> Task:
    """Sort labelled rows into splits, and find rows of ``train`` to choose C by where there is no ``val``.

    Args:
        labels: (rows,) of any type; masked where a row has no label.
        rules: how.
        target: what the labels are called in messages.

    Raises:
        ProblemError: when labels, splits and groups do not fit together, no row is named ``train``, or the
            training rows have fewer than two classes.
    """
    refuse_index(labels, f"the labels of target {target!r}")
    values, missing = plain_labels(labels, target)
    missing = missing | _ignored(values, rules.ignore_label)
    found = split_rows(rules.splits, len(values), rules.split_as)
    unlabelled = {split: int(missing[numbers].sum()) for split, numbers in found.rows.items()}
    rows = {split: numbers[~missing[numbers]] for split, numbers in found.rows.items()}
    classes = _classes(values, rows, target)
    codes = np.full(len(values), UNSEEN)
    codes[~missing] = place_labels(values[~missing], classes)
    groups = _groups(rules.groups, len(values))
    division = divide(rows, codes, None if groups is None else groups[rows["train"]], rules)
    divided = {} if groups is None else divided_groups(groups, in_order(rows))
    chosen = {
        **division.chosen,
        **({"divided_groups": divided} if divided else {}),
        **_left_out(found, rules, len(values)),
    }
    counts = {split: unlabelled.get(split, 0) for split in division.rows}
    return Task(values, classes, codes, division.rows, counts, division.folds, chosen)


def _left_out(found: Splits, rules: RowRules, count: int) -> JSON:
    """Return a probe's record of its splits: what splits are called, labels that are none, and rows in no split."""
    told: JSON = {}
    if VAL in found.named and rules.choose:
        told["named"] = found.named[VAL]
    if found.named:
        told["called"] = dict(found.named)
    if rules.ignore_label:
        told["ignore_label"] = [str(label) for label in rules.ignore_label]
    nowhere = count - sum(len(numbers) for numbers in found.rows.values())
    return told | ({"in_no_split": nowhere} if nowhere else {})


def _ignored(values: Array, ignore: Sequence[Any]) -> NDArray[np.bool_]:
    """Which labels are among those to ignore: text equals text, numbers equal numbers or how they are written."""
    found = np.zeros(len(values), dtype=bool)
    for value in ignore:
        if values.dtype.kind in "US":
            found |= values == (str(value).encode() if values.dtype.kind == "S" else str(value))
        elif values.dtype.kind == "b":
            found |= values == {"true": 1, "false": 0}.get(str(value).lower(), -1)
        else:
            try:
                found |= values == (int(value) if values.dtype.kind in "iu" else float(value))
            except (TypeError, ValueError, OverflowError):
                continue
    return found


def unfound_labels(labels: Mapping[str, ArrayLike], ignore: Sequence[Any]) -> list[str]:
    """Return a line for each label to ignore that no row of any target has.

    Nothing is said where rows have no label already: those to ignore may have been among them.
    """
    read = [read_labels(given) for given in labels.values()] if ignore else []
    if any(missing.any() for _, missing in read):
        return []
    known = [str(each) for values, _ in read for each in np.unique(values)]
    return [
        _unfound(str(value), known)
        for value in ignore
        if not any(_ignored(values, (value,)).any() for values, _ in read)
    ]


def _unfound(value: str, known: Sequence[str]) -> str:
    """Return the line on a label that no row has, with the nearest: of another case or blanks, or of its letters."""
    lower = {name.strip().lower(): name for name in reversed(known)}
    near = [lower.get(value.strip().lower(), ""), *difflib.get_close_matches(value, known, n=1, cutoff=0.5)]
    nearest = next((f"; the nearest is {name!r}" for name in near if name), "")
    return f"no row has the label {value!r}, which was to be ignored{nearest}"


def _classes(values: Array, rows: Mapping[str, NDArray[np.int64]], target: str) -> Array:
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


def _groups(groups: ArrayLike | None, count: int) -> Array | None:
    """The groups of all rows."""
    if groups is None:
        return None
    refuse_index(groups, "the groups")
    values, missing = read_labels(groups)
    if values.shape != (count,):
        msg = f"there are {count:,} labels but groups of shape {values.shape}; give one group per row"
        raise ProblemError(msg)
    if missing.any():
        msg = (
            f"{int(missing.sum()):,} rows have no group (the first is row {int(np.argmax(missing))}); give every row "
            "one, a row that stands alone one of its own"
        )
        raise ProblemError(msg)
    return values
