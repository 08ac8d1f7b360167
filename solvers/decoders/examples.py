"""The pictures that decoders learn to give back, and which rows are for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.problem.moments import not_finite
from solvers.rows import as_source, take

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.decoders.images import ImageUnits
    from solvers.rows import RowSource

__all__ = ["Examples", "Roles", "roles_of"]

_SET_ASIDE = {"score": 0.2, "select": 0.1}
_READ_ROWS = 1000


@dataclass(frozen=True)
class Roles:
    """Numbers of rows, ascending: to learn from, to choose a penalty by, to score on; and how they were found.

    ``select`` is empty where no penalty is chosen and no split is for that.
    """

    train: NDArray[np.int64]
    select: NDArray[np.int64]
    scored: NDArray[np.int64]
    split: str
    how: str


def roles_of(splits: Mapping[str, NDArray[np.int64]], groups: NDArray[np.int64] | None, choose: bool) -> Roles:
    """Return what each row is for. Nothing is chosen on the rows that are scored.

    Scored is ``test``, else ``val``, else a fifth of ``train``. A penalty is chosen by ``val`` where it is not scored,
    else by a tenth of ``train``. What is set aside is drawn by a seed, whole groups.

    Args:
        splits: the rows of each split; ``val`` by that name.
        groups: (rows,) ints; None without.
        choose: whether a penalty is chosen.

    Raises:
        ProblemError: no row is in a split ``train``.
    """
    train = splits.get("train", np.empty(0, np.int64))
    if not len(train):
        msg = f"no row is in a split `train`; there is {', '.join(map(repr, splits)) or 'no row'}"
        raise ProblemError(msg)
    said = []
    split = next((name for name in ("test", "val") if len(splits.get(name, ()))), "held out")
    scored = splits.get(split)
    if scored is None:
        train, scored = _divided(train, groups, _SET_ASIDE["score"])
        said.append(f"{len(scored):,} rows of `train` were set aside to be scored")
    select = splits.get("val", np.empty(0, np.int64)) if split == "test" else np.empty(0, np.int64)
    if choose and not len(select):
        train, select = _divided(train, groups, _SET_ASIDE["select"])
        said.append(f"{len(select):,} rows of `train` were set aside to choose the penalty")
    return Roles(train, select, scored, split, "; ".join(said))


def _divided(
    rows: NDArray[np.int64], groups: NDArray[np.int64] | None, part: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows without about a part of them, and that part: whole groups, in a seeded order."""
    mine = np.arange(len(rows)) if groups is None else np.unique(groups[rows], return_inverse=True)[1]
    sizes = np.bincount(mine)
    order = np.random.default_rng(0).permutation(len(sizes))
    taken = order[np.cumsum(sizes[order]) <= max(1, round(part * len(rows)))]
    aside = np.isin(mine, taken)
    if not aside.any() or aside.all():
        msg = (
            f"{len(rows):,} training rows in {len(sizes):,} groups cannot be divided; give splits: a dump with "
            "--data train=... --data test=..."
        )
        raise ProblemError(msg)
    return rows[~aside], rows[aside]


@dataclass(frozen=True, eq=False)
class Examples:
    """Stored pictures, and what their rows are for.

    Args:
        images: (rows, ...) what the network was given.
        units: of the images.
        train: numbers of the rows to fit on.
        select: numbers of the rows that choose a penalty; none where there are none.
        labels: (rows,) the place of each row's label among the classifier's classes, -1 for none; None without.

    Raises:
        ProblemError: numbers of rows that there are not.
    """

    images: RowSource | Array
    units: ImageUnits
    train: NDArray[np.int64]
    select: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = self.images.shape[0]
        for rows in (self.train, *([] if self.select is None else [self.select])):
            if len(rows) and (np.min(rows) < 0 or np.max(rows) >= count):
                msg = f"rows go from {np.min(rows)} to {np.max(rows)}; expected numbers from 0 to {count - 1:,}"
                raise ProblemError(msg)

    def stored(self, rows: NDArray[np.int64]) -> Array:
        """Return pictures as stored.

        Raises:
            ProblemError: some are not finite.
        """
        found = take(as_source(self.images), rows)
        if bad := not_finite(found):
            msg = f"{bad:,} rows of the pictures hold NaN or infinities; leave those rows out"
            raise ProblemError(msg)
        return found.reshape(len(rows), *self.units.stored)

    def pictures(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return pictures (rows, channels, height, width) in [0, 1]."""
        return self.units.to_unit(self.stored(rows))

    def brightness(self) -> NDArray[np.float64]:
        """Return the mean of each channel (channels,) over the pictures to learn from, in [0, 1]."""
        cuts = range(0, len(self.train), _READ_ROWS)
        sums = [self.pictures(self.train[cut : cut + _READ_ROWS]).mean(axis=(2, 3)).sum(axis=0) for cut in cuts]
        return np.sum(sums, axis=0) / max(1, len(self.train))

    def refuse_others(self, codes: RowSource) -> None:
        """Refuse activations of another number of rows."""
        if codes.shape[0] != self.images.shape[0]:
            rows, pictures = codes.shape[0], self.images.shape[0]
            msg = f"{rows:,} rows of activations and {pictures:,} pictures; expected the same rows"
            raise ProblemError(msg)
