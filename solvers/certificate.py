"""The certificate: an upper bound on f(W, b) - f*, valid for any coefficients whoever found them.

Let α_i lie in the simplex, with class shares π as their weighted mean (what minimising over b demands), and let
``M_α = 1/S Σ s_i (α_i - e_{y_i}) x_iᵀ``. Then f* is at least ``1/S Σ s_i H(α_i) - ‖M_α‖² / 2λ``, H the entropy, and

    f(W, b) - f* ≤ 1/S Σ s_i KL(α_i ‖ p_i) + ‖M_α + λW‖² / 2λ,

a sum of squares and divergences, so nothing cancels (docs/solving.md derives it). With an exact intercept α = p is
allowed and only ‖∇_W f‖² / 2λ is left. So the intercept is solved first, by Newton steps, and what remains is repaired:
with m the mean of p, t = max(0, 1 - min π/m) and q = (π - (1-t)m)/t, take α = (1-t)p + tq, for which convexity
gives KL(α ‖ p) ≤ t KL(q ‖ p). Sums run in float64 over all rows; their worst rounding is added to the bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.backend import one_blas_thread
from solvers.objective import Targets, residual_block, softmax
from solvers.working import StreamedRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.backend import Backend
    from solvers.problem import Problem
    from solvers.working import Blocks

__all__ = ["Certificate", "Certifier"]

_EPS = float(np.finfo(np.float64).eps)
_MAX_PASSES = 30
_SHARE = 0.01
"""The intercept is exact enough where its repair, and what the last step gained, are below this share of the gap."""
_SMALL_STEP = 0.03
"""Nats below which a Newton step squares the error, so that a step which gains nothing has nothing to gain."""
_LONGEST_STEP = 4.0
"""Nats that one Newton step may move an intercept by: further out its quadratic model says nothing."""


@dataclass(frozen=True)
class Certificate:
    """Proof of one probe: ``loss`` - optimum ≤ ``gap_nats``, both in nats per row, at ``coefficients``.

    ``coefficients`` (classes, width + 1) are in scaled coordinates, the intercept (at the mean) solved anew.
    """

    gap_nats: float
    loss: float
    coefficients: NDArray[np.float64]


@dataclass(frozen=True)
class _RowMeans:
    """Weighted means over all rows that no probe enters."""

    class_sums: NDArray[np.float64]
    """(classes, width + 1), mean of s e ⊗ x; its last column is π."""
    moment: float
    """Mean of s ‖x‖², the column of ones included."""
    rounding: float
    """Largest relative rounding of a sum over all rows: eps times the additions a term goes through."""


@dataclass(frozen=True)
class _ProbeMeans:
    """Weighted means over all rows for one probe: what the bound and a Newton step are made of."""

    cross_entropy: float
    residual: NDArray[np.float64]
    """(classes, width + 1), mean of s (p - e) ⊗ x; its last column is m - π."""
    spread: NDArray[np.float64]
    """(classes, classes), mean of s p pᵀ."""
    log_p: NDArray[np.float64]
    """(classes,), mean of s log p."""


@dataclass(frozen=True)
class _Trial:
    """One probe on the way to its intercept: the point tried, the last good one, and the best certificate."""

    penalty: float
    coefficients: NDArray[np.float64]
    base: NDArray[np.float64]
    step: NDArray[np.float64]
    ceiling: float = np.inf
    gap: float = np.inf
    best: Certificate | None = None
    done: bool = False


class Certifier:
    """Certifies probes of one problem, whichever engine found them.

    ``passes`` counts the readings of all rows.
    """

    def __init__(self, problem: Problem, backend: Backend) -> None:
        self._problem = problem
        self._rows = StreamedRows(problem, backend)
        self._targets = Targets.of(problem, backend, np.float64)
        self._known = _row_means(self._rows, self._targets)

    @property
    def passes(self) -> int:
        """Readings of all rows so far."""
        return self._rows.passes

    def certify(self, coefficients: Sequence[NDArray[Any]], C: Sequence[float]) -> list[Certificate]:
        """Bound the gap of several probes in the same passes over the rows.

        Args:
            coefficients: (classes, width + 1) per probe, in scaled coordinates, finite.
            C: one per probe.
        """
        trials = []
        for each, c in zip(coefficients, C, strict=True):
            start = np.array(each, dtype=np.float64)
            trials.append(_Trial(self._problem.penalty(c), start, start, np.zeros(len(start))))
        for _ in range(_MAX_PASSES):
            pending = [index for index, trial in enumerate(trials) if not trial.done]
            if not pending:
                break
            with one_blas_thread():
                means = _probe_means(
                    self._rows, self._targets, [trials[index].coefficients for index in pending]
                )
                for index, mean in zip(pending, means, strict=True):
                    trials[index] = _judge(trials[index], mean, self._known)
        return [trial.best for trial in trials if trial.best is not None]


def _judge(trial: _Trial, means: _ProbeMeans, known: _RowMeans) -> _Trial:
    """Bound the gap at the point tried; then choose the next intercept by a safeguarded Newton step."""
    repair, gap = _bound(trial, means, known)
    loss = means.cross_entropy + 0.5 * trial.penalty * float(np.sum(np.square(trial.coefficients[:, :-1])))
    bound = float(min(gap, loss))
    certificate = Certificate(bound if np.isfinite(bound) else np.inf, loss, trial.coefficients)
    best = certificate if trial.best is None or certificate.gap_nats < trial.best.gap_nats else trial.best
    if means.cross_entropy > trial.ceiling:
        moved = replace(trial, step=trial.step / 2, best=best)
        exact = False
    else:
        step = _newton_step(means, known)
        ceiling = means.cross_entropy * (1 + 4 * _EPS)
        moved = replace(trial, base=trial.coefficients, step=step, ceiling=ceiling, gap=gap, best=best)
        exact = (
            np.max(np.abs(step)) < _SMALL_STEP and repair <= _SHARE * gap and gap >= (1 - _SHARE) * trial.gap
        )
    tried = moved.base.copy()
    tried[:, -1] += moved.step
    still = np.max(np.abs(moved.step)) <= 4 * _EPS * np.max(np.abs(tried[:, -1]))
    return replace(moved, coefficients=tried, done=bool(exact or still or repair == 0))


def _bound(trial: _Trial, means: _ProbeMeans, known: _RowMeans) -> tuple[float, float]:
    """The part of the gap that repairing the intercept costs (0 where that is rounding), and the whole gap."""
    shares, residual = known.class_sums[:, -1], means.residual
    m = shares + residual[:, -1]
    shortfall = max(0.0, 1.0 - float(np.min(shares / np.maximum(m, np.finfo(np.float64).tiny))))
    t = min(1.0, shortfall + known.rounding)
    q = np.maximum((shares - (1 - t) * m) / t, np.finfo(np.float64).tiny)
    divergence = max(0.0, float(q @ (np.log(q) - means.log_p)))
    at_q = q[:, None] * known.class_sums.sum(axis=0) - known.class_sums
    repaired = (1 - t) * residual + t * at_q
    pull = trial.penalty * trial.coefficients[:, :-1]
    # |p - e|² ≤ 2 CE row by row, so Cauchy and Schwarz bound the terms whose sums were rounded.
    size = known.rounding * np.sqrt(2 * means.cross_entropy) + 8 * _EPS
    rounding = size * np.sqrt(known.moment) + 8 * _EPS * float(np.linalg.norm(pull))
    slope = float(np.linalg.norm(repaired[:, :-1] + pull)) + rounding
    return (shortfall > known.rounding) * t * divergence, t * divergence + slope**2 / (2 * trial.penalty)


def _newton_step(means: _ProbeMeans, known: _RowMeans) -> NDArray[np.float64]:
    """Newton's step for the intercepts (classes,), of sum zero, no longer than its model can be trusted."""
    shares, gradient = known.class_sums[:, -1], means.residual[:, -1]
    hessian = np.diag(shares + gradient) - means.spread
    # A shift of all intercepts has no curvature, nor has any where no row is in doubt.
    size, trace = len(hessian), max(float(np.trace(hessian)), _EPS**2)
    hessian += trace * (1 / size**2 + _EPS * np.eye(size))
    step: Any = -np.linalg.solve(hessian, gradient)
    step -= step.mean()
    return step * (_LONGEST_STEP / max(float(np.max(np.abs(step))), _LONGEST_STEP))


def _row_means(rows: StreamedRows, targets: Targets) -> _RowMeans:
    xp, to_host = rows.backend.xp, rows.backend.to_host

    def work(blocks: Blocks) -> tuple[Any, Any, int]:
        sums: Any = 0.0
        squares: Any = 0.0
        additions = 0
        for part, x in blocks:
            one_hot = xp.zeros((targets.classes, len(x)))
            one_hot[targets.codes[part], xp.arange(len(x))] = 1.0
            one_hot = targets.weighted(part, one_hot)
            sums = sums + one_hot @ x
            squares = squares + one_hot.sum(axis=0) @ xp.square(x)
            additions = max(additions, len(x)) + 1
        return sums, squares, additions

    sums, squares, additions = zip(*rows.backend.map(work, rows.shares()), strict=True)
    class_sums = to_host(rows.from_rows(sum(sums) / rows.rows))
    moment = to_host(rows.from_rows(rows.from_rows(sum(squares) / rows.rows))).sum()
    return _RowMeans(class_sums, float(moment), _EPS * (max(additions) + len(additions)))


def _probe_means(
    rows: StreamedRows, targets: Targets, coefficients: list[NDArray[np.float64]]
) -> list[_ProbeMeans]:
    """One pass over the rows for all probes."""
    xp, host = rows.backend.xp, rows.backend.to_host
    probes, classes = len(coefficients), targets.classes
    a = rows.to_rows(rows.backend.float64(np.concatenate(coefficients)))

    def work(blocks: Blocks) -> tuple[NDArray[np.float64], Any, Any, Any]:
        entropy, residual = np.zeros(probes), xp.zeros(a.shape)
        spread, log_p = xp.zeros((probes, classes, classes)), xp.zeros((probes, classes))
        for part, x in blocks:
            z = (a @ x.T).reshape(probes, classes, len(x))
            p, normaliser = softmax(xp, z)
            spread += targets.weighted(part, p) @ p.swapaxes(1, 2)
            log_p += targets.weighted(part, z - normaliser[:, None, :]).sum(axis=2)
            for index in range(probes):
                entropy[index] += residual_block(xp, targets, part, z[index], p[index])
            residual += p.reshape(a.shape[0], len(x)) @ x
        return entropy, residual, spread, log_p

    sums = zip(*rows.backend.map(work, rows.shares()), strict=True)
    entropy, residual, spread, log_p = (sum(shares) / rows.rows for shares in sums)
    residual = host(rows.from_rows(residual)).reshape(probes, classes, -1)
    return [
        _ProbeMeans(*each) for each in zip(entropy.tolist(), residual, host(spread), host(log_p), strict=True)
    ]
