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
from typing import TYPE_CHECKING, cast

import numpy as np
from scipy.linalg import lapack

from solvers.lbfgs.objective import targets_of
from solvers.lbfgs.working import Frame, WorkingRows
from solvers.proof.intercept import best_shifts
from solvers.proof.one_pass import Asked, ProbeMeans, read_once
from solvers.workers.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array, Backend
    from solvers.lbfgs.objective import Targets
    from solvers.problem.problem import Problem

__all__ = ["MAX_PASSES", "Certificate", "Certifier", "Claim"]

_EPS = float(np.finfo(np.float64).eps)
MAX_PASSES = 30
"""Readings of the rows that an intercept may take: each halves or squares its error."""
_SHARE = 0.01
"""The intercept is exact enough where its repair, and what the last step gained, are below this share of the gap."""
_SMALL_STEP = 0.03
"""Nats below which a Newton step squares the error, so that a step which gains nothing has nothing to gain."""
_SLACK = 1e-6
"""What the moments of the columns may be off by, far more than their rounding, where they enter a bound on rounding."""
_LONGEST_STEP = 4.0
"""Nats that one Newton step may move an intercept by: further out its quadratic model says nothing."""


@dataclass(frozen=True)
class Certificate:
    """Proof of one probe: ``loss`` - optimum ≤ ``gap_nats``, both in nats per row, at ``coefficients``.

    ``coefficients`` (classes, width + 1) are in scaled coordinates, the intercept (at the mean) solved anew.
    ``gradient_norm`` is that of the loss there, ‖∇_W f‖ in nats, which is all that can be said without a penalty.
    """

    gap_nats: float
    loss: float
    gradient_norm: float
    coefficients: NDArray[np.float64]


@dataclass(frozen=True)
class _RowMeans:
    """Weighted means over all rows that no probe enters."""

    class_sums: NDArray[np.float64]
    """(classes, width + 1), mean of s e ⊗ x; its last column is π."""
    moment: float
    """Bound on the mean of s ‖x‖², that of rounding included."""
    rounding: float
    """Largest relative rounding of the class sums."""


@dataclass
class _Certified:
    """One problem on the shared rows, with what no probe of it changes: ``known``, once the rows were read."""

    problem: Problem
    targets: Targets
    frame: Frame
    known: _RowMeans | None = None

    @classmethod
    def of(cls, problem: Problem, rows: WorkingRows) -> _Certified:
        return cls(problem, targets_of(problem, rows.backend, np.float64), Frame.of(problem, rows))

    def learned(self, class_sums: NDArray[np.float64], rounding: float) -> None:
        """Take what the first reading of the rows found, and how far its sums were rounded.

        A row is x * stretch + offset, whose two parts are summed apart; the norms of their errors add up. Nothing of
        the column of ones is in it: the bound is made of the weights' gradient, and columns may be as small as they
        like.
        """
        problem, inverse = self.problem, 1.0 / self.problem.scale
        off = (problem.center - problem.mean) * inverse
        squares = float(np.sum(np.square(problem.deviation * inverse) + np.square(off)))
        moment = (squares**0.5 + float(np.sum(np.square(off))) ** 0.5) ** 2
        self.known = _RowMeans(class_sums, moment * (1 + _SLACK), rounding)


@dataclass(frozen=True)
class _InterceptTrial:
    """One probe on the way to its intercept: the point tried, the last good one, and the best certificate."""

    subject: _Certified
    penalty: float
    enough_nats: float
    coefficients: NDArray[np.float64]
    base: NDArray[np.float64]
    step: NDArray[np.float64]
    ceiling: float = np.inf
    reached_nats: float = np.inf
    best: Certificate | None = None
    done: bool = False
    whole: bool = False
    """Whether the step is from the point judged last, not a part of one that had led too far."""


@dataclass(frozen=True)
class Claim:
    """Coefficients (classes, width + 1) of anyone's, finite and in scaled coordinates, for one problem and one C.

    The intercept is solved no further once the gap (where C is infinite, the gradient's norm) is ``enough_nats``.
    """

    problem: int
    coefficients: Array
    C: float
    enough_nats: float = 0.0


class Certifier:
    """Certifies probes of problems on the same rows, whichever engine found them."""

    def __init__(self, problems: Sequence[Problem], backend: Backend) -> None:
        with backend.here():
            self.rows = WorkingRows(problems[0], backend, np.float64, divided=False)
            self._subjects = [_Certified.of(problem, self.rows) for problem in problems]

    def certify(self, claims: Sequence[Claim], most_passes: int = MAX_PASSES) -> list[Certificate]:
        """Bound the gap of several probes in the same passes over the rows.

        Where there is no penalty (C is infinite) there is no bound but the loss itself. Fewer passes than it takes to
        find the best intercepts leave bounds that hold, but are larger than need be.
        """
        trials = []
        for claim in claims:
            start = np.array(claim.coefficients, dtype=np.float64)
            penalty = self._subjects[claim.problem].problem.penalty(claim.C)
            subject, still = self._subjects[claim.problem], np.zeros(len(start))
            trials.append(_InterceptTrial(subject, penalty, claim.enough_nats, start, start, still))
        for _ in range(most_passes):
            pending = [index for index, trial in enumerate(trials) if not trial.done]
            if not pending:
                break
            with one_blas_thread(), self.rows.backend.here():
                means = self._means([trials[index] for index in pending])
                for index, mean in zip(pending, means, strict=True):
                    trials[index] = _judge(trials[index], mean)
                self._straight(trials, dict(zip(pending, means, strict=True)))
        return [trial.best for trial in trials if trial.best is not None]

    def _means(self, trials: Sequence[_InterceptTrial]) -> list[ProbeMeans]:
        """One pass over the rows for all probes, and for what no probe changes where that is not known yet."""
        subjects = {id(trial.subject): trial.subject for trial in trials}
        new = [subject for subject in subjects.values() if subject.known is None]
        asked = [Asked(trial.subject.targets, trial.subject.frame, trial.coefficients) for trial in trials]
        means, sums = read_once(self.rows, asked, [(subject.targets, subject.frame) for subject in new])
        for subject, class_sums in zip(new, sums, strict=True):
            subject.learned(class_sums, means[0].rounding)
        return means

    def _straight(self, trials: list[_InterceptTrial], means: dict[int, ProbeMeans]) -> None:
        """Take those of two classes whose logits were kept to their best intercepts, which no rows are read for."""
        open_ = [
            index
            for index, mean in means.items()
            if not trials[index].done and mean.logits is not None and trials[index].whole
        ]
        if not open_:
            return
        logits = [means[index].logits for index in open_]
        shifts = best_shifts(self.rows.backend, logits, [trials[index].subject.targets for index in open_])
        for index, shift in zip(open_, shifts, strict=True):
            step = np.array([-0.5, 0.5]) * shift
            trials[index] = _next_trial(replace(trials[index], step=step), over=False)


def _judge(trial: _InterceptTrial, means: ProbeMeans) -> _InterceptTrial:
    """Bound the gap at the point tried; then choose the next intercept by a safeguarded Newton step.

    Every point tried gives a valid bound, so the best of them is kept whatever comes after. A Newton step that raised
    the loss went too far for its model: it is halved from the last good point. The search ends where the bound asked
    for is proven; where a step is too small to change a float; or where the intercept is exact: a step so short that
    Newton squares the error gained nothing, and the repair costs next to nothing. The last two conditions go together,
    as a repair that still costs something says that the intercept is not exact, however little the step gained.
    """
    known = cast("_RowMeans", trial.subject.known)
    gap, unrepaired = _bound(trial, means, known)
    certificate = _certificate(trial, means, gap)
    best = certificate if trial.best is None or certificate.gap_nats < trial.best.gap_nats else trial.best
    reached = gap if trial.penalty > 0 else certificate.gradient_norm
    repaired = gap <= (1 + _SHARE) * unrepaired
    enough = reached <= trial.enough_nats and (repaired or trial.penalty > 0)
    if means.cross_entropy > trial.ceiling:
        moved, settled = replace(trial, step=trial.step / 2, best=best, whole=False), False
    else:
        step = _newton_step(means, known)
        ceiling = means.cross_entropy * (1 + 4 * _EPS)
        moved = replace(
            trial,
            base=trial.coefficients,
            step=step,
            ceiling=ceiling,
            reached_nats=reached,
            best=best,
            whole=True,
        )
        settled = bool(np.max(np.abs(step)) < _SMALL_STEP and reached >= (1 - _SHARE) * trial.reached_nats)
    return _next_trial(moved, over=enough or (settled and repaired))


def _certificate(trial: _InterceptTrial, means: ProbeMeans, gap: float) -> Certificate:
    """The certificate of the point tried; the loss is a bound on the gap too, as the optimum is not below 0."""
    loss = means.cross_entropy + 0.5 * trial.penalty * float(np.sum(np.square(trial.coefficients[:, :-1])))
    bound = float(min(gap, loss))
    bound = bound if np.isfinite(bound) else np.inf
    return Certificate(bound, loss, _norm(trial, means), trial.coefficients)


def _next_trial(moved: _InterceptTrial, *, over: bool) -> _InterceptTrial:
    """The trial one step from its base, done where it is ``over`` or where the step changes no float."""
    tried = moved.base.copy()
    tried[:, -1] += moved.step
    still = np.max(np.abs(moved.step)) <= 4 * _EPS * np.max(np.abs(tried[:, -1]))
    return replace(moved, coefficients=tried, done=bool(over or still))


def _bound(trial: _InterceptTrial, means: ProbeMeans, known: _RowMeans) -> tuple[float, float]:
    """The whole gap, and the part of it that is left once the intercept is exact."""
    if trial.penalty == 0:
        exact = np.max(np.abs(means.residual[:, -1])) <= _SHARE * np.linalg.norm(means.residual[:, :-1])
        return np.inf, np.inf if exact else 0.0
    shares, residual = known.class_sums[:, -1], means.residual
    m = shares + residual[:, -1]
    shortfall = max(0.0, 1.0 - float(np.min(shares / np.maximum(m, np.finfo(np.float64).tiny))))
    relative = max(known.rounding, means.rounding)
    t = min(1.0, shortfall + relative)
    q = np.maximum((shares - (1 - t) * m) / t, np.finfo(np.float64).tiny)
    divergence = max(0.0, float(q @ (np.log(q) - means.log_p)))
    at_q = q[:, None] * known.class_sums.sum(axis=0) - known.class_sums
    repaired = (1 - t) * residual + t * at_q
    pull = trial.penalty * trial.coefficients[:, :-1]
    # |p - e|² ≤ 2 CE row by row, so Cauchy and Schwarz bound the terms whose sums were rounded.
    size = relative * np.sqrt(2 * means.cross_entropy) + 8 * _EPS
    rounding = size * np.sqrt(known.moment) + 8 * _EPS * float(np.linalg.norm(pull))
    slope = float(np.linalg.norm(repaired[:, :-1] + pull)) + rounding
    plain = float(np.linalg.norm(residual[:, :-1] + pull)) + rounding
    # Products, not powers: a power of a float that overflows raises.
    return t * divergence + slope * slope / (2 * trial.penalty), plain * plain / (2 * trial.penalty)


def _norm(trial: _InterceptTrial, means: ProbeMeans) -> float:
    return float(np.linalg.norm(means.residual[:, :-1] + trial.penalty * trial.coefficients[:, :-1]))


def _newton_step(means: ProbeMeans, known: _RowMeans) -> NDArray[np.float64]:
    """Newton's step for the intercepts (classes,), of sum zero, no longer than its model can be trusted."""
    shares, gradient = known.class_sums[:, -1], means.residual[:, -1]
    # In place, and solved in place: of many classes a matrix is the most that a certificate holds.
    hessian = np.negative(means.spread, out=means.spread)
    diagonal = hessian.reshape(-1)[:: len(hessian) + 1]
    diagonal += shares + gradient
    # A shift of all intercepts has no curvature, nor has any where no row is in doubt.
    size, trace = len(hessian), max(float(diagonal.sum()), _EPS**2)
    hessian += trace / size**2
    diagonal += trace * _EPS
    *_, step, singular = lapack.dgesv(hessian.T, -gradient, overwrite_a=1)
    if singular:
        raise np.linalg.LinAlgError
    step -= step.mean()
    return step * (_LONGEST_STEP / max(float(np.max(np.abs(step))), _LONGEST_STEP))
