"""One pass over the rows in float64, for many probes at once: the weighted means that the certificate is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.lbfgs.objective import (
    TwoClasses,
    both_sides,
    groups,
    logits,
    padded,
    residual_block,
    side_by_side,
    softmax,
)
from solvers.lbfgs.working import ALONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.lbfgs.objective import Targets
    from solvers.lbfgs.working import Blocks, Frame, WorkingRows

__all__ = ["Asked", "ProbeMeans", "read_once"]

_KEPT_ENTRIES, _KEPT_ROWS = 1 << 20, 1 << 18
"""Logits of all rows are kept where they, and the rows, are no more than so many: 8 MB, and eight times as much while
an intercept is looked for."""


@dataclass(frozen=True)
class Asked:
    """One probe: coefficients (classes, width + 1) in a problem's own coordinates, on the host."""

    targets: Targets
    frame: Frame
    coefficients: NDArray[np.float64]


@dataclass(frozen=True)
class ProbeMeans:
    """Weighted means over all rows for one probe: what the bound and a Newton step are made of.

    ``rounding`` is the largest relative rounding of a sum over all rows: eps times the additions a term goes through.
    ``logits`` (rows,) are what the second of two classes has over the first, where they are few enough to be kept.
    """

    cross_entropy: float
    residual: NDArray[np.float64]
    """(classes, width + 1), mean of s (p - e) ⊗ x; its last column is m - π."""
    spread: NDArray[np.float64]
    """(classes, classes), mean of s p pᵀ."""
    log_p: NDArray[np.float64]
    """(classes,), mean of s log p."""
    rounding: float
    logits: Any = None


def read_once(
    rows: WorkingRows, asked: Sequence[Asked], new: Sequence[tuple[Targets, Frame]]
) -> tuple[list[ProbeMeans], list[NDArray[np.float64]]]:
    """Return the means of probes, and of each of ``new`` the class sums: (classes, width + 1), mean of s e ⊗ x."""
    return _Pass(rows, asked, new).run()


class _Pass:
    def __init__(self, rows: WorkingRows, asked: Sequence[Asked], new: Sequence[tuple[Targets, Frame]]) -> None:
        self._rows, self._asked, self._new = rows, asked, new
        float64 = rows.backend.float64
        moved = [each.frame.to_rows(each.targets.compact(float64(each.coefficients))) for each in asked]
        self._weights, self._intercepts, self._ends = padded(rows.backend.xp, moved, rows.dtype)
        self._targets = [each.targets for each in asked]
        self._groups = list(groups(self._targets, self._ends))
        self._hot = sum(targets.classes for targets, _ in new)
        self._logits: Any = None
        if rows.rows <= _KEPT_ROWS and self._ends[-1] * rows.rows <= _KEPT_ENTRIES:
            self._logits = rows.backend.xp.empty((self._ends[-1], rows.rows))

    def run(self) -> tuple[list[ProbeMeans], list[NDArray[np.float64]]]:
        shares = self._rows.shares(columns=self._ends[-1] + self._hot)
        parts = self._rows.backend.workers.map(self._work, shares)
        slopes = sum(part.slopes for part in parts) / self._rows.rows
        rounding = float(np.finfo(np.float64).eps) * (max(part.additions for part in parts) + len(parts))
        count, places = self._ends[-1], np.cumsum([0, *(targets.classes for targets, _ in self._new)])
        to_host = self._rows.backend.to_host
        class_sums = [
            to_host(frame.from_rows(slopes[count + places[index] : count + places[index + 1]]))
            for index, (_, frame) in enumerate(self._new)
        ]
        return [self._means(index, parts, slopes, rounding) for index in range(len(self._asked))], class_sums

    def _means(self, index: int, parts: Sequence[_Sums], slopes: Any, rounding: float) -> ProbeMeans:
        asked, host, first = self._asked[index], self._rows.backend.to_host, self._ends[index]
        residual = host(asked.frame.from_rows(slopes[first : self._ends[index + 1]]))
        if isinstance(asked.targets, TwoClasses):
            aa, ab, bb, log_a, log_b, loss = host(sum(part.of_two[index] for part in parts)) / self._rows.rows
            residual = np.concatenate([-residual, residual])
            kept = None if self._logits is None else self._logits[first]
            spread, log_p = np.array([[aa, ab], [ab, bb]]), np.array([log_a, log_b])
            return ProbeMeans(float(loss), residual, spread, log_p, rounding, kept)
        spread = host(sum(part.spreads[index] for part in parts) / self._rows.rows)
        log_p = host(sum(part.logs[index] for part in parts) / self._rows.rows)
        loss = float(sum(part.losses[index] for part in parts)) / self._rows.rows
        return ProbeMeans(loss, residual, spread, log_p, rounding)

    def _work(self, blocks: Blocks) -> _Sums:
        xp, count = self._rows.backend.xp, self._ends[-1]
        sums = _Sums.zero(xp, self._targets, (count + self._hot, self._rows.width + 1))
        for part, x in blocks:
            z = logits(xp, x, self._weights, self._intercepts)
            if self._logits is not None:
                self._logits[:, part] = z
            lanes = [sums.add(xp, group, part, z[first:last]) for group, first, last in self._in_groups()]
            lanes += [self._one_hot(targets, part, len(x)) for targets, _ in self._new]
            stacked = xp.concatenate(lanes)
            sums.slopes[:, -1] += stacked.sum(axis=1)
            if len(stacked) <= ALONE:
                for column in range(len(stacked)):
                    sums.slopes[column, :-1] += stacked[column] @ x
            else:
                sums.slopes[:, :-1] += stacked @ x
            sums.additions = max(sums.additions, len(x)) + 1
        return sums

    def _in_groups(self) -> list[tuple[slice, int, int]]:
        return [(mine, first, last) for _, mine, first, last in self._groups]

    def _one_hot(self, targets: Targets, part: slice, length: int) -> Any:
        xp = self._rows.backend.xp
        one_hot = xp.zeros((targets.classes, length))
        one_hot[targets.codes[part], xp.arange(length)] = 1.0
        return targets.weighted(part, one_hot)


@dataclass
class _Sums:
    """What a worker adds up over its blocks: the sums whose means are :class:`ProbeMeans`, one entry a probe."""

    targets: Sequence[Targets]
    slopes: Any
    losses: list[Any]
    spreads: list[Any]
    logs: list[Any]
    of_two: Any
    """(targets, 6): for those of two classes the spread (first, mixed, second), the logs and the loss."""
    additions: int = 0

    @classmethod
    def zero(cls, xp: Any, targets: Sequence[Targets], shape: tuple[int, int]) -> _Sums:
        spreads = [xp.zeros((each.classes, each.classes)) for each in targets]
        return cls(
            targets,
            xp.zeros(shape),
            [0.0] * len(targets),
            spreads,
            [xp.zeros(each.classes) for each in targets],
            xp.zeros((len(targets), 6)),
        )

    def add(self, xp: Any, mine: slice, part: slice, z: Any) -> Any:
        """Add a block of logits z (columns, n) of a group of probes; their residuals ``s (p - e)`` (columns, n)."""
        group = self.targets[mine]
        if isinstance(group[0], TwoClasses):
            return self._add_two(xp, mine, part, z)
        (targets,), index = group, mine.start
        p, normaliser = found = softmax(xp, z)
        self.spreads[index] += targets.weighted(part, p) @ p.T
        self.logs[index] += targets.weighted(part, z - normaliser).sum(axis=1)
        residuals, loss = residual_block(xp, targets, part, z, found)
        self.losses[index] += loss
        return residuals

    def _add_two(self, xp: Any, mine: slice, part: slice, z: Any) -> Any:
        """:meth:`add` for probes of two classes, all at once; z is what the second class has over the first."""
        signs, weights = side_by_side(xp, self.targets[mine], part, z)
        (second, more), (first, less) = both_sides(xp, z)
        wrong = xp.where(signs > 0, first, second)
        losses = xp.where(signs > 0, less, more)
        moments = [first * first, first * second, second * second, -more, -less, losses]
        if weights is not None:
            wrong, moments = wrong * weights, [each * weights for each in moments]
        for column, each in enumerate(moments):
            self.of_two[mine, column] += each.sum(axis=1)
        return -signs * wrong
