"""What is given in place of an array: masked, sparse, weights without bounds; taken, or refused in one line."""

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array, csr_matrix

import solvers
from solvers.errors import ProblemError

MASKED = (
    r"3 entries of the activations are masked, so they have no value; leave those rows out, or fill them in"
)


@pytest.fixture
def masked(data):
    activations = np.ma.masked_array(data[0], np.zeros_like(data[0], dtype=bool))
    activations[[3, 7, 9], 2] = np.ma.masked
    return activations


class Source:
    """Rows that are masked only when they are read, as netCDF's variables give them."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, rows):
        return self.array[rows]


@pytest.mark.parametrize(
    "wrap", [lambda array: array, Source, lambda array: solvers.Rows(Source(array), np.arange(300))]
)
def test_masked_activations_are_refused_wherever_they_come_from(data, masked, wrap):
    fit = solvers.fit(*data)
    labels = data[1]
    doors = [
        lambda given: solvers.fit(given, labels),
        lambda given: solvers.fit(*data, C=[0.1, 1.0], validation=(given, labels)),
        lambda given: solvers.fit_layers({"h": given}, labels, C=1.0),
        lambda given: solvers.certify(given, labels, fit.weights, fit.bias),
        fit.predict,
    ]
    for door in doors:
        with pytest.raises(ProblemError, match="entries of the activations are masked"):
            door(wrap(masked))


def test_a_mask_that_hides_nothing_changes_nothing(data):
    plain = solvers.fit(*data)
    for given in (np.ma.masked_array(data[0]), Source(np.ma.masked_array(data[0]))):
        np.testing.assert_array_equal(solvers.fit(given, data[1]).weights, plain.weights)


@pytest.mark.parametrize("estimator", [solvers.LogisticProbe(), solvers.LogisticProbePath(Cs=2, cv=2)])
def test_estimators_refuse_masks_too(data, masked, estimator):
    with pytest.raises(ValueError, match=MASKED):
        estimator.fit(masked, data[1])
    estimator.fit(*data)
    with pytest.raises(ValueError, match=MASKED):
        estimator.predict(masked)


@pytest.mark.parametrize("kind", [csr_array, csr_matrix, coo_array])
def test_sparse_rows_are_refused_with_the_way_out(data, kind):
    for door in (lambda x: solvers.fit(x, data[1]), solvers.fit(*data).predict):
        with pytest.raises(
            ProblemError, match=r"activations are a sparse \w+; expected dense rows: give x.toarray\(\)"
        ):
            door(kind(data[0]))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            [1e308] * 300,
            "sample weights add up to inf, beyond what a float holds; divide them all by a constant",
        ),
        (["heavy"] * 300, "sample weights are no numbers"),
        (np.full(300, 1 + 1j), "sample weights are no numbers .*complex128"),
        ([1j] * 300, "sample weights are no numbers"),
        (np.full(300, 1j, object), "sample weights are no numbers"),
        (np.full(300, "2026-01-01", "M8[D]"), "sample weights are no numbers .*datetime64"),
        (np.ma.masked_array(np.ones(300), np.arange(300) < 2), "2 entries of the sample weights are masked"),
    ],
)
def test_weights_that_are_none_are_one_line(data, weights, said):
    for door in (solvers.fit, lambda *given, **more: solvers.LogisticProbe().fit(*given, **more)):
        with pytest.raises(ValueError, match=said):
            door(*data, sample_weight=weights)
    with pytest.raises(ProblemError, match=said):
        solvers.fit(*data, sample_weight=weights, class_weight="balanced")


def test_class_weights_without_bounds_are_one_line(data):
    with pytest.raises(ProblemError, match="sample weights add up to inf"):
        solvers.fit(*data, class_weight={0: 1e308})
    with pytest.raises(ProblemError, match="are negative or not finite"):
        solvers.fit(*data, class_weight={0: 1e308}, sample_weight=np.full(300, 1e100))


NO_STRENGTHS = [True, [True, 1.0], np.array([True]), np.True_, 1 + 0j, np.array([1 + 1j]), 10**400]


@pytest.mark.parametrize("C", ["abc", None, [1.0, "x"], {}, [[1.0, 2.0]], *NO_STRENGTHS])
def test_a_c_that_is_no_number_is_one_line(data, C):
    with pytest.raises(ProblemError, match=r"^(C is|no C was given)[^\n]*expected [^\n]*$"):
        solvers.fit(*data, C=C)
    if C is not None:
        with pytest.raises(ProblemError, match="expected"):
            solvers.fit_layers({"h": data[0]}, data[1], C=C)


@pytest.mark.parametrize("C", [None, [1.0, None], True, np.array([True, False])])
def test_a_c_that_numpy_would_make_a_number_of_is_named(data, C):
    for door in (lambda: solvers.fit(*data, C=C), lambda: solvers.LogisticProbePath(Cs=C, cv=2).fit(*data)):
        with pytest.raises(ProblemError, match=r"^C is .*(None|True).*; expected a positive number"):
            door()
    if np.ndim(C) == 0:
        with pytest.raises(ProblemError, match=f"^C is {C}; expected"):
            solvers.LogisticProbe(C=C).fit(*data)


def test_complex_class_weights_are_refused(data):
    for weight in (1j, np.complex128(1 + 1j)):
        with pytest.raises(ProblemError, match="expected a finite number of 0 or more"):
            solvers.fit(*data, class_weight={0: weight})


def test_what_was_certified_cannot_be_written_over(data):
    fit = solvers.fit(*data)
    probe = solvers.LogisticProbe().fit(*data)
    two = solvers.LogisticProbe().fit(data[0], data[1] > 0)
    arrays = [fit.weights, fit.intercept, fit.mean, fit.scale, fit.classes]
    arrays += [probe.coef_, probe.intercept_, probe.classes_, two.coef_, two.intercept_, two.classes_]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
