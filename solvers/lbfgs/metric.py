"""A model of each class's Hessian: where L-BFGS starts from, and what its free estimate of the gap is made of.

With weights v = s p (1 - p) the block of one class is ``Σ v x xᵀ + λ`` once its intercept is taken at the v-weighted
mean of the rows. It is made of a sample of the rows, scaled to a unit diagonal and factored. Where the factors of all
classes would be too large, the diagonal alone is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solvers.lbfgs.leading import LeadingFactors
from solvers.lbfgs.objective import logits, padded
from solvers.lbfgs.working import weighted_squares

if TYPE_CHECKING:
    from collections.abc import Callable

    from solvers.arrays import Backend
    from solvers.lbfgs.leading import Leading
    from solvers.lbfgs.objective import Targets
    from solvers.lbfgs.sampling import Sample
    from solvers.lbfgs.working import Frame

__all__ = ["NO_METRIC", "Curvature", "Metric", "Point", "measure", "measure_leading"]

_FLOOR = 1e-10
"""Curvature below this share of the largest is taken for rounding."""
_CUT = 0.01
"""A row with less than this share of the mean importance for a class is left out of that class's block."""
_CHUNK_ELEMENTS = 1 << 22
"""Entries of rows that a worker scales at a time, as every one of them holds a copy."""
_TINY = 1e-20
"""Curvature below this is none: a step divided by it is still one that a line search can cut."""
_LEAST = 1e-300
_STEEPEST = 1e18
"""What a column of a block is scaled up by at most, so that float32 can square it: such a column does not vary."""
_SHARED_ENTRIES = 1 << 18
"""Entries of all factors from which on several workers solve: below that, to ask them takes longer."""
JITTER = 1e-5
"""What is added to a unit diagonal at first, so that float32 still finds the matrix positive definite."""


@dataclass(frozen=True)
class Metric:
    """The model: ``center`` (classes, width), ``mass`` (classes, 1) and ``root`` (classes, width) of its diagonal.

    ``factors`` are of the classes' blocks, scaled to a unit diagonal; None where the diagonal is all there is. That
    diagonal is one in ``basis`` (width, width), where there is one. ``leading`` takes the place of all of these.
    """

    center: Any = 0.0
    mass: Any = 1.0
    root: Any = 1.0
    factors: tuple[Any, ...] | None = None
    basis: Any = None
    leading: LeadingFactors | None = None

    def centered(self, gradient: Any) -> Any:
        """The gradient (..., classes, width + 1) with the intercept taken at the center."""
        moved = gradient.copy()
        moved[..., :-1] -= self.center * gradient[..., -1:]
        return moved

    def solve(self, backend: Backend, gradients: Any) -> Any:
        """The model's inverse times gradients (..., classes, width + 1), each of sum zero over classes, if several.

        A shift common to all classes changes no probability: such a step could only add to the penalty.
        """
        step = self.centered(gradients)
        if self.leading is not None:
            step[..., :-1] = self.leading.solve(backend, step[..., :-1])
        else:
            weights = step[..., :-1] if self.basis is None else step[..., :-1] @ self.basis
            weights = weights / self.root
            if self.factors is not None:
                self._solve_blocks(backend, weights.reshape(-1, *weights.shape[-2:]), self.factors)
            weights /= self.root
            step[..., :-1] = weights if self.basis is None else weights @ self.basis.T
        step[..., -1:] /= self.mass
        step[..., -1] -= (self.center * step[..., :-1]).sum(axis=-1)
        return step if step.shape[-2] == 1 else step - step.mean(axis=-2, keepdims=True)

    def _solve_blocks(self, backend: Backend, sides: Any, factors: tuple[Any, ...]) -> None:
        """Solve for every class in place; the factors are read once for all sides (n, classes, width)."""

        def work(classes: list[int]) -> list[None]:
            for k in classes:
                sides[:, k] = backend.solve(factors[k], sides[:, k].T.astype(factors[k].dtype)).T
            return []

        if sides[0].size * sides.shape[-1] < _SHARED_ENTRIES:
            work(list(range(len(factors))))
        else:
            _by_class(backend, work, len(factors))


NO_METRIC = Metric()
"""The identity metric, used until curvature has been measured."""


@dataclass(frozen=True)
class Curvature:
    """What a sample of rows says of each class's Hessian, without the penalty, in the coordinates of the rows.

    ``mean`` (classes, width) is v-weighted, ``mass`` (classes, 1) the sum of v, ``spread`` (classes, width) the
    diagonal about that mean and ``blocks`` the whole, each (width, width); None where only diagonals were asked for.
    Those are then of the problem's own coordinates, in ``basis`` (width, width) if there is one. Where there are
    ``leading`` directions, the blocks are along them, and ``spread`` (classes, 1) is what is across.
    """

    frame: Frame
    mean: Any
    mass: Any
    spread: Any
    blocks: tuple[Any, ...] | None
    basis: Any = None
    leading: Leading | None = None

    def under(self, backend: Backend, penalty: float) -> Metric:
        """The metric under a penalty λ."""
        xp, stretch = backend.xp, self.frame.stretch
        center = self.mean * stretch + self.frame.offset
        if self.leading is not None:
            rest = self.spread + penalty + _LEAST
            along = LeadingFactors.of(backend, self.leading, list(self.blocks or ()), rest, penalty)
            return Metric(center, self.mass, backend.xp.sqrt(rest), leading=along)
        if self.blocks is None:
            return Metric(center, self.mass, xp.sqrt(self.spread + penalty + _LEAST), basis=self.basis)
        root = xp.sqrt(xp.square(stretch) * self.spread + penalty + _LEAST)
        shrink, blocks = (stretch / root).clip(None, _STEEPEST), self.blocks

        def work(classes: list[int]) -> list[Any]:
            return [_factor(backend, blocks[k], shrink[k].astype(blocks[k].dtype)) for k in classes]

        factors = _by_class(backend, work, len(blocks))
        return Metric(
            center, self.mass, root, None if any(each is None for each in factors) else tuple(factors)
        )


@dataclass(frozen=True)
class Point:
    """Where curvature is measured: coefficients (classes, width + 1) in the problem's own coordinates."""

    targets: Targets
    frame: Frame
    coefficients: Any


def measure(backend: Backend, sample: Sample, at: Point, *, blocks: bool, basis: Any = None) -> Curvature:
    """Return the curvature at a point, by a sample of rows.

    ``blocks`` asks for the classes' whole blocks rather than their diagonals, which are then taken in ``basis``.

    The intercept of a class is taken at the class's own weighted mean, where it has no part in the other curvature:
    so the spread is about that mean, and what cancels there is lost to rounding, which the floors stand for. A class
    whose rows are all certain has no mass, and would divide by it; a direction without spread would be stepped along
    to infinity. Floors are shares of the largest, as no unit is known here.
    """
    v = _doubts(backend, sample, at, blocks=blocks)
    mass = backend.float64(v.sum(axis=1))[:, None]
    mass = mass + _FLOOR * float(mass.max()) + _TINY
    mean = backend.float64(v @ sample.x) / mass
    if not blocks:
        turned = _turned_spread(backend, sample, v, (mean, mass), at.frame, basis)
        return Curvature(at.frame, mean, mass, turned, None, basis)
    spread = _spread(backend, _squares(backend, sample, v), mean, mass)

    def work(classes: list[int]) -> list[Any]:
        return [_block(backend, sample.x, v[k], mean[k]) for k in classes]

    return Curvature(at.frame, mean, mass, spread, tuple(_by_class(backend, work, len(v))))


def measure_leading(backend: Backend, leading: Leading, sample: Sample, at: Point) -> Curvature:
    """Return the curvature at a point along leading directions, by all rows."""
    v = _doubts(backend, sample, at, blocks=False)
    mass = backend.float64(v.sum(axis=1))[:, None]
    mass = mass + _FLOOR * float(mass.max()) + _TINY
    mean = backend.float64(v @ sample.x) / mass
    blocks = leading.blocks(backend, v, mass)
    return Curvature(at.frame, mean, mass, leading.tail * mass, tuple(blocks), leading=leading)


def bend(backend: Backend, sample: Sample, at: Point, along: Any) -> float:
    """Estimate the curvature of the loss along a direction (classes, width + 1), by a sample of rows.

    What classes take from one another is left out: it is at most as much again.
    """
    xp = backend.xp
    weights, intercepts, _ = padded(xp, [at.frame.to_rows(along)], sample.x.dtype)
    moved = backend.float64(logits(xp, sample.x, weights, intercepts))
    share = len(at.targets.codes) / len(sample.x)
    return share * float((_doubts(backend, sample, at, blocks=False) * xp.square(moved)).sum())


def _doubts(backend: Backend, sample: Sample, at: Point, *, blocks: bool) -> Any:
    """Weights v = s p (1 - p) (classes, n) of the sampled rows, by the inverse of their chance to be drawn.

    Most rows matter little to most classes: for blocks, whose price is by the row, those are left out.
    """
    xp = backend.xp
    weights, intercepts, _ = padded(xp, [at.frame.to_rows(at.coefficients)], sample.x.dtype)
    v = at.targets.doubts(xp, sample.numbers, logits(xp, sample.x, weights, intercepts)) * sample.weights
    if blocks and sample.leverage is not None:
        importance = v * sample.leverage
        v = xp.where(importance >= _CUT * importance.mean(axis=1)[:, None], v, 0)
    return (v / len(at.targets.codes)).astype(sample.x.dtype)


def _squares(backend: Backend, sample: Sample, v: Any) -> Any:
    """Σ v x² (classes, width), float64."""
    if sample.squares is not None:
        return backend.float64(v @ sample.squares)
    return weighted_squares(backend, v, sample.x)


def _spread(backend: Backend, squares: Any, mean: Any, mass: Any) -> Any:
    """The diagonal Σ v (x - mean)² (classes, width) of each class, no entry below rounding's share of the largest."""
    spread = squares - mass * backend.xp.square(mean)
    return spread.clip(_FLOOR * float(spread.max()) + _TINY, None)


def _turned_spread(
    backend: Backend, sample: Sample, v: Any, about: tuple[Any, Any], frame: Frame, basis: Any
) -> Any:
    """:func:`_spread` in the problem's own coordinates, in ``basis`` if there is one; ``about`` is (mean, mass)."""
    xp, (mean, mass) = backend.xp, about
    if basis is None:
        return _spread(backend, _squares(backend, sample, v), mean, mass) * xp.square(frame.stretch)
    turn = frame.stretch[:, None] * basis
    size = xp.abs(turn).max(axis=0)
    turn = turn / size.clip(_LEAST, None)  # float32 could not square what comes of columns of 1e30
    squares = weighted_squares(backend, v, sample.x @ turn.astype(sample.x.dtype))
    spread = _spread(backend, squares, mean @ turn, mass) * xp.square(size)
    # Eigenvectors are known but to a rounding of the largest of them.
    return spread.clip(_FLOOR * float(spread.max()) + _TINY, None)


def _by_class(backend: Backend, work: Callable[[list[int]], list[Any]], classes: int) -> list[Any]:
    """Return what ``work`` makes of each class, the classes dealt to the backend's workers."""
    shares = [[part.start for part in mine] for mine in backend.workers.shares(classes, 1)]
    return [made for found in backend.workers.map(work, shares) for made in found]


def _block(backend: Backend, x: Any, v: Any, mean: Any) -> Any:
    """Σ v (x - mean)(x - mean)ᵀ of one class: (width, width)."""
    xp = backend.xp
    kept = xp.flatnonzero(v)
    mean = mean.astype(x.dtype)
    block = -v.sum() * mean[:, None] * mean[None, :]
    step = max(len(mean), _CHUNK_ELEMENTS // len(mean))
    for start in range(0, len(kept), step):
        few = kept[start : start + step]
        scaled = x[few]
        scaled *= xp.sqrt(v[few])[:, None]
        block += scaled.T @ scaled
    return block


def _factor(backend: Backend, block: Any, shrink: Any) -> Any:
    """The Cholesky factor of one class's block, scaled to a unit diagonal; None where it holds no numbers."""
    scaled = block * shrink[:, None] * shrink[None, :]
    diagonal = backend.xp.arange(len(block))
    jitter = JITTER
    # Off the diagonal nothing exceeds 1 by more than rounding, so a diagonal as large as the sum of a row must do.
    while jitter < 10 * len(block):
        scaled[diagonal, diagonal] = 1 + jitter
        factor = backend.factor(scaled)
        if factor is not None:
            return factor
        jitter *= 10
    return None
