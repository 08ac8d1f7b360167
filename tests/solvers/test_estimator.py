"""`LogisticProbe` and `LogisticProbePath`: scikit-learn's conventions, scikit-learn's optimum, and the proof of it."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    parametrize_with_checks,
)

import solvers
from solvers import LogisticProbe, LogisticProbePath
from solvers.errors import EngineError
from solvers.problem.weights import row_weights

TIGHT = 1e-11
"""A gap at which coefficients of these well-conditioned problems agree to about 1e-5."""


@pytest.fixture
def names(data):
    activations, labels = data
    return activations, np.array(["noun", "verb", "x"])[labels]


def listed(mark):
    """The same mark, its values in a list: scikit-learn 1.5 gives a generator, which pytest warns of."""
    return pytest.mark.parametrize(mark.args[0], list(mark.args[1]), **mark.kwargs)


@listed(
    parametrize_with_checks(
        [
            LogisticProbe(),
            LogisticProbe(C=0.1, scale=True, class_weight="balanced", warm_start=True),
            LogisticProbePath(),
            LogisticProbePath(Cs=[0.01, 1.0], cv=3),
        ],
    )
)
@pytest.mark.filterwarnings(
    "ignore:The least populated class:UserWarning"
)  # of its folds, in checks before 1.7
def test_scikit_learns_own_checks(estimator, check):
    # Every check asserts for itself; that it has an estimator of ours to judge is all there is to add.
    assert isinstance(estimator, LogisticProbe | LogisticProbePath)
    check(estimator)


def columns(model):
    """A linear classifier's coefficients as weights (width, classes) and bias (classes,)."""
    weights, bias = model.coef_.T, model.intercept_
    if weights.shape[1] == 1:
        return np.hstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return weights, bias


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_is_logistic_regressions(make_rows, classes, C):
    X, y = make_rows(300, 6, classes)
    probe = LogisticProbe(C, gap=TIGHT).fit(X, y)
    reference = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(X, y)
    assert probe.coef_.shape == reference.coef_.shape == (1 if classes == 2 else 3, 6)
    assert probe.intercept_.shape == reference.intercept_.shape
    ours, theirs = (solvers.certify(X, y, *columns(model), C=C) for model in (probe, reference))
    assert abs(ours.loss - theirs.loss) <= max(ours.gap_nats, theirs.gap_nats)
    assert ours.gap_nats <= 1.01 * TIGHT  # the certificate solves the intercept anew
    # Coefficients err by the root of the gap times the condition number.
    np.testing.assert_allclose(probe.coef_, reference.coef_, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(probe.predict_proba(X), reference.predict_proba(X), atol=2e-5)
    np.testing.assert_allclose(probe.decision_function(X), reference.decision_function(X), rtol=1e-3, atol=2e-4)
    np.testing.assert_array_equal(probe.predict(X), reference.predict(X))
    assert probe.score(X, y) == reference.score(X, y)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 1: 0.5}], ids=["none", "balanced", "dict"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_weights_are_logistic_regressions(make_rows, classes, class_weight, weighted):
    X, y = make_rows(200, 5, classes)
    sample = np.random.default_rng(1).exponential(size=200) if weighted else None
    probe = LogisticProbe(gap=TIGHT, class_weight=class_weight).fit(X, y, sample_weight=sample)
    # Its weights by hand, as earlier versions of scikit-learn leave the sample weights out of "balanced".
    reference = LogisticRegression(tol=1e-10, max_iter=10_000)
    reference.fit(X, y, sample_weight=row_weights(y, class_weight, sample))
    np.testing.assert_allclose(probe.coef_, reference.coef_, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(probe.predict_proba(X), reference.predict_proba(X), atol=2e-5)


@pytest.mark.parametrize("estimator", [LogisticProbe(), LogisticProbePath(Cs=3)], ids=["probe", "path"])
def test_weights_are_repeated_rows(data, estimator):
    X, y = data
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    again = np.repeat(np.arange(len(y)), counts)
    weighted, repeated = clone(estimator), clone(estimator)
    if isinstance(estimator, LogisticProbePath):
        fold = np.arange(len(y)) % 3
        weighted.set_params(cv=[(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)])
        repeated.set_params(cv=[(fold[again] != k, np.flatnonzero(fold[again] == k)) for k in range(3)])
    weighted.fit(X, y, sample_weight=counts)
    repeated.fit(X[again], y[again])
    assert abs(weighted.loss_ - repeated.loss_) <= max(weighted.gap_, repeated.gap_)
    assert weighted.fit_.C == repeated.fit_.C
    if isinstance(estimator, LogisticProbePath):
        # Points that are only compared are solved to 1e-3 nats each, on other samples of other rows.
        found, expected = (each.validation_cross_entropy_ for each in (weighted, repeated))
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_class_whose_rows_weigh_nothing_is_not_there(data):
    X, y = data
    probe = LogisticProbe().fit(X, y, sample_weight=y != 2)
    assert probe.classes_.tolist() == [0, 1]
    assert probe.coef_.shape == (1, 6)
    assert abs(probe.loss_ - LogisticProbe().fit(X[y != 2], y[y != 2]).loss_) <= 1e-5


def test_losses_are_equal_where_the_optimum_is_flat():
    """The problem of scikit-learn's check of weights, at the C that its default path chooses."""
    generator = np.random.RandomState(42)
    X, y = generator.rand(15, 30), generator.randint(0, 3, size=15)
    counts = generator.randint(1, 5, size=15)
    weighted = LogisticProbe(C=1e4).fit(X, y, sample_weight=counts)
    repeated = LogisticProbe(C=1e4).fit(X.repeat(counts, axis=0), y.repeat(counts))
    assert abs(weighted.loss_ - repeated.loss_) <= max(weighted.gap_, repeated.gap_) <= 1e-5


def test_every_result_is_the_fits(names):
    X, y = names
    probe = LogisticProbe(scale=True, engine="numpy").fit(X, y)
    assert isinstance(probe.fit_, solvers.Fit)
    assert probe.gap_ == probe.fit_.gap_nats <= probe.gap == 1e-5
    assert probe.loss_ == probe.fit_.loss
    assert probe.status_ == "converged"
    assert probe.engine_ == "numpy"
    assert probe.n_iter_.tolist() == [probe.fit_.evaluations]
    assert probe.classes_.tolist() == ["noun", "verb", "x"]
    assert set(probe.predict(X)) <= {"noun", "verb", "x"}
    logits = X @ probe.coef_.T + probe.intercept_
    np.testing.assert_allclose(probe.decision_function(X), logits, atol=1e-12)
    np.testing.assert_allclose(probe.predict_proba(X), softmax(logits, axis=1), atol=1e-12)
    np.testing.assert_allclose(np.exp(probe.predict_log_proba(X)), softmax(logits, axis=1), atol=1e-12)


def test_scale_is_a_standard_scaler_in_front(data):
    X, y = data
    scaled = LogisticProbe(scale=True, gap=TIGHT).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), LogisticProbe(gap=TIGHT)).fit(X, y)
    assert abs(scaled.loss_ - pipeline[-1].loss_) <= TIGHT
    np.testing.assert_allclose(scaled.predict_proba(X), pipeline.predict_proba(X), atol=2e-5)


def test_warm_start_needs_fewer_evaluations(data):
    X, y = data
    probe = LogisticProbe(warm_start=True, engine="numpy")
    cold = probe.fit(X, y).n_iter_[0]
    warm = probe.set_params(C=1.1).fit(X, y).n_iter_[0]
    assert warm < LogisticProbe(1.1, engine="numpy").fit(X, y).n_iter_[0]
    assert probe.fit(X, y).n_iter_[0] < cold / 2
    with pytest.raises(
        ValueError, match="the warm start has 6 features and 3 classes; expected the 5 features"
    ):
        probe.fit(X[:, :5], y)


def test_a_missed_gap_is_a_convergence_warning(data):
    with pytest.warns(
        ConvergenceWarning, match=r"proven to lie within \S+ nats .* not within the gap=1e-200 asked"
    ):
        probe = LogisticProbe(C=100.0, gap=1e-200).fit(*data)
    assert probe.status_ == "gap_missed"
    assert probe.gap_ < 1e-9


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, bool])
def test_rows_reach_the_solver_as_they_are(data, dtype, monkeypatch):
    X = (data[0] > 3).astype(dtype)
    seen = []

    def spy(activations, *args, **settings):
        seen.append(activations)
        return solvers.fit(activations, *args, **settings)

    monkeypatch.setattr("solvers.estimators.logistic_probe.fit_probe", spy)
    LogisticProbe().fit(X, data[1])
    assert seen[0].dtype == dtype
    assert np.shares_memory(seen[0], X)


def test_memory_maps_are_read_in_place(data, tmp_path):
    X, y = data
    np.save(tmp_path / "rows.npy", X.astype(np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    probe, path = LogisticProbe().fit(mapped, y), LogisticProbePath(Cs=[0.1, 1.0], cv=2).fit(mapped, y)
    np.testing.assert_allclose(probe.coef_, LogisticProbe().fit(mapped[:].copy(), y).coef_, atol=1e-12)
    assert path.predict(mapped).shape == probe.predict(mapped).shape == (300,)


@pytest.mark.parametrize("estimator", [LogisticProbe(), LogisticProbePath(Cs=2, cv=2)], ids=["probe", "path"])
def test_refusals_are_scikit_learns_kind_of_error(data, estimator):
    X, y = data
    with pytest.raises(TypeError, match="Sparse data was passed"):
        estimator.fit(csr_array(X), y)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        estimator.fit(X, y + 0.5 * X[:, 0])
    with pytest.raises(ValueError, match=r"3 rows have no label .*use solvers.fit, which skips them"):
        estimator.fit(X, np.ma.masked_array(y, np.arange(300) < 3))
    with pytest.raises(ValueError, match="sample weights have shape"):
        estimator.fit(X, y, sample_weight=np.ones(3))
    with pytest.raises(EngineError, match="there is no engine 'magic'"):
        clone(estimator).set_params(engine="magic").fit(X, y)
    with pytest.raises(ValueError, match="class_weight names 7"):
        clone(estimator).set_params(class_weight={7: 1.0}).fit(X, y)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        clone(estimator).predict(X)


def test_nothing_is_checked_before_fit(data):
    probe = LogisticProbe(C=-1.0, gap="small", engine=None)
    assert clone(probe).get_params() == probe.get_params()
    with pytest.raises(ValueError, match="C is -1; expected a positive"):
        LogisticProbe(C=-1.0).fit(*data)
    with pytest.raises(ValueError, match="no C was given"):
        LogisticProbePath(Cs=[]).fit(*data)


@pytest.mark.parametrize("estimator", [LogisticProbe(), LogisticProbePath(Cs=2, cv=2)], ids=["probe", "path"])
def test_pickled_it_predicts_the_same(names, estimator):
    X, y = names
    copy = pickle.loads(pickle.dumps(estimator.fit(X, y)))
    np.testing.assert_array_equal(copy.predict_proba(X), estimator.predict_proba(X))
    assert copy.gap_ == estimator.gap_


def test_data_frames_keep_their_names(names):
    X, y = names
    frame, target = pd.DataFrame(X, columns=list("abcdef")), pd.Series(y, dtype="category")
    pipeline = (
        make_pipeline(StandardScaler(), LogisticProbe()).set_output(transform="pandas").fit(frame, target)
    )
    assert pipeline[-1].feature_names_in_.tolist() == list("abcdef")
    assert pipeline[-1].n_features_in_ == 6
    assert pipeline.score(frame, target) > 1 / 3
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline[-1].predict(frame[list("fedcba")])


def test_importing_solvers_loads_no_scikit_learn_until_an_estimator_is_named():
    code = (
        "import sys, solvers; before = 'sklearn' in sys.modules; solvers.LogisticProbe; "
        "print(before, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
