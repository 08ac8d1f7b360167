"""Which rows the curvature of the loss hangs on: row sampling by leverage and doubt.

A Hessian is a sum over rows, ``Σ_i s_i p_i (1 - p_i) x_i x_iᵀ``, and few rows carry most of it: those whose class is in
doubt, and those that lie where few others do. Rows drawn with probability proportional to both, and weighted by its
inverse, give a matrix that is close to the whole in every direction (Drineas et al. 2012, "Fast approximation of matrix
coherence and statistical leverage", for the leverage by random projection; Xu et al. 2016, "Sub-sampled Newton methods
with non-uniform sampling", for the use).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.lbfgs.leading import find_leading
from solvers.lbfgs.objective import logits, padded
from solvers.lbfgs.working import column_gram, weighted_squares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.lbfgs.leading import Leading
    from solvers.lbfgs.objective import Targets
    from solvers.lbfgs.working import Blocks, WorkingRows

__all__ = ["Sample", "Sampler"]

_GRAM_ROWS = 16
"""Rows per column that the Gram matrix of the leverage is made of."""
_DIRECTIONS = 16
"""Random directions that the leverage is estimated by."""
_FEW = 256
"""Rows that tell about how the loss bends along a direction."""
WHOLE_ELEMENTS = 1 << 20
"""Layers of so few entries are taken whole, without looking for the rows that matter."""
IN_FLIGHT = 160
"""Coefficient columns that may be in flight together."""
LEADING_ELEMENTS = 1 << 27
"""Layers of more entries than this have their curvature taken from a sample, not along leading directions."""
BASIS_WIDTH = 2048
"""Layers wider than this have too large a Gram matrix to take eigenvectors of."""
_ALIKE = 0.1
"""Stretches that differ by less than this share are taken for one, where that changes no sum but a metric's."""
_UNIFORM = 0.1
"""Share of the probability that ignores leverage."""
_TINY = 1e-300
_TRUST = 10.0
"""The leverage counts directions whose curvature exceeds this many penalties."""
_LEAST = 1e-12
"""Added to the Gram matrix for layers of which no column varies; those that do are of order 1 in the rows' units."""


@dataclass(frozen=True)
class Sample:
    """Rows x (n, width) by number, the inverse of their probabilities (n,), and an estimate of their leverage (n,).

    No leverage means that every row was taken for what it is. ``squares`` (n, width) are of x, where they are kept.
    """

    numbers: Any
    x: Any
    weights: Any
    leverage: Any
    squares: Any = None


class Sampler:
    """Draws rows of one layer, for any problem on it.

    ``most`` bounds the rows that are looked at closely; ``whole`` allows their Gram matrix, rather than its diagonal.
    """

    def __init__(self, rows: WorkingRows, most: int, *, whole: bool) -> None:
        self._rows = rows
        self.principal = rows.principal
        self._generator = np.random.default_rng(0)
        self._most = most
        count = min(rows.rows, most, max(1000, _GRAM_ROWS * rows.width))
        self._few = np.sort(self._generator.choice(rows.rows, count, replace=False))
        self._bases: list[tuple[Any, Any]] = []
        self._leading: list[tuple[Any, Leading]] = []
        self._whole = whole
        self._gram: Any = None

    @cached_property
    def diagonal(self) -> Any:
        """The Gram matrix's diagonal (width,), per row."""
        ones = self._rows.backend.xp.ones((1, len(self._few)), dtype=self._rows.dtype)
        return weighted_squares(self._rows.backend, ones, self._rows.pick(self._few))[0] / len(self._few)

    @property
    def turns(self) -> bool:
        """Whether there can be a basis: the Gram matrix fits, and is not too wide to take eigenvectors of."""
        return self._whole and self._rows.width <= BASIS_WIDTH

    @property
    def gram_price(self) -> int:
        """Multiplications that the Gram matrix will take; none where it is there, or cannot be."""
        return 0 if self._gram is not None or not self._whole else len(self._few) * self._rows.width**2

    def has_basis(self, stretch: Any) -> bool:
        """Say whether :meth:`basis` costs nothing, as it was made before."""
        return self._near(self._bases, stretch) is not None

    def _near(self, made: list[tuple[Any, Any]], stretch: Any) -> Any:
        """What was made for about the same stretch; None where nothing was.

        Folds scale each their own way, by a few hundredths. A metric is made in directions that any of them has, with
        the rows of its own: a little off the axes they serve as well.
        """
        xp = self._rows.backend.xp
        alike = (each for near, each in made if bool((xp.abs(near - stretch) <= _ALIKE * stretch).all()))
        return next(alike, None)

    def basis(self, stretch: Any) -> Any:
        """Return eigenvectors (width, width) of the Gram matrix in a problem's coordinates; None unless it ``turns``.

        In them the Hessian of every class is nearly diagonal, whatever C is: exactly where all probabilities are
        equal, and nearly later, as the weights p (1 - p) change its diagonal more than its eigenvectors.
        """
        if not self.turns:
            return None
        found = self._near(self._bases, stretch)
        if found is None:
            turned = self._whole_gram() * stretch[:, None] * stretch[None, :]
            found = self._rows.backend.xp.linalg.eigh(turned)[1]
            self._bases.append((stretch, found))
        return found

    def leads(self, rank: int, columns: int = 1) -> bool:
        """Whether there can be so many leading directions: the rows are kept, and what is made of them fits.

        That is the rows along them, and a block and its factor for each column in flight, in float64.
        """
        rows, width = self._rows.rows, self._rows.width
        entries = self._most * width
        blocks = 4 * max(columns, IN_FLIGHT) * rank**2
        fits = rows * rank <= entries and blocks <= 3 * entries and rows * width <= LEADING_ELEMENTS
        return self._rows.kept is not None and fits

    def has_leading(self, stretch: Any, rank: int) -> bool:
        """Say whether :meth:`leading` costs nothing, as it was made before."""
        return self._near(self._led(rank), stretch) is not None

    def leading(self, stretch: Any, rank: int) -> Leading:
        """Return ``rank`` leading directions of the rows in a problem's coordinates, the same for whoever asks."""
        found: Leading | None = self._near(self._led(rank), stretch)
        if found is None:
            backend = self._rows.backend
            draws = self._generator.standard_normal((rank, self._rows.rows), np.float32)
            draws = backend.xp.asarray(draws.astype(self._rows.dtype))
            found = find_leading(backend, self._rows.kept, stretch, draws)
            self._leading.append((stretch, found))
        return found

    def _led(self, rank: int) -> list[tuple[Any, Leading]]:
        return [(stretch, leading) for stretch, leading in self._leading if leading.directions.shape[1] == rank]

    def all_rows(self) -> Sample:
        """Return every row for what it is."""
        numbers = self._rows.backend.xp.arange(self._rows.rows)
        ones = self._rows.backend.xp.ones(self._rows.rows, dtype=self._rows.dtype)
        return Sample(numbers, self._rows.kept, ones, None)

    def few_rows(self) -> Sample:
        """Return some hundreds of rows that are kept, spread evenly, for what they are."""
        numbers = np.arange(0, self._rows.rows, max(1, self._rows.rows // _FEW))
        ones = self._rows.backend.xp.ones(len(numbers), dtype=self._rows.dtype)
        return Sample(self._rows.backend.xp.asarray(numbers), self._rows.pick(numbers), ones, None)

    def _whole_gram(self) -> Any:
        """The Gram matrix (width, width), made when it is first needed; None where it does not fit."""
        if self._gram is None and self._whole:
            self._gram = column_gram(self._rows.backend, self._rows.pick(self._few)) / len(self._few)
        return self._gram

    def draw(
        self, targets: Targets, coefficients: Any, penalties: Any, count: int, *, whole: bool = True
    ) -> Sample:
        """Draw about ``count`` rows for a problem at coefficients (classes, width + 1), as they act on a block.

        ``penalties`` (width,) are those of the columns of the rows; ``whole`` asks for leverage by the whole Gram
        matrix, rather than by its diagonal, by which it only says which rows to take: where all are, none is asked for.

        Doubt says how much a row bends the loss, leverage how far from the others it does: a row counts by their
        product. Leverage is an estimate, so a tenth of the chance goes by doubt alone: no row that bends the loss is
        left out for good, and the inverse of its chance, by which it counts, stays bounded. Rows are drawn one by
        one, each by its own chance, so that their weights need no correction for one another; how many come is
        therefore only about the number asked for, and where chance gives none, the likeliest is taken.
        """
        xp, host = self._rows.backend.xp, self._rows.backend.to_host
        small = self._rows.rows * self._rows.width <= WHOLE_ELEMENTS
        if count >= self._rows.rows and (small or not whole):
            numbers = np.arange(self._rows.rows)
            ones = xp.ones(len(numbers), dtype=self._rows.dtype)
            return Sample(xp.asarray(numbers), self._rows.pick(numbers), ones, None, self._rows.squares)
        doubt, leverage = self._scores(targets, coefficients, self._sketch(penalties, whole))
        doubt, leverage = host(doubt).astype(np.float64), host(leverage)
        score = _importance(doubt, leverage)
        del doubt  # in vectors of all rows there is nothing to spare
        chance = _chances(score, count) if count < len(score) else np.ones(len(score))
        numbers = np.flatnonzero(self._generator.random(len(chance)) < chance)
        if not len(numbers):
            numbers = np.array([int(score.argmax())])
        move = self._rows.dtype
        return Sample(
            xp.asarray(numbers),
            self._rows.pick(numbers),
            xp.asarray((1 / chance[numbers]).astype(move)),
            xp.asarray(leverage[numbers].astype(move)),
        )

    def _sketch(self, penalties: Any, whole: bool) -> Any:
        """Directions P (width, d) for which ‖x P‖² is about xᵀ (Gram + 10 λ)⁻¹ x."""
        xp, backend = self._rows.backend.xp, self._rows.backend
        ridge = _TRUST * penalties + 1e-6 * self.diagonal.mean() + _LEAST
        gram = self._whole_gram() if whole else None
        factor = None if gram is None else backend.factor(gram + xp.diag(ridge))
        draws = self._generator.standard_normal((self._rows.width, _DIRECTIONS)) / _DIRECTIONS**0.5
        if factor is None:
            return xp.asarray(draws) / xp.sqrt(self.diagonal + ridge)[:, None]
        # (L Lᵀ)⁻¹ L ω has the covariance of (L Lᵀ)⁻¹, and any factor's product with its lower half will do.
        return backend.solve(factor, xp.tril(factor) @ xp.asarray(draws))

    def _scores(self, targets: Targets, coefficients: Any, sketch: Any) -> tuple[Any, Any]:
        """Doubt s Σ p (1 - p) over the columns and leverage of every row, in one reading."""
        xp, rows = self._rows.backend.xp, self._rows
        weights, intercepts, _ = padded(xp, [coefficients], rows.dtype)
        sketch = sketch.astype(rows.dtype)
        doubt, leverage = xp.empty(rows.rows, dtype=rows.dtype), xp.empty(rows.rows, dtype=rows.dtype)

        def work(blocks: Blocks) -> None:
            for part, x in blocks:
                doubt[part] = targets.doubts(xp, part, logits(xp, x, weights, intercepts)).sum(axis=0)
                leverage[part] = xp.square(x @ sketch[: x.shape[1]]).sum(axis=1)

        rows.backend.workers.map(work, rows.shares(columns=targets.columns))
        return doubt.clip(0, None), leverage


def _importance(doubt: NDArray[np.float64], leverage: Array) -> NDArray[np.float64]:
    """Shares (rows,) of the whole chance, by doubt times leverage and a tenth by doubt alone; ``doubt`` is spent."""
    if not doubt.any():
        doubt[:] = 1.0  # every row is certain, rightly or not
    score = doubt * leverage
    score *= (1 - _UNIFORM) / max(score.sum(), _TINY)
    doubt *= _UNIFORM / max(doubt.sum(), _TINY)
    score += doubt
    return score


def _chances(score: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Probabilities (rows,) proportional to a score, none above 1, that sum to about ``count``."""
    chance = np.minimum(1.0, count * score)
    for _ in range(5):
        free = chance < 1
        left = count - np.count_nonzero(~free)
        total = score[free].sum()
        if left <= 0 or total <= 0:
            break
        chance[free] = np.minimum(1.0, left * score[free] / total)
    return chance
