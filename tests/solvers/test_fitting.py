"""`solvers.fit`: the same probe as scikit-learn's, on raw activations, in the order asked for."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import solvers
from solvers.arrays import NUMPY
from solvers.errors import ProblemError
from solvers.fitting.result import Fit, FitPath, Status


@pytest.fixture
def data(make_rows):
    activations, labels = make_rows(300, 6, 3)
    return activations * np.linspace(0.2, 4, 6) + 3, labels


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_probe_is_scikit_learns(make_rows, classes, C, weighted):
    activations, labels = make_rows(300, 6, classes)
    weights = np.random.default_rng(1).exponential(size=300) if weighted else None
    fit = solvers.fit(activations, labels, C=C, sample_weight=weights, gap_nats=1e-12, engine="numpy")
    reference = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(
        activations, labels, sample_weight=weights
    )
    expected = reference.coef_.T, reference.intercept_
    found = fit.weights - fit.weights.mean(axis=1, keepdims=True), fit.bias - fit.bias.mean()
    if classes == 2:
        found = fit.weights[:, 1:] - fit.weights[:, :1], fit.bias[1:] - fit.bias[:1]
    else:
        expected = expected[0], expected[1] - expected[1].mean()
    # Coefficients err by the root of the gap times the condition number; both gaps are below 1e-12.
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(fit.predict_proba(activations), reference.predict_proba(activations), atol=1e-5)


def test_two_classes_keep_two_antisymmetric_columns(make_rows):
    activations, labels = make_rows(100, 4, 2)
    fit = solvers.fit(activations, labels)
    assert fit.weights.shape == (4, 2)
    np.testing.assert_allclose(fit.weights[:, 0], -fit.weights[:, 1], atol=1e-14)
    np.testing.assert_allclose(fit.bias.sum(), 0, atol=1e-13)


@pytest.mark.parametrize("scale", [False, True])
def test_probe_acts_on_raw_activations(data, scale):
    activations, labels = data
    fit = solvers.fit(activations, labels, scale=scale, C=5.0)
    z = activations @ fit.weights + fit.bias
    np.testing.assert_allclose(fit.logits(activations), z, atol=1e-12)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fit.predict_proba(activations), p, atol=1e-12)
    np.testing.assert_allclose(np.exp(fit.predict_log_proba(activations)), p, atol=1e-12)
    entropy = -np.log(p[np.arange(300), labels]).mean()
    assert fit.loss == pytest.approx(entropy + np.sum(fit.coefficients**2) / (2 * 5.0 * 300), rel=1e-12)
    np.testing.assert_array_equal(fit.predict(activations), fit.classes[z.argmax(axis=1)])


def test_scaling_is_that_of_standardised_rows(data):
    activations, labels = data
    scaled = solvers.fit(activations, labels, scale=True, gap_nats=1e-11)
    mean, deviation = activations.mean(axis=0), activations.std(axis=0)
    standardised = solvers.fit((activations - mean) / deviation, labels, gap_nats=1e-11)
    # The same problem, solved twice to 1e-11.
    np.testing.assert_allclose(scaled.coefficients, standardised.weights, atol=2e-5)
    np.testing.assert_allclose(scaled.scale, deviation)
    assert scaled.loss == pytest.approx(standardised.loss, abs=2e-11)


def test_scaled_probe_does_not_depend_on_units(data):
    activations, labels = data
    units = np.logspace(-6, 6, 6)
    fit = solvers.fit(activations, labels, scale=True, gap_nats=1e-10)
    other = solvers.fit(activations * units, labels, scale=True, gap_nats=1e-10)
    assert fit.loss == pytest.approx(other.loss, abs=2e-10)
    np.testing.assert_allclose(fit.weights, other.weights * units[:, None], atol=1e-4)


def test_constant_columns_get_weight_zero_when_scaled(data):
    activations, labels = data
    constant = np.column_stack([np.full(300, 0.1), activations])
    fit = solvers.fit(constant, labels, scale=True)
    assert (fit.weights[0] == 0).all()
    assert np.isinf(fit.scale[0])
    assert fit.coefficients[0].tolist() == [0, 0, 0]
    assert fit.loss == pytest.approx(solvers.fit(activations, labels, scale=True).loss, abs=1e-5)


def test_labels_come_back_in_their_own_values(data):
    activations, labels = data
    names = np.array(["noun", "verb", "x"])[labels]
    fit = solvers.fit(activations, names)
    assert fit.classes.tolist() == ["noun", "verb", "x"]
    assert set(fit.predict(activations)) <= {"noun", "verb", "x"}


def test_unlabelled_rows_are_skipped_and_counted(data):
    activations, labels = data
    masked = np.ma.masked_array(labels, np.arange(300) % 5 == 0)
    fit = solvers.fit(activations, masked)
    assert (fit.rows, fit.unlabelled) == (240, 60)
    keep = np.arange(300) % 5 != 0
    assert fit.loss == pytest.approx(solvers.fit(activations[keep], labels[keep]).loss, abs=1e-5)


def test_weight_of_two_is_a_row_given_twice(data):
    activations, labels = data
    weights = np.where(np.arange(300) < 100, 2.0, 1.0)
    weighted = solvers.fit(activations, labels, sample_weight=weights, gap_nats=1e-10)
    repeated = solvers.fit(
        np.vstack([activations, activations[:100]]), np.append(labels, labels[:100]), gap_nats=1e-10
    )
    assert weighted.loss == pytest.approx(repeated.loss, abs=2e-10)


def test_one_strength_gives_a_fit_and_several_a_path_in_the_order_given(data):
    assert isinstance(solvers.fit(*data, C=1), Fit)
    path = solvers.fit(*data, C=[10.0, 0.1, 1.0])
    assert isinstance(path, FitPath)
    assert path.C == (10.0, 0.1, 1.0)
    assert [each.C for each in path] == [10.0, 0.1, 1.0]
    assert path[1].loss > path[2].loss > path[0].loss
    assert np.isnan(path.validation_cross_entropy).all()
    with pytest.raises(ProblemError, match="this path has no best C, as it had no validation rows"):
        _ = path.best


def test_best_is_chosen_by_validation_and_the_untried_say_so(make_rows):
    activations, labels = make_rows(300, 30, 3)
    train, held = slice(0, 60), slice(60, 300)
    strengths = np.logspace(4, -4, 9)  # given from weak to strong
    validation = activations[held], labels[held]
    path = solvers.fit(activations[train], labels[train], C=strengths, validation=validation)
    full = solvers.fit(activations[train], labels[train], C=strengths, validation=validation, full_path=True)
    assert path.best is path[path.best_index]
    assert path.best_index == full.best_index == np.argmin(full.validation_cross_entropy)
    assert path.best.gap_nats <= 1e-5
    assert path.best.status is Status.CONVERGED
    untried = [each for each in path if each.status is Status.NOT_FITTED]
    assert untried
    assert len(full) == len(path) == 9
    for each in untried:
        assert each.C > path.best.C
        assert np.isnan(each.weights).all()
        assert each.weights.shape == path.best.weights.shape
        assert each.gap_nats == np.inf
        assert np.isnan(path.validation_cross_entropy[path.C.index(each.C)])


def test_strength_that_was_not_tried_does_not_predict(make_rows):
    activations, labels = make_rows(300, 30, 3)
    path = solvers.fit(
        activations[:60], labels[:60], C=np.logspace(-4, 4, 9), validation=(activations[60:], labels[60:])
    )
    with pytest.raises(ProblemError, match="no probe for C=10000, which was not tried: validation had stopped"):
        path[8].predict(activations)


def test_a_feature_subset_folds_back_into_the_full_width(data):
    activations, labels = data
    fit = solvers.fit(activations, labels, feature_subset=4, seed=3)
    assert fit.weights.shape == (6, 3)
    used = np.flatnonzero(np.any(fit.weights != 0, axis=1))
    assert len(used) == 4
    assert np.isinf(fit.scale[np.setdiff1d(np.arange(6), used)]).all()
    direct = solvers.fit(activations[:, used], labels)
    assert fit.loss == pytest.approx(direct.loss, abs=1e-12)
    np.testing.assert_allclose(
        fit.predict_proba(activations), direct.predict_proba(activations[:, used]), atol=1e-9
    )
    assert (solvers.fit(activations, labels, feature_subset=4, seed=3).weights == fit.weights).all()
    others = {
        tuple(solvers.fit(activations, labels, feature_subset=4, seed=s).weights[:, 0] != 0) for s in range(6)
    }
    assert len(others) > 1


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("feature_subset", [None, 4])
def test_warm_start_saves_evaluations(data, scale, feature_subset):
    settings = {"scale": scale, "feature_subset": feature_subset, "engine": "numpy"}
    cold = solvers.fit(*data, **settings)
    warm = solvers.fit(*data, warm_start=cold, **settings)
    assert warm.evaluations < cold.evaluations / 2
    assert warm.gap_nats <= 1e-5


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, bool])
def test_activations_of_any_real_dtype(dtype):
    generator = np.random.default_rng(0)
    activations = (generator.random((200, 5)) * 3).astype(dtype)
    labels = activations.astype(float) @ [1, 2, 0, -1, -2] + generator.normal(size=200) > 0
    fit = solvers.fit(activations, labels)
    assert fit.status is Status.CONVERGED
    same = solvers.fit(activations.astype(np.float64), labels)
    np.testing.assert_allclose(fit.weights, same.weights, atol=1e-10)


def test_features_of_any_shape_and_sources_of_any_kind(data, tmp_path):
    activations, labels = data
    np.save(tmp_path / "rows.npy", activations.reshape(300, 2, 3))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    fit = solvers.fit(mapped, labels)
    np.testing.assert_allclose(fit.weights, solvers.fit(activations, labels).weights, atol=1e-12)
    assert fit.predict(mapped).shape == (300,)


@pytest.mark.parametrize("double_elements", [0, 1 << 22])
@pytest.mark.parametrize("block_elements", [20, 700])
def test_size_of_blocks_does_not_matter(data, monkeypatch, double_elements, block_elements):
    monkeypatch.setattr("solvers.lbfgs.sweep.DOUBLE_ELEMENTS", double_elements)
    whole = solvers.fit(*data, engine="numpy", scale=True)
    monkeypatch.setattr("solvers.engines.numpy_lbfgs.NUMPY", replace(NUMPY, block_elements=block_elements))
    blocked = solvers.fit(*data, engine="numpy", scale=True)
    # float32 sums in other blocks round otherwise; the certificate bounds what that may do.
    assert abs(whole.loss - blocked.loss) <= whole.gap_nats + blocked.gap_nats
    np.testing.assert_allclose(whole.weights, blocked.weights, atol=1e-9 if double_elements else 1e-4)


def test_a_thousand_classes(make_rows):
    activations, labels = make_rows(2000, 10, 1000)
    fit = solvers.fit(activations, labels, C=0.1)
    assert fit.status is Status.CONVERGED
    assert fit.weights.shape == (10, 1000)


def test_more_features_than_rows(make_rows):
    activations, labels = make_rows(30, 90, 3)
    assert solvers.fit(activations, labels, C=10.0, gap_nats=1e-9).gap_nats <= 1e-9


def test_nothing_given_is_changed(data):
    activations, labels = data
    before = activations.copy(), labels.copy()
    activations.setflags(write=False)
    labels.setflags(write=False)
    solvers.fit(activations, labels, scale=True, C=[0.1, 1])
    np.testing.assert_array_equal(activations, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_order_of_rows_and_names_of_classes_do_not_matter(data):
    activations, labels = data
    shuffled = np.random.default_rng(0).permutation(300)
    fit = solvers.fit(activations, labels, gap_nats=1e-11)
    other = solvers.fit(activations[shuffled], 2 - labels[shuffled], gap_nats=1e-11)
    np.testing.assert_allclose(fit.weights, other.weights[:, ::-1], atol=2e-5)  # the root of the gaps
    assert fit.loss == pytest.approx(other.loss, abs=2e-11)


def test_a_gap_that_can_not_be_met_is_a_status(data):
    fit = solvers.fit(*data, C=100.0, gap_nats=1e-200)
    assert fit.status is Status.GAP_MISSED
    assert fit.status == "gap_missed"
    assert "stopped before the gap" in fit.status.message


def test_results_survive_pickling(data):
    fit = solvers.fit(*data)
    copy = pickle.loads(pickle.dumps(fit))
    assert copy.status is fit.status
    np.testing.assert_array_equal(copy.weights, fit.weights)


BAD = [
    ({"C": 0.0}, "C is 0; expected a positive number"),
    ({"C": [1.0, -2.0]}, "C is -2; expected a positive number"),
    ({"C": np.nan}, "C is nan; expected a positive number .*, or inf for none"),
    ({"C": []}, "no C was given; expected at least one positive number"),
    ({"gap_nats": 0.0}, "gap_nats is 0.0; expected a positive number of nats"),
    ({"feature_subset": 0}, "feature_subset is 0; expected a number of columns, 1 or more"),
    ({"sample_weight": [1.0]}, "expected one weight per row"),
    ({"engine": "magic"}, "there is no engine 'magic'; expected auto, cupy, numpy, sklearn"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_are_refused_in_one_line(data, settings, message):
    with pytest.raises(solvers.SolverError, match=message):
        solvers.fit(*data, **settings)


def test_warm_start_of_another_probe_is_refused(data):
    activations, labels = data
    other = solvers.fit(activations[:, :5], labels)
    with pytest.raises(
        ProblemError, match="the warm start has 5 features and 3 classes; expected the 6 features"
    ):
        solvers.fit(activations, labels, warm_start=other)


def test_probe_refuses_activations_of_another_width(data):
    activations, labels = data
    fit = solvers.fit(activations, labels)
    with pytest.raises(ProblemError, match="activations have 5 features, but the probe was fitted on 6"):
        fit.predict(activations[:, :5])
