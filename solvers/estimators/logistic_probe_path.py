"""``LogisticProbePath``: C chosen by cross-validation, as scikit-learn's ``LogisticRegressionCV`` would be used."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv

from solvers.errors import ProblemError
from solvers.estimators.base import FittedProbe, refuse_where_both_say
from solvers.fitting.fit import fit as fit_probe
from solvers.fitting.path import ROUGH_GAP_NATS
from solvers.fitting.result import Status
from solvers.labels import UNSEEN, place_labels
from solvers.linear_map import output_blocks
from solvers.problem.problem import read_strengths
from solvers.problem.weights import row_weights
from solvers.rows import Rows
from solvers.scoring.split_score import row_nats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.fitting.result import Fit, FitPath

__all__ = ["LogisticProbePath"]


class LogisticProbePath(FittedProbe):
    """Multinomial logistic regression at the C of the smallest cross-entropy on held-out rows, certified.

    Every C is fitted to the rows of each fold (to 1e-3 nats, or ``gap`` where that is more) and judged on the rows held
    out of it; the C with the smallest mean cross-entropy, the smaller one of equals, is then fitted to all rows.

    Args:
        Cs: values of C, or how many of them between 1e-4 and 1e4, evenly on a logarithmic scale.
        cv: number of stratified folds (None: 5), a splitter of scikit-learn, or pairs (train rows, held-out rows).
        gap, scale, class_weight, engine, memory: as :class:`LogisticProbe` takes them. "balanced" weights are those
            of all rows, in every fold.

    Attributes:
        C_: the C chosen, of ``Cs_`` (n_Cs,).
        validation_cross_entropy_: (n_Cs,), mean cross-entropy over all held-out rows, by sample weight, nats per row.
        coef_, intercept_, classes_, n_iter_, gap_, loss_, status_, engine_, fit_: of the fit to all rows, as
            :class:`LogisticProbe` has them.
    """

    def __init__(
        self,
        Cs: int | Sequence[float] | Array = 10,
        *,
        cv: Any = None,
        gap: float = 1e-5,
        scale: bool = False,
        class_weight: Mapping[Any, float] | str | None = None,
        engine: str = "auto",
        memory: int | None = None,
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.gap = gap
        self.scale = scale
        self.class_weight = class_weight
        self.engine = engine
        self.memory = memory

    @property
    def C_(self) -> float:  # noqa: N802 - scikit-learn's name for it
        """The C chosen."""
        return self.fit_.C

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> LogisticProbePath:
        """Choose C, and fit it to all rows.

        Args:
            X: (rows, features) of any real dtype, in memory or a memory map; it is not copied to float64.
            y: (rows,), labels of at least two classes in every fold.
            sample_weight: (rows,), 0 or more; held-out rows count by it too.
            groups: (rows,), for a splitter that keeps groups together.

        Raises:
            ProblemError: a ValueError; what was given does not make a problem, or no held-out row can be judged.
            EngineError: the engine asked for does not exist or does not work here.
        """
        refuse_where_both_say(X, {"the groups": groups})
        rows, labels, sample_weight = self._rows_and_labels(X, y, sample_weight)
        strengths = _strengths(self.Cs)
        folds = list(check_cv(self.cv, labels, classifier=True).split(rows, labels, groups))
        weights = row_weights(labels, self.class_weight, sample_weight)
        settings = self._settings() | {"class_weight": None}  # which is in the weights of the rows by now
        rough = settings | {"gap_nats": max(self.gap, ROUGH_GAP_NATS)}
        by_fold = {fold: _masked_but(labels, train) for fold, (train, _) in enumerate(folds)}
        paths = fit_probe(
            rows,
            by_fold,
            C=strengths,
            sample_weight=weights,
            **rough,
        )
        _warn_of_rough_fits(paths.values())
        self.Cs_ = strengths
        self.validation_cross_entropy_ = _cross_entropy(rows, labels, sample_weight, folds, paths.values())
        chosen = np.lexsort((strengths, self.validation_cross_entropy_))[0]
        fit = fit_probe(rows, labels, C=float(strengths[chosen]), sample_weight=weights, **settings)
        self._keep(fit)
        return self


def _strengths(Cs: Any) -> NDArray[np.float64]:
    """Values of C as they were given, or so many."""
    counted = isinstance(Cs, Integral) and not isinstance(Cs, bool)
    return np.logspace(-4, 4, Cs) if counted else read_strengths(Cs)


def _masked_but(labels: Array, train: Array) -> Any:
    """Labels of a fold: those of its training rows, the others masked."""
    masked = np.ma.masked_all_like(labels)
    masked[train] = labels[train]
    return masked


def _warn_of_rough_fits(paths: Iterable[FitPath]) -> None:
    missed = [fit for path in paths for fit in path if fit.status is Status.GAP_MISSED]
    if missed:
        msg = (
            f"{len(missed):,} of the fits that C is chosen by missed their gap, by up to "
            f"{max(fit.gap_nats for fit in missed):.2g} nats; try scale=True or smaller Cs"
        )
        warnings.warn(msg, ConvergenceWarning, stacklevel=3)


def _cross_entropy(
    rows: Array,
    labels: Array,
    sample_weight: ArrayLike | None,
    folds: Sequence[tuple[Array, Array]],
    paths: Iterable[FitPath],
) -> NDArray[np.float64]:
    """Mean cross-entropy (n_Cs,) over the held-out rows of all folds, by sample weight, in nats per row.

    Rows of a class that their fold was not trained on are left out, as over them it is infinite.
    """
    weights = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    nats, mass = np.zeros(1), 0.0
    for (_, held), path in zip(folds, paths, strict=True):
        codes = np.full(len(labels), UNSEEN)
        codes[held] = place_labels(labels[held], path[0].classes)
        judged = np.flatnonzero((codes != UNSEEN) & (weights > 0))
        nats = nats + np.array([_nats(fit, Rows(rows, judged), codes[judged], weights[judged]) for fit in path])
        mass += weights[judged].sum()
    if not mass:
        msg = (
            "no held-out row has a weight and a class that its fold was trained on, so C cannot be chosen; "
            "give folds (cv) that hold out rows of the classes they train on"
        )
        raise ProblemError(msg)
    return nats / mass


def _nats(fit: Fit, rows: Rows, codes: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """Summed cross-entropy of a fit over rows, times their weights."""
    return sum(
        float(weights[part] @ row_nats(logits, codes[part]))
        for part, _, (logits,) in output_blocks(rows, [fit.map])
    )
