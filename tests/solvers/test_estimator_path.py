"""`LogisticProbePath`: the C that scikit-learn's cross-validation chooses, and the same probe there."""

import re

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_val_score

import solvers
from solvers import LogisticProbe, LogisticProbePath
from solvers.errors import ProblemError
from solvers.problem.weights import row_weights

TIGHT = 1e-11
"""A gap at which cross-entropies on held-out rows agree to about 1e-5."""


@pytest.fixture
def noisy(make_rows):
    """Few rows for their width, so that neither the strongest nor the weakest penalty is best."""
    return make_rows(120, 20, 3)


def test_grid_search_and_cross_validation(noisy, monkeypatch):
    X, y = noisy
    grid = [1e-3, 0.1, 10.0]
    search = GridSearchCV(LogisticProbe(gap=TIGHT), {"C": grid}, scoring="neg_log_loss").fit(X, y)
    assert search.best_params_ == {"C": LogisticProbePath(Cs=grid).fit(X, y).C_} == {"C": 0.1}
    # Folds to 1e-3 nats are enough to choose by; closer to their optima, their cross-entropies are the same.
    monkeypatch.setattr("solvers.estimators.logistic_probe_path.ROUGH_GAP_NATS", TIGHT)
    path = LogisticProbePath(Cs=grid, gap=TIGHT).fit(X, y)
    # The five folds hold 24 rows each, so that the mean of their means is the mean over all rows.
    np.testing.assert_allclose(
        path.validation_cross_entropy_, -search.cv_results_["mean_test_score"], rtol=1e-4
    )
    assert cross_val_score(LogisticProbe(), X, y).min() > 1 / 3


def test_path_chooses_as_logistic_regression_cv_does(noisy):
    X, y = noisy
    folds = StratifiedKFold(4)
    path = LogisticProbePath(Cs=5, cv=folds, gap=1e-8).fit(X, y)
    # Without them scikit-learn warns, as older ones do with them.
    new = {"use_legacy_attributes": False, "l1_ratios": (0,)}
    if "use_legacy_attributes" not in LogisticRegressionCV().get_params():
        new = {}
    reference = LogisticRegressionCV(
        Cs=5,
        cv=folds,
        scoring="neg_log_loss",
        tol=1e-8,
        max_iter=10_000,
        **new,
    ).fit(X, y)
    np.testing.assert_allclose(path.Cs_, reference.Cs_)
    assert path.C_ == np.ravel(reference.C_)[0] == path.Cs_[path.validation_cross_entropy_.argmin()]
    assert path.validation_cross_entropy_.shape == (5,)
    assert path.gap_ <= 1e-8
    np.testing.assert_allclose(path.predict_proba(X), reference.predict_proba(X), atol=1e-3)
    alone = LogisticProbe(path.C_, gap=1e-8).fit(X, y)
    assert abs(path.loss_ - alone.loss_) <= max(path.gap_, alone.gap_)


def test_path_of_equals_takes_the_smaller_strength():
    X = np.array([[0.0], [0.0], [0.0], [0.0]])  # nothing to learn but the shares, whatever C is
    path = LogisticProbePath(Cs=[10.0, 0.1, 1.0], cv=2).fit(X, [0, 1, 0, 1])
    np.testing.assert_allclose(path.validation_cross_entropy_, np.log(2), rtol=1e-12)
    assert path.C_ == 0.1


def test_path_keeps_groups_together(noisy):
    X, y = noisy
    groups = np.arange(120) // 10
    given = LogisticProbePath(Cs=3, cv=GroupKFold(3)).fit(X, y, groups=groups)
    spelled = LogisticProbePath(Cs=3, cv=list(GroupKFold(3).split(X, y, groups))).fit(X, y)
    np.testing.assert_array_equal(given.validation_cross_entropy_, spelled.validation_cross_entropy_)
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        LogisticProbePath(Cs=3, cv=GroupKFold(3)).fit(X, y)


def test_path_weighs_classes_by_all_rows_and_judges_by_sample_weight_alone(noisy, monkeypatch):
    monkeypatch.setattr("solvers.estimators.logistic_probe_path.ROUGH_GAP_NATS", 0.0)
    X, y = noisy
    train, held = np.arange(30, 120), np.arange(30)
    sample = np.linspace(0.5, 2.0, 120)
    path = LogisticProbePath(Cs=[0.1, 1.0], cv=[(train, held)], gap=1e-9, class_weight="balanced")
    path.fit(X, y, sample_weight=sample)
    weights = row_weights(y, "balanced", sample)
    for C, found in zip(path.Cs_, path.validation_cross_entropy_, strict=True):
        fit = solvers.fit(X[train], y[train], C=C, sample_weight=weights[train], gap_nats=1e-9)
        nats = -fit.predict_log_proba(X[held])[np.arange(30), y[held]]
        # Of two fits to 1e-9 nats coefficients differ by no more than 2 sqrt(2e-9 C S), 1e-3 at most.
        assert found == pytest.approx(np.average(nats, weights=sample[held]), rel=1e-3)
    assert abs(path.loss_ - solvers.fit(X, y, C=path.C_, sample_weight=weights).loss) <= 1e-5


def test_path_leaves_out_rows_of_classes_that_a_fold_was_not_trained_on(data):
    X, y = data
    rare = np.where(np.arange(300) < 3, 9, y)
    split = [(np.arange(100, 300), np.arange(100))]
    with_rare = LogisticProbePath(Cs=2, cv=split).fit(X, rare).validation_cross_entropy_
    without = [(np.arange(100, 300), np.arange(3, 100))]
    expected = LogisticProbePath(Cs=2, cv=without).fit(X, rare).validation_cross_entropy_
    np.testing.assert_array_equal(with_rare, expected)
    nothing_left = [(np.arange(100, 300), np.arange(3))]
    with pytest.raises(
        ProblemError, match="no held-out row has a weight and a class that its fold was trained on"
    ):
        LogisticProbePath(Cs=2, cv=nothing_left).fit(X, rare)


def test_path_warns_of_missed_gaps_among_the_fits_compared(data, monkeypatch):
    monkeypatch.setattr("solvers.estimators.logistic_probe_path.ROUGH_GAP_NATS", 1e-200)
    with pytest.warns(ConvergenceWarning) as caught:
        LogisticProbePath(Cs=[1.0, 2.0], cv=2, gap=1e-200).fit(*data)
    messages = [str(each.message) for each in caught]
    assert re.match(r"4 of the fits that C is chosen by missed their gap, by up to \S+ nats", messages[0])
    assert "not within the gap=1e-200 asked for" in messages[1]
    assert len(messages) == 2
    assert {each.filename for each in caught} == {__file__}
