"""Splits as people name them, and the rows of each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from solvers.errors import ProblemError
from solvers.given import refuse_index
from solvers.labels import read_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array

    SplitRows = ArrayLike | Mapping[str, ArrayLike] | None

__all__ = ["VAL", "Splits", "in_order", "shown_names", "split_rows"]

Each = TypeVar("Each")

TRAIN, VAL, TEST = "train", "val", "test"
_USUAL = (TRAIN, VAL, TEST)
ALSO_VAL = ("validation", "valid", "dev")
"""What people call the split that C is chosen by, besides ``val``."""


@dataclass(frozen=True)
class Splits:
    """The rows (ascending) of each split, and what the user calls those that are called otherwise here."""

    rows: Mapping[str, NDArray[np.int64]]
    named: Mapping[str, str]


def in_order(rows: Mapping[str, Each]) -> dict[str, Each]:
    """Return what there is by split with train, val and test first."""
    order = sorted(rows, key=lambda split: _USUAL.index(split) if split in _USUAL else len(_USUAL))
    return {split: rows[split] for split in order}


def split_rows(splits: SplitRows, count: int, split_as: Mapping[str, str]) -> Splits:
    """Return the rows of each split.

    Args:
        splits: as ``fit_layers`` takes them.
        count: how many rows there are.
        split_as: which split is meant by ``train``, ``val`` or ``test``, by these.

    Raises:
        ProblemError: splits of other rows, rows without one or in two, names that are not there, or two of one meaning.
    """
    if splits is None:
        rows = {TRAIN: np.arange(count)}
    elif isinstance(splits, Mapping):
        rows = _mapped_rows(splits, count)
    else:
        rows = _named_rows(splits, count)
    renamed = _renamed([*rows], split_as)
    return Splits({renamed.get(split, split): numbers for split, numbers in rows.items()}, _turned(renamed))


def shown_names(splits: Sequence[str], called: Mapping[str, str]) -> dict[str, str]:
    """Return what each split is called in tables, whatever its rows are called where they are stored.

    ``called`` is what a fit found ``train``, ``val`` and ``test`` to be called; the split that means ``val`` by another
    name is known without. Where there is a split of such a name already, all keep their own.
    """
    also = [split for split in splits if split.lower() in ALSO_VAL]
    meant = ({VAL: also[0]} if len(also) == 1 else {}) | {
        here: theirs for here, theirs in called.items() if theirs in splits
    }
    here = {theirs: here for here, theirs in meant.items() if here not in splits}
    return {split: here.get(split, split) for split in splits}


def _turned(renamed: Mapping[str, str]) -> dict[str, str]:
    return {here: theirs for theirs, here in renamed.items()}


def _renamed(splits: Sequence[str], split_as: Mapping[str, str]) -> dict[str, str]:
    """Return what the splits are called here that are called otherwise there."""
    renamed = _asked_for(splits, split_as)
    if VAL not in split_as:
        renamed |= dict.fromkeys(_also_val(splits, renamed), VAL)
    _refuse_taken(splits, renamed)
    return {theirs: here for theirs, here in renamed.items() if theirs != here}


def _asked_for(splits: Sequence[str], split_as: Mapping[str, str]) -> dict[str, str]:
    """Return what is meant by each split that was named; refused where it is not there, or named twice."""
    renamed: dict[str, str] = {}
    for here, theirs in split_as.items():
        if theirs not in splits:
            nearest = difflib.get_close_matches(theirs, splits, n=1)
            known = f"did you mean {nearest[0]!r}" if nearest else f"there are {', '.join(map(repr, splits))}"
            msg = f"split {here!r} was to be {theirs!r}, which no row is in; {known}"
            raise ProblemError(msg)
        if theirs in renamed:
            msg = f"split {theirs!r} was named twice, as {renamed[theirs]!r} and as {here!r}; a row is in one split"
            raise ProblemError(msg)
        renamed[theirs] = here
    return renamed


def _also_val(splits: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """The split that means ``val`` by another name, if any; refused where several do."""
    also = [split for split in splits if split.lower() in ALSO_VAL and split not in renamed]
    if also and (len(also) > 1 or VAL in splits):
        both = ", ".join(map(repr, [*(split for split in splits if split == VAL), *also]))
        msg = (
            f"the splits {both} all mean `val`, by which C is chosen; say which it is: --split-as val=NAME "
            "(split_as={'val': NAME})"
        )
        raise ProblemError(msg)
    return also


def _refuse_taken(splits: Sequence[str], renamed: Mapping[str, str]) -> None:
    """Refuse a name that two splits would have."""
    taken = [renamed.get(split, split) for split in splits]
    for here, theirs in _turned(renamed).items():
        if taken.count(here) > 1:
            msg = (
                f"split {theirs!r} was to be {here!r}, but rows are in a split of that name already; "
                f"give that one another name, too: --split-as other={here} (split_as={{'other': {here!r}}})"
            )
            raise ProblemError(msg)


def _named_rows(splits: ArrayLike, count: int) -> dict[str, NDArray[np.int64]]:
    """The rows of each name."""
    refuse_index(splits, "the splits")
    names, missing = read_labels(splits)
    unnamed = _empty_texts(splits) if missing.shape == (count,) else missing
    missing = missing & ~unnamed
    if names.shape != (count,):
        msg = f"there are {count:,} labels but splits of shape {names.shape}; give one split name per row"
        raise ProblemError(msg)
    if missing.any():
        msg = (
            f"{int(missing.sum()):,} rows have no split (the first is row {int(np.argmax(missing))}); name one for "
            "each, rows that no probe is to see another one"
        )
        raise ProblemError(msg)
    texts = np.where(unnamed, TRAIN, names.astype(str))
    return {str(split): np.flatnonzero(texts == split) for split in np.unique(texts)}


def _mapped_rows(splits: Mapping[str, ArrayLike], count: int) -> dict[str, NDArray[np.int64]]:
    """The rows of each split of a mapping, which must be rows there are, each in one split."""
    taken = np.full(count, -1)
    rows = {}
    for place, (split, given) in enumerate(splits.items()):
        numbers = np.asarray(given)
        if numbers.dtype == bool and numbers.shape == (count,):
            refuse_index(given, f"the rows of split {split!r}")
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


def _empty_texts(splits: ArrayLike) -> NDArray[np.bool_]:
    """Where a name is an empty text, which is no label but means ``train`` among splits; None and NaN are none."""
    masked = np.ma.getmaskarray(splits) if isinstance(splits, np.ma.MaskedArray) else False
    names = np.ma.getdata(splits) if isinstance(splits, np.ma.MaskedArray) else np.asarray(splits)
    return np.array([isinstance(name, str) and not name for name in names.tolist()], dtype=bool) & ~np.asarray(
        masked
    )


def divided_groups(groups: Array, rows: Mapping[str, NDArray[np.int64]]) -> dict[str, int]:
    """Return how many groups of the training rows have rows in each other split, too, where there are such."""
    train = np.unique(groups[rows[TRAIN]]) if TRAIN in rows else groups[:0]
    shared = {
        split: int(np.isin(np.unique(groups[numbers]), train).sum())
        for split, numbers in rows.items()
        if split != TRAIN
    }
    return {split: count for split, count in shared.items() if count}
