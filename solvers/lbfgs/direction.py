"""Which way: L-BFGS on an immutable state, over ``xp``.

The initial inverse Hessian is that of a :class:`~solvers.lbfgs.metric.Metric`, refreshed as the iterate moves,
times the usual ratio of the last pair. Products with the rows are
not made here: the sweep makes them for all columns at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from solvers.lbfgs.metric import NO_METRIC, Metric

if TYPE_CHECKING:
    from solvers.arrays import Backend

__all__ = ["Pair", "State", "advance", "direction", "gap_estimate", "penalised"]

_MEMORY = 12
_SOUND = 1e-12
"""A pair with less than this share of |s| |y| in <s, y> has lost its curvature to rounding."""


@dataclass(frozen=True)
class Pair:
    """One step s and the change y of the gradient along it, (classes, width + 1) each, with 1 / <s, y>."""

    step: Any
    change: Any
    inverse: float


@dataclass(frozen=True)
class State:
    """One problem's iterate at one penalty λ: everything that its next step depends on.

    ``coefficients`` and ``gradient`` (that of the loss, penalty included) are (classes, width + 1), float64. ``doubt``
    is the second derivative by the one intercept of two classes.
    """

    penalty: float
    coefficients: Any
    loss: float
    gradient: Any
    metric: Metric = NO_METRIC
    pairs: tuple[Pair, ...] = ()
    doubt: float | None = None


def penalised(
    backend: Backend, penalty: float, coefficients: Any, cross_entropy: float, gradient: Any
) -> State:
    """The state at coefficients where the cross-entropy and its gradient are known."""
    total = gradient.copy()
    total[:, :-1] += penalty * coefficients[:, :-1]
    weights = coefficients[:, :-1]
    return State(penalty, coefficients, cross_entropy + 0.5 * penalty * backend.inner(weights, weights), total)


def direction(backend: Backend, state: State) -> Any:
    """The quasi-Newton direction -H g (classes, width + 1), by the two-loop recursion (Nocedal 1980)."""
    q, shares = state.gradient.copy(), []
    for pair in reversed(state.pairs):
        share = pair.inverse * backend.inner(pair.step, q)
        q -= share * pair.change
        shares.append(share)
    if state.pairs:
        last = state.pairs[-1]
        sides = backend.xp.empty((2, *q.shape))  # not stack, which takes longer than to fill it
        sides[0], sides[1] = q, last.change
        q, taught = state.metric.solve(backend, sides)
        q /= last.inverse * backend.inner(last.change, taught)
    else:
        q = state.metric.solve(backend, q)
    for pair, share in zip(state.pairs, reversed(shares), strict=True):
        q += (share - pair.inverse * backend.inner(pair.change, q)) * pair.step
    return -q


def advance(backend: Backend, state: State, there: State) -> State:
    """The state after the step from ``state`` to ``there``, with the pair that it teaches."""
    step, change = there.coefficients - state.coefficients, there.gradient - state.gradient
    curved, inner = backend.inner(step, change), backend.inner
    sound = curved > _SOUND * (inner(step, step) * inner(change, change)) ** 0.5
    pairs = (*state.pairs, Pair(step, change, 1.0 / curved))[-_MEMORY:] if sound else state.pairs
    return replace(there, metric=state.metric, pairs=pairs)


def gap_estimate(backend: Backend, state: State) -> float:
    """Estimate the certificate: ‖∇_W f‖² / 2λ once the intercept is exact, or the loss if that is less.

    Without a penalty it is ‖∇_W f‖.
    """
    gradient = state.metric.centered(state.gradient)
    weights, intercept = gradient[:, :-1], gradient[:, -1:]
    square = backend.inner(weights, weights)
    if state.penalty == 0:
        return square**0.5
    gain = 0.5 * float((intercept * intercept / state.metric.mass).sum())
    return min(square / (2 * state.penalty) + gain, state.loss)
