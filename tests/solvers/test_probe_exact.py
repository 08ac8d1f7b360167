"""A probe does what was certified, and its classes are the labels, to the last bit."""

import numpy as np
import pytest

import solvers


def test_a_column_far_from_zero_is_delivered_as_it_was_certified():
    """FAULTS 6.4: certified to 1e-6, and 9e-3 off where the intercept is folded into one for raw rows."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    near = (labels + generator.normal(size=400)) * 3e-5 / 2
    x = np.column_stack([1.7e9 + near, generator.normal(size=400)])
    split = {"train": np.arange(300), "test": np.arange(300, 400)}
    found = solvers.fit_layers({"fc": x}, labels, splits=split, C=1e8, gap_nats=1e-5)["fc", "label", 0]
    assert found.status == "converged"
    penalty = np.sum((found.weights * np.where(np.isfinite(found.scale), found.scale, 0)[:, None]) ** 2)
    # Of two classes C counts half (DESIGN section 5).
    expected = found.cross_entropy["train"] + penalty / (1e8 * 300)
    assert found.loss == pytest.approx(expected, abs=1e-9)
    again = solvers.evaluate(found, x[:300], labels[:300])
    assert again.cross_entropy == pytest.approx(found.cross_entropy["train"], abs=1e-12)
    p = found.predict_proba(x[:300])
    assert -np.log(p[np.arange(300), labels[:300]]).mean() == pytest.approx(again.cross_entropy, abs=1e-12)


def test_a_warm_start_far_from_zero_starts_where_the_fit_before_ended():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 300)
    x = {"fc": 1.7e9 + (labels + generator.normal(size=300))[:, None] * 3e-5 / 2}
    options = {"C": 1e8, "gap_nats": 1e-8, "engine": "numpy"}
    cold = solvers.fit_layers(x, labels, **options)
    warm = solvers.fit_layers(x, labels, warm_start=cold, **options)
    key = ("fc", "label", 0)
    assert warm[key].path[0].passes < cold[key].path[0].passes


@pytest.mark.parametrize(
    "kinds", [np.array([3, 2**63, 2**63 + 1], "u8"), np.array([-(2**63), 2**53, 2**53 + 1])], ids=repr
)
def test_labels_of_64_bits_come_back_exactly(tmp_path, kinds):
    labels = kinds[np.arange(90) % 3]
    x = np.eye(3)[np.arange(90) % 3] + np.random.default_rng(0).normal(size=(90, 3)) / 100
    solvers.fit_layers({"fc": x}, labels, C=100.0).save(tmp_path / "p.h5")
    found = solvers.load(tmp_path / "p.h5")["fc", "label", 0]
    assert found.classes.dtype == kinds.dtype
    assert np.array_equal(found.classes, kinds)
    assert found.error["train"] == 0
    assert np.array_equal(found.predict(x), labels)
    assert solvers.evaluate(found, x, labels).error == 0


def test_labels_with_and_without_a_sign_are_not_compared_as_floats():
    kinds = np.array([3, 2**63 - 1, 2**63], "u8")
    x = np.eye(3)[np.arange(90) % 3]
    found = solvers.fit_layers({"fc": x}, kinds[np.arange(90) % 3], C=100.0)["fc", "label", 0]
    signed = np.array([3, 2**63 - 1, -1])[np.arange(90) % 3]
    score = solvers.evaluate(found, x, signed)
    assert (score.unseen, score.error) == (30, pytest.approx(1 / 3))
