"""Training rows to choose C with, where nobody named a validation split: some set aside, or all of them in folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting.splits import VAL, in_order
from solvers.labels import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.probing.records import JSON
    from solvers.probing.task import RowRules

__all__ = ["FEW_ROWS", "FRACTION", "Division", "deal", "divide", "set_aside"]

FRACTION = 0.1
"""The part of the training rows that is set aside."""
ALWAYS = -1
"""The fold of a row that is trained on in all of them."""
FEW_ROWS = 5000
"""Below so many labelled training rows C is chosen by folds, where nobody says how: a tenth of them says little."""
FOLDS = 5


@dataclass(frozen=True)
class Division:
    """The rows of each split, the fold of each training row, and how C is chosen."""

    rows: Mapping[str, NDArray[np.int64]]
    chosen: JSON
    folds: NDArray[np.int64] | None = None


def divide(
    rows: Mapping[str, NDArray[np.int64]],
    codes: NDArray[np.int64],
    groups: Array | None,
    rules: RowRules,
) -> Division:
    """Find the rows to choose C by.

    Args:
        rows: the labelled rows of each split.
        codes: (rows of the store,) classes, ``UNSEEN`` where a label is none of them.
        groups: (training rows,) those that stay together.
        rules: how.

    Raises:
        ProblemError: C is to be chosen by training rows, but there is a ``val`` split.
    """
    asked = rules.folds is not None or rules.holdout is not None
    if VAL in rows and asked:
        msg = (
            f"folds and holdout choose C by training rows, but there is a `{VAL}` split of {len(rows[VAL]):,} rows to "
            "choose it by; give neither, or another split as `val`"
        )
        raise ProblemError(msg)
    if not rules.choose:
        return Division(in_order(rows), {"how": "given"})
    if VAL in rows:
        known = int(np.sum(codes[rows[VAL]] != UNSEEN))
        return Division(in_order(rows), {"how": "split", "split": VAL, "rows": known})
    few = rules.holdout is None and len(rows["train"]) < FEW_ROWS
    way = _by_folds if rules.folds is not None or few else _by_a_part
    found = way(rows, codes, groups, rules)
    if groups is not None:
        found.chosen["groups"] = len(np.unique(groups))
    return found


def _by_folds(
    rows: Mapping[str, NDArray[np.int64]],
    codes: NDArray[np.int64],
    groups: Array | None,
    rules: RowRules,
) -> Division:
    train, asked = rows["train"], rules.folds or FOLDS
    folds = deal(codes[train], groups, folds=asked, seed=rules.seed)
    chosen = {
        "how": "folds",
        "folds": int(folds.max()) + 1,
        "asked": asked,
        "rows": int(np.sum(folds >= 0)),
        "of": len(train),
    }
    return Division(in_order(rows), chosen, folds)


def _by_a_part(
    rows: Mapping[str, NDArray[np.int64]],
    codes: NDArray[np.int64],
    groups: Array | None,
    rules: RowRules,
) -> Division:
    train, asked = rows["train"], rules.holdout or FRACTION
    held = set_aside(codes[train], groups, seed=rules.seed, fraction=asked)
    chosen = {"how": "set aside", "split": VAL, "rows": int(held.sum()), "of": len(train), "asked": asked}
    return Division(in_order({**rows, "train": train[~held], VAL: train[held]}), chosen)


def set_aside(
    codes: NDArray[np.int64],
    groups: Array | None = None,
    *,
    seed: int = 0,
    fraction: float = FRACTION,
) -> NDArray[np.bool_]:
    """Choose a part of the training rows, with the classes in the proportions of the whole.

    Rows of one group stay together, so with groups the part and the proportions are met roughly, no worse
    than by groups drawn at random. Every class keeps at least one row to train on.

    Args:
        codes: (rows,), the class of each training row, ints from 0.
        groups: (rows,) of any type, or None where each row stands for itself.
        seed: the same seed sets the same rows aside.
        fraction: how large a part.

    Returns:
        (rows,) bool, True where a row is set aside.

    Raises:
        ProblemError: when no row (or group) can be spared.
    """
    generator = np.random.default_rng(seed)
    held = _rows(codes, fraction, generator) if groups is None else _groups(codes, groups, fraction, generator)
    if not held.any():
        unit = "row" if groups is None else "group"
        msg = (
            f"no {unit} of the {len(codes):,} training rows can be set aside to choose C with, because every "
            "class must keep a row to train on; name a `val` split, or give a single C"
        )
        raise ProblemError(msg)
    return held


def deal(
    codes: NDArray[np.int64], groups: Array | None = None, *, folds: int, seed: int = 0
) -> NDArray[np.int64]:
    """Deal training rows into folds, each with the classes in the proportions of the whole.

    Each fold is held out once, so every class must have a row outside of each: the rows of a class that would be in
    one fold alone are in none, and always trained on. There are never more folds than rows, or groups.

    Args:
        codes: (rows,), the class of each training row, ints from 0.
        groups: (rows,) of any type, rows that stay together; None where each stands for itself.
        folds: how many, 2 or more.
        seed: the same seed deals alike.

    Returns:
        (rows,) int64, the fold of each row from 0, ``ALWAYS`` where it is in none.

    Raises:
        ProblemError: when no two folds can be made.
    """
    generator = np.random.default_rng(seed)
    if groups is None:
        dealt = _dealt_rows(codes, folds, generator)
        groups = np.arange(len(codes))
    else:
        dealt = _dealt_groups(codes, groups, folds, generator)
    for code in np.unique(codes):
        own = np.unique(dealt[codes == code])
        if len(own) == 1 and own[0] != ALWAYS:
            # Without one of its groups in training there, the fold could not be fitted: that one is never held out.
            smallest = _smallest_group(groups, codes == code)
            dealt[groups == smallest] = ALWAYS
    used = np.unique(dealt[dealt != ALWAYS])
    if len(used) < 2:
        unit = "rows" if len(np.unique(groups)) == len(codes) else "groups"
        msg = (
            f"the {len(codes):,} training rows have too few {unit} of each class to choose C by folds; name a `val` "
            "split, or give a single C"
        )
        raise ProblemError(msg)
    return np.where(dealt == ALWAYS, ALWAYS, np.searchsorted(used, dealt))


def _dealt_rows(codes: NDArray[np.int64], folds: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Single rows, shuffled, the classes one after another, dealt in turns."""
    shuffled = generator.permutation(len(codes))
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    dealt = np.empty(len(codes), dtype=np.int64)
    dealt[by_class] = np.arange(len(codes)) % folds
    return dealt


def _dealt_groups(
    codes: NDArray[np.int64], groups: Array, folds: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Whole groups, the largest first, each to the fold that has the smallest share of its classes so far.

    That is the fold f with the smallest Σ_k g_k held_fk / total_k, g_k being the rows of class k in the group: the one
    where Σ_fk (held_fk − total_k / folds)² / total_k grows least. Ties go to the fold with the fewest rows.
    """
    sizes, members = _members(groups)
    total = np.bincount(codes)
    held = np.zeros((folds, len(total)))
    dealt = np.empty(len(codes), dtype=np.int64)
    shuffled = generator.permutation(len(sizes))
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        classes, rows = np.unique(codes[members[group]], return_counts=True)
        shares = (held[:, classes] / total[classes]) @ rows
        fold = np.lexsort((held.sum(axis=1), np.round(shares, 12)))[0]
        held[fold, classes] += rows
        dealt[members[group]] = fold
    return dealt


def _smallest_group(groups: Array, rows: NDArray[np.bool_]) -> Any:
    """The group with the fewest rows of those that have one of these rows."""
    names = np.unique(groups[rows])
    return min(names, key=lambda name: int(np.count_nonzero(groups == name)))


def _rows(codes: NDArray[np.int64], fraction: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Choose single rows at random, so many of each class as :func:`_of_each_class` says.

    The rows are shuffled once and sorted by class, which leaves each class in random order: its first rows are then a
    draw of their own, and one shuffle serves any number of classes.
    """
    counts = np.bincount(codes)
    take = _of_each_class(counts, fraction)
    shuffled = generator.permutation(len(codes))
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    first_of_class = np.cumsum(counts) - counts
    place_in_class = np.arange(len(codes)) - first_of_class[codes[by_class]]
    held = np.zeros(len(codes), dtype=bool)
    held[by_class[place_in_class < take[codes[by_class]]]] = True
    return held


def _of_each_class(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """How many rows of each class (classes,) are set aside, rounded by largest remainder.

    Rounding each class by itself would set aside no row at all of a hundred classes of four. So the part of all rows
    is what is kept to, and the rows that rounding down leaves over go to the classes that lost most by it. A class
    that would be left without a row to train on gives none.
    """
    share = counts * fraction
    take = np.floor(share).astype(np.int64)
    short = max(1, round(int(counts.sum()) * fraction)) - int(take.sum())
    spare = np.flatnonzero(take + 1 < counts)
    by_remainder = spare[np.argsort((take - share)[spare], kind="stable")]
    take[by_remainder[:short]] += 1
    return take


def _groups(
    codes: NDArray[np.int64], groups: Array, fraction: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Whole groups in random order, each taken if it brings the class counts nearer to the part wanted.

    The distance is Σ_k (wanted_k − held_k)² / wanted_k. Where every group is too large for that part, the
    smallest one that can be spared is taken.
    """
    sizes, members = _members(groups)
    left = np.bincount(codes)
    wanted = left * fraction
    missing = wanted.copy()
    held = np.zeros(len(codes), dtype=bool)
    for group in generator.permutation(len(sizes)):
        classes, rows = np.unique(codes[members[group]], return_counts=True)
        nearer = np.sum(rows * (2 * missing[classes] - rows) / wanted[classes]) > 0
        if nearer and np.all(rows < left[classes]):
            held[members[group]] = True
            missing[classes] -= rows
            left[classes] -= rows
        if missing.sum() <= 0:
            break
    if not held.any():
        for group in np.argsort(sizes, kind="stable"):
            classes, rows = np.unique(codes[members[group]], return_counts=True)
            if np.all(rows < left[classes]):
                held[members[group]] = True
                break
    return held


def _members(groups: Array) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """The size and the rows of every group."""
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return sizes, np.split(np.argsort(group_of, kind="stable"), np.cumsum(sizes)[:-1])
