"""What the estimators share: checked input, and a :class:`solvers.Fit` seen as scikit-learn's attributes."""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from solvers.errors import ProblemError
from solvers.fitting.result import Status
from solvers.fitting.settings import FitSettings
from solvers.given import by_position, refuse_other_rows, unmasked
from solvers.labels import read_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.fitting.result import Fit

__all__ = ["FittedProbe", "refuse_where_both_say"]

_LONGER = {"gap": "gap_nats", "memory": "memory_bytes"}
"""What settings of a fit are called there, where estimators have them by a shorter name."""
_PROVEN = (Status.CONVERGED, Status.UNPENALISED)
"""How a fit ends that did what was asked; without a penalty there is no gap to prove."""


class FittedProbe(ClassifierMixin, BaseEstimator):
    """A classifier whose ``fit_`` is a :class:`solvers.Fit`; its other results are read off that.

    Two classes have one coefficient vector, as in scikit-learn: the difference of the fit's two columns.
    """

    fit_: Fit
    gap: float

    def _settings(self) -> dict[str, Any]:
        """The parameters that are settings of a fit, by the names that they have there."""
        given = {_LONGER.get(name, name): value for name, value in self.get_params(deep=False).items()}
        return {each.name: given[each.name] for each in fields(FitSettings) if each.name in given}

    @property
    def coef_(self) -> NDArray[np.float64]:
        """Coefficients for raw rows: (1, features) for two classes, else (classes, features)."""
        weights = self.fit_.weights.T
        return _read_only(weights[1:] - weights[:1] if len(weights) == 2 else weights)

    @property
    def intercept_(self) -> NDArray[np.float64]:
        """Intercepts: (1,) for two classes, else (classes,)."""
        bias = self.fit_.bias
        return _read_only(bias[1:] - bias[:1] if len(bias) == 2 else bias)

    @property
    def classes_(self) -> Array:
        """Labels of the rows that had a weight, sorted."""
        return _read_only(self.fit_.classes)

    @property
    def n_iter_(self) -> NDArray[np.int64]:
        """Evaluations of the gradient: (1,), as scikit-learn has its iterations."""
        return np.array([self.fit_.evaluations])

    @property
    def gap_(self) -> float:
        """Certified upper bound on ``loss_`` minus the smallest loss there is, in nats per row."""
        return self.fit_.gap_nats

    @property
    def loss_(self) -> float:
        """Mean cross-entropy plus penalty, in nats per row (:func:`solvers.fit` has the formula)."""
        return self.fit_.loss

    @property
    def status_(self) -> Status:
        """How the fit ended, a string such as "converged"."""
        return self.fit_.status

    @property
    def engine_(self) -> str:
        """The engine that fitted."""
        return self.fit_.engine

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Logits: (rows,) of the second class against the first for two classes, else (rows, classes)."""
        rows = self._rows(X)
        logits = self.fit_.logits(rows)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict(self, X: ArrayLike) -> Array:
        """Most probable class of each row: (rows,), of ``classes_``."""
        rows = self._rows(X)
        return self.fit_.predict(rows)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probability of each class for each row: (rows, classes), in the order of ``classes_``."""
        rows = self._rows(X)
        return self.fit_.predict_proba(rows)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Logarithm of :meth:`predict_proba`, finite where a probability underflows."""
        rows = self._rows(X)
        return self.fit_.predict_log_proba(rows)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of rows (by weight) whose class is predicted; refuses ``y`` of other rows, as ``fit``."""
        refuse_where_both_say(X, {"y": y, "the sample weights": sample_weight})
        return float(super().score(X, y, sample_weight))

    def _rows(self, X: ArrayLike) -> Array:
        """Rows to apply the probe to, checked against those it was fitted on."""
        check_is_fitted(self)
        return _validated(self, unmasked(X, "the activations"), reset=False)

    def _rows_and_labels(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[Array, Array, Any]:
        """Rows, labels and weights to fit on, checked; a numeric dtype and a memory map stay what they are."""
        refuse_where_both_say(X, {"y": y, "the sample weights": sample_weight})
        missing = 0 if y is None else int(np.count_nonzero(read_labels(y)[1]))
        if missing:
            msg = (
                f"{missing:,} rows have no label (masked, NaN, NaT or None), and an estimator of scikit-learn cannot "
                "leave rows out by itself; leave those rows out, or use solvers.fit, which skips them"
            )
            raise ProblemError(msg)
        X = unmasked(X, "the activations")  # scikit-learn would take what lies under the mask
        rows, labels = _validated(self, X, y, ensure_min_samples=2)
        check_classification_targets(labels)
        return rows, labels, by_position(sample_weight)

    def _keep(self, fit: Fit) -> None:
        """Take a fit for the result, and warn where it is not what was asked for."""
        self.fit_ = fit
        if fit.status not in _PROVEN:
            msg = (
                f"the loss is proven to lie within {fit.gap_nats:.2g} nats of the optimum, not within the "
                f"gap={self.gap:g} asked for ({fit.status}); raise gap, or try scale=True or a smaller C"
            )
            warnings.warn(msg, ConvergenceWarning, stacklevel=3)


def refuse_where_both_say(X: Any, others: Mapping[str, Any]) -> None:
    """Refuse what is given by row and whose index says that it is of other rows than a frame's or a stored layer's.

    Beside an array, an index goes by position: pipelines and folds of scikit-learn make arrays of some rows and leave
    ``y`` its index.
    """
    if not (isinstance(X, np.ndarray | list | tuple) or hasattr(X, "detach")):
        refuse_other_rows(X, others)


def _read_only(values: Array) -> Array:
    """A view that cannot be written to: a probe whose coefficients were changed is not the one that was certified."""
    view = values.view()
    view.flags.writeable = False
    return view


def _validated(estimator: BaseEstimator, *rows_and_labels: ArrayLike, **settings: Any) -> Any:
    """scikit-learn's check of input: finite numbers of any real dtype, feature names and their number."""
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # scikit-learn before 1.6
        return estimator._validate_data(*rows_and_labels, **settings)
    return validate_data(estimator, *rows_and_labels, **settings)
