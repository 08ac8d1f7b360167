"""Which way: L-BFGS on an immutable state, over ``xp``.

The initial inverse Hessian is that of a :class:`Metric`, refreshed as the iterate moves, times the usual ratio of the
last pair. Products with the rows are not made here: the sweep makes them for all its states at once and hands them in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvers.backend import Backend

__all__ = [
    "Metric",
    "Pair",
    "Products",
    "State",
    "advance",
    "direction",
    "gap_estimate",
    "init",
    "penalty_value",
    "refresh",
]

_MEMORY = 20
_FLOOR = 1e-10
"""Curvature below this share of the largest is taken for rounding."""
_SOUND = 1e-12
"""A pair with less than this share of |s| |y| in <s, y> has lost its curvature to rounding."""


@dataclass(frozen=True)
class Metric:
    """A model of each class's Hessian: diagonal, once that class's intercept is taken at its own center.

    With weights v = s p (1 - p), the intercept couples to the columns through their v-weighted mean, ``center``
    (classes, width). Around it, in the Gram's eigenbasis, little but the ``diagonal`` (classes, width + 1) is left.
    """

    center: Any = 0.0
    diagonal: Any = 1.0

    @classmethod
    def of(cls, first: Any, second: Any, penalty: Any) -> Metric:
        """The metric of the means of v ⊗ x and v ⊗ x² (classes, width + 1), and λ (width + 1,)."""
        floor = _FLOOR * second.max()
        mass = first[:, -1:] + floor
        center = first[:, :-1] / mass
        diagonal = second + floor
        diagonal[:, :-1] = (second[:, :-1] - mass * center**2).clip(floor, None)
        return cls(center, diagonal + penalty)

    def centered(self, gradient: Any) -> Any:
        """The gradient (classes, width + 1) with the intercept taken at the center."""
        moved = gradient.copy()
        moved[:, :-1] -= self.center * gradient[:, -1:]
        return moved

    def solve(self, gradient: Any) -> Any:
        """The model's inverse times a gradient (classes, width + 1), of sum zero over classes.

        A shift common to all classes changes no probability: such a step could only add to the penalty.
        """
        step = self.centered(gradient) / self.diagonal
        step[:, -1] -= (self.center * step[:, :-1]).sum(axis=1)
        return step - step.mean(axis=0)


@dataclass(frozen=True)
class Products:
    """What one evaluation knows: logits (classes, rows), the loss, and the gradient of the cross-entropy alone."""

    logits: Any
    loss: float
    gradient: Any


@dataclass(frozen=True)
class Pair:
    """One step s and the change y of the gradient along it, (classes, width + 1) each, with 1 / <s, y>."""

    step: Any
    change: Any
    inverse: float


@dataclass(frozen=True)
class State:
    """One problem's iterate: everything that its next step depends on.

    ``coefficients`` and ``gradient`` are (classes, width + 1), float64; ``logits`` (classes, rows) in the dtype
    of the rows. ``penalty`` (width + 1,) is λ, with 0 for the intercept.
    """

    penalty: Any
    coefficients: Any
    logits: Any = None
    loss: float = 0.0
    gradient: Any = None
    metric: Metric = Metric()
    pairs: tuple[Pair, ...] = ()
    evaluations: int = 0


def init(backend: Backend, coefficients: Any, penalty: float) -> State:
    """A state at ``coefficients`` (classes, width + 1), to be refreshed before its first step."""
    penalties = backend.xp.full(coefficients.shape[-1], penalty, dtype=backend.xp.float64)
    penalties[-1] = 0.0
    return State(penalty=penalties, coefficients=coefficients)


def refresh(state: State, products: Products, metric: Metric) -> State:
    """The state with everything made anew from its coefficients."""
    return replace(
        state,
        logits=products.logits,
        loss=products.loss,
        gradient=products.gradient + state.penalty * state.coefficients,
        metric=metric,
        evaluations=state.evaluations + 1,
    )


def direction(backend: Backend, state: State) -> Any:
    """The quasi-Newton direction -H g (classes, width + 1), by the two-loop recursion (Nocedal 1980)."""
    q, shares = state.gradient.copy(), []
    for pair in reversed(state.pairs):
        share = pair.inverse * backend.inner(pair.step, q)
        q -= share * pair.change
        shares.append(share)
    q = state.metric.solve(q)
    if state.pairs:
        last = state.pairs[-1]
        q /= last.inverse * backend.inner(last.change, state.metric.solve(last.change))
    for pair, share in zip(state.pairs, reversed(shares), strict=True):
        q += (share - pair.inverse * backend.inner(pair.change, q)) * pair.step
    return -q


def advance(backend: Backend, state: State, step: Any, products: Products) -> State:
    """The state after ``step`` (classes, width + 1), with the products there."""
    coefficients = state.coefficients + step
    gradient = products.gradient + state.penalty * coefficients
    change = gradient - state.gradient
    curved, inner = backend.inner(step, change), backend.inner
    sound = curved > _SOUND * (inner(step, step) * inner(change, change)) ** 0.5
    return replace(
        state,
        coefficients=coefficients,
        logits=products.logits,
        loss=products.loss,
        gradient=gradient,
        pairs=(*state.pairs, Pair(step, change, 1.0 / curved))[-_MEMORY:] if sound else state.pairs,
        evaluations=state.evaluations + 1,
    )


def gap_estimate(backend: Backend, state: State) -> float:
    """What the certificate will say, about: ‖∇_W f‖² / 2λ once the intercept is exact, or the loss if that is less."""
    gradient = state.metric.centered(state.gradient)
    weights, intercept = gradient[:, :-1], gradient[:, -1]
    gain = 0.5 * backend.inner(intercept, intercept / state.metric.diagonal[:, -1])
    return min(backend.inner(weights, weights / (2 * state.penalty[:-1])) + gain, state.loss)


def penalty_value(backend: Backend, state: State) -> float:
    """The penalty λ/2 ‖W‖² of a state."""
    return 0.5 * backend.inner(state.coefficients, state.penalty * state.coefficients)
