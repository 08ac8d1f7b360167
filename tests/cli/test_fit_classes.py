"""`probe fit` says which classes there are, and warns of those that are hardly meant."""

import numpy as np
import pytest

CLASSES = ["a"] * 60 + ["b"] * 59 + ["a "]


@pytest.fixture
def fit(run, folder):
    """Fit probes of these classes, one for each row."""

    def call(labels, options=""):
        generator = np.random.default_rng(0)
        np.save("x.npy", generator.normal(size=(len(labels), 3)))
        np.save("y.npy", generator.permutation(labels))
        return run(f"probe fit x.npy --target y=y.npy --overwrite -o p.h5 {options}")

    return call


def test_classes_are_counted_and_twins_named(fit):
    result = fit(CLASSES)
    assert "classes of y in `train`: 3 (a 60, 'a ' 1, b 59)\n" in result.stdout
    assert "'a' (60 rows) and 'a ' (1 row) differ in blanks alone" in result.stderr
    assert "one row in `train` has the class 'a '; it is in no fold" in result.stderr


def test_classes_that_differ_by_more_are_no_twins(fit):
    result = fit(["a", "b"] * 40)
    assert result.stderr == ""
    assert "classes of y in `train`: 2 (a 40, b 40)\n" in result.stdout
    assert "'A' (40 rows) and 'a' (40 rows) differ in case alone" in fit(["a", "A"] * 40).stderr
    assert "'A ' (40 rows) and 'a' (40 rows) differ in case or blanks alone" in fit(["a", "A "] * 40).stderr


def test_more_classes_than_six_are_only_counted(fit):
    assert "classes of y in `train`: 7\n" in fit(np.arange(70) % 7).stdout
    assert "in no fold" not in fit([*[0, 1] * 40, 2], "--C 1").stderr


def test_a_probe_of_zeros_is_not_told_to_try_further(run, folder):
    np.save("x.npy", np.zeros((80, 2)))
    np.save("y.npy", np.arange(80) % 2)
    result = run("probe fit x.npy --target y=y.npy -o p.h5")
    assert "try further" not in result.stdout
