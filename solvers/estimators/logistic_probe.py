"""``LogisticProbe``: one certified probe, as scikit-learn's ``LogisticRegression`` would be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.estimators.base import FittedProbe
from solvers.fitting.fit import fit as fit_probe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

__all__ = ["LogisticProbe"]


class LogisticProbe(FittedProbe):
    """Multinomial logistic regression with a certified gap; C means what it means in ``LogisticRegression``.

    Fits the objective of :func:`solvers.fit`, the intercept always included and not penalised. Warns with
    scikit-learn's ``ConvergenceWarning`` where the gap asked for was not proven.

    Args:
        C: inverse strength of the penalty.
        gap: how far, in nats per row, the loss may be from the optimum.
        scale: take the penalty in columns of unit standard deviation, as after a ``StandardScaler``.
        class_weight: None, "balanced", or weights by label (a class that is not named weighs 1).
        engine: "auto", or the name of one (``probe doctor`` lists them).
        memory: bytes that the rows may take up while fitting; None is for the engine to choose.
        warm_start: start from the last fit of this estimator, which must have had the same features and classes.

    Attributes:
        coef_, intercept_, classes_, n_iter_, n_features_in_, feature_names_in_: as ``LogisticRegression`` has them.
        gap_: certified upper bound on the distance of ``loss_`` from the optimum, in nats per row.
        loss_, status_, engine_: the loss, how the fit ended, and what fitted.
        fit_: the :class:`solvers.Fit` behind all of these.
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        gap: float = 1e-5,
        scale: bool = False,
        class_weight: Mapping[Any, float] | str | None = None,
        engine: str = "auto",
        memory: int | None = None,
        warm_start: bool = False,
    ) -> None:
        self.C = C
        self.gap = gap
        self.scale = scale
        self.class_weight = class_weight
        self.engine = engine
        self.memory = memory
        self.warm_start = warm_start

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LogisticProbe:
        """Fit the probe. Rows of weight 0 count as rows that are not there.

        Args:
            X: (rows, features) of any real dtype, in memory or a memory map; it is not copied to float64.
            y: (rows,), labels of at least two classes.
            sample_weight: (rows,), 0 or more.

        Raises:
            ProblemError: a ValueError; what was given does not make a problem.
            EngineError: the engine asked for does not exist or does not work here.
        """
        rows, labels, sample_weight = self._rows_and_labels(X, y, sample_weight)
        fit = fit_probe(
            rows,
            labels,
            C=self.C,
            sample_weight=sample_weight,
            warm_start=getattr(self, "fit_", None) if self.warm_start else None,
            **self._settings(),
        )
        self._keep(fit)
        return self
