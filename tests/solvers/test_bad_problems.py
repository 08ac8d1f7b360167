"""Problems at the edges: they end soon, in a status that is true, without a warning (which would be an error here)."""

from dataclasses import replace

import numpy as np
import pytest

import solvers
from solvers.errors import ProblemError

ENOUGH = 500
"""Evaluations within which every one of these problems must have ended."""
CLASSES = 3


@pytest.fixture(params=["numpy", "auto"])
def fit(request):
    """``solvers.fit`` by an engine, which must end soon, in finite numbers."""

    def call(activations, labels, **settings):
        found = solvers.fit(activations, labels, engine=request.param, **settings)
        assert found.evaluations <= ENOUGH
        assert np.isfinite(found.weights).all()
        assert np.isfinite(found.bias).all()
        assert 0 <= found.gap_nats <= found.loss * (1 + 1e-9) + 1e-9
        return found

    return call


@pytest.fixture
def data(make_rows):
    """Three classes that no hyperplanes part."""
    return make_rows(300, 6, CLASSES)


@pytest.fixture
def parted(data):
    """The same rows, with classes that hyperplanes part."""
    activations, _ = data
    return activations, (activations @ np.random.default_rng(0).standard_normal((6, CLASSES))).argmax(axis=1)


@pytest.fixture(params=[np.float64, np.float32])
def dtype(request, monkeypatch):
    """Of the rows and of the work on them."""
    if request.param is np.float32:
        monkeypatch.setattr("solvers.lbfgs.sweep.DOUBLE_ELEMENTS", 0)
    return request.param


@pytest.mark.parametrize(("C", "status"), [(1e4, "converged"), (1e300, "converged"), (np.inf, "unpenalised")])
def test_classes_that_are_parted(fit, parted, dtype, C, status):
    activations, labels = parted
    found = fit(activations.astype(dtype), labels, C=C)
    assert found.status == status
    # The loss goes to zero as the penalty does; no penalty leaves a gradient of at most 1e-5 and a loss of that size.
    assert found.loss < (0.01 if C == 1e4 else 1e-4)
    assert found.gradient_norm < 1e-4


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("C", [1e30, 1e300, 1.7e308])
def test_penalties_too_weak_for_a_proof_end_at_the_optimum_of_none(fit, make_rows, classes, scale, C):
    activations, labels = make_rows(300, 6, classes)
    activations = np.column_stack([activations, np.full(300, 0.1)])
    found = fit(activations, labels, C=C, scale=scale)
    none = fit(activations, labels, C=np.inf, scale=scale)
    assert (found.status, none.status) == ("gap_missed", "unpenalised")
    # A gradient of 1e-5 leaves its square over the least curvature, which is above 1e-3 here.
    assert found.loss == pytest.approx(none.loss, abs=1e-7)
    assert found.gradient_norm < 1e-5


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("C", [5e-324, 1e-300, 1e-30])
@pytest.mark.parametrize("weight", [1e-12, 1.0])
def test_penalties_that_leave_nothing_but_the_intercept(fit, data, scale, C, weight):
    activations, labels = np.column_stack([data[0], np.full(300, 0.1)]), data[1]
    found = fit(activations, labels, C=C, scale=scale, sample_weight=np.full(300, weight))
    shares = np.bincount(labels) / 300
    assert found.status == "converged"
    assert found.loss == pytest.approx(-shares @ np.log(shares), rel=1e-9)
    assert np.abs(found.weights).max() < 1e-20


@pytest.mark.parametrize("C", [0, -0.0, -1e-300, np.nan, -np.inf])
def test_no_number_for_a_penalty(fit, data, C):
    with pytest.raises(ProblemError, match=r"^C is \S+; expected a positive number .*, or inf for none$"):
        fit(*data, C=C)


@pytest.mark.parametrize("size", [1e30, 1e-30])
@pytest.mark.parametrize("columns", [[2], range(6)], ids=["one", "all"])
def test_scaled_columns_of_any_size(fit, data, dtype, size, columns):
    plain = fit(data[0].astype(dtype), data[1], scale=True)
    activations = (data[0] + 1).astype(dtype)
    activations[:, columns] *= dtype(size)
    found = fit(activations, data[1], scale=True)
    assert found.status == "converged"
    # The same problem, up to the rounding of the rows.
    assert abs(found.loss - plain.loss) <= found.gap_nats + plain.gap_nats + 1e-6


def test_unscaled_columns_too_small_for_the_penalty_do_not_count(fit, data, dtype):
    activations, labels = data
    without = fit(np.delete(activations, 2, axis=1).astype(dtype), labels)
    activations[:, 2] *= 1e-30
    found = fit(activations.astype(dtype), labels)
    assert found.status == "converged"
    assert abs(found.loss - without.loss) <= found.gap_nats + without.gap_nats
    nothing = fit((1e-30 * data[0]).astype(dtype), labels)
    shares = np.bincount(labels) / 300
    assert nothing.status == "converged"
    assert nothing.loss == pytest.approx(-shares @ np.log(shares), abs=1e-5)


def test_unscaled_columns_too_large_for_a_proof_are_fitted_as_far_as_numbers_go(fit, data, dtype):
    # A column of 1e30 makes a penalty that is none, and a gradient whose rounding is beyond any proof.
    none = fit(*data, C=np.inf)
    found = fit((1e30 * data[0]).astype(dtype), data[1])
    assert found.status == "gap_missed"
    assert found.loss == pytest.approx(none.loss, abs=1e-4)
    one = data[0].copy()
    one[:, 2] *= 1e30
    mixed = fit(one.astype(dtype), data[1])
    assert mixed.status == "gap_missed"
    assert none.loss <= mixed.loss <= fit(*data).loss + 1e-4


def test_columns_whose_squares_overflow_are_refused(fit, data):
    data[0][:, 4] *= 1e200
    with pytest.raises(
        ProblemError, match=r"^column 4 of the activations holds numbers beyond 1e\+100, .*divide"
    ):
        fit(*data)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e7, 1e30, 1e-30])
def test_a_constant_column_changes_nothing(fit, data, dtype, scale, value):
    activations, labels = data
    plain = fit(activations.astype(dtype), labels, scale=scale)
    found = fit(np.column_stack([activations, np.full(300, value)]).astype(dtype), labels, scale=scale)
    assert found.status == "converged"
    assert abs(found.loss - plain.loss) <= found.gap_nats + plain.gap_nats
    if scale:
        assert (found.weights[-1] == 0).all()


@pytest.mark.parametrize("value", [0.0, 0.1])
@pytest.mark.parametrize(
    ("C", "status"),
    [(1e-300, "converged"), (1.0, "converged"), (1e300, "converged"), (np.inf, "unpenalised")],
)
def test_features_that_say_nothing(fit, data, dtype, value, C, status):
    labels = data[1]
    found = fit(np.full((300, 6), value, dtype=dtype), labels, C=C, scale=value > 0)
    shares = np.bincount(labels) / 300
    assert found.status == status
    # The optimum is the intercept's, which a fit leaves once it is within the gap asked for.
    assert found.loss == pytest.approx(-shares @ np.log(shares), abs=1e-6)


@pytest.mark.parametrize(("C", "status"), [(1.0, "converged"), (1e4, "converged"), (np.inf, "unpenalised")])
def test_a_class_of_one_row(fit, data, C, status):
    activations, labels = data[0], np.where(data[1] == 2, 0, data[1])
    labels[5] = 2
    found = fit(activations, labels, C=C)
    assert found.status == status
    assert found.classes.tolist() == [0, 1, 2]


def test_rows_and_columns_given_many_times(fit, data):
    activations, labels = data
    once, rows = fit(activations, labels, C=10.0), fit(np.repeat(activations, 10, 0), np.repeat(labels, 10))
    assert rows.status == "converged"
    assert abs(rows.loss - once.loss) <= rows.gap_nats + once.gap_nats
    columns = fit(np.tile(activations, 5), labels, C=2.0)
    # Five copies share a weight, so that their penalty is a fifth.
    assert columns.status == "converged"
    assert abs(columns.loss - once.loss) <= columns.gap_nats + once.gap_nats
    assert fit(np.tile(activations, 5), labels, C=np.inf).status == "unpenalised"


@pytest.mark.parametrize(
    ("width", "C", "status"),
    [
        (2000, 1e-4, "converged"),
        (2000, 1.0, "converged"),
        (600, 1e4, "converged"),
        (600, np.inf, "unpenalised"),
    ],
)
def test_many_more_columns_than_rows(fit, make_rows, width, C, status):
    found = fit(*make_rows(60, width, CLASSES), C=C)
    assert found.status == status
    assert found.gap_nats <= 1e-5


@pytest.mark.parametrize(
    ("C", "status"), [(1e-12, "converged"), (1.0, "converged"), (1e4, "converged"), (np.inf, "unpenalised")]
)
def test_weights_over_24_orders_of_magnitude(fit, data, C, status):
    weights = np.random.default_rng(0).permutation(np.logspace(-12, 12, 300))
    assert fit(*data, C=C, sample_weight=weights).status == status


def test_a_class_that_weighs_nothing_to_speak_of(fit, data):
    weights = np.where(data[1] == 2, 1e-12, 1e12)
    found = fit(*data, sample_weight=weights)
    without = fit(data[0][data[1] < 2], data[1][data[1] < 2], C=1e12)
    # Its share of 1e-24 is below the rounding of a sum, which decides whether anything is proven: so long as the class
    # is given no more than that share. Either way the loss is that of the other two, and what is said is true.
    assert found.loss == pytest.approx(without.loss, abs=1e-6)
    assert found.status == ("converged" if found.gap_nats <= 1e-5 else "gap_missed")
    assert abs(found.loss - without.loss) <= found.gap_nats + without.gap_nats


@pytest.mark.parametrize("classes", [2, 5, 30, 300])
def test_classes_of_very_unequal_sizes(fit, classes):
    generator = np.random.default_rng(classes)
    sizes = 1 / np.arange(1, classes + 1) ** 2
    labels = np.append(np.arange(classes), generator.choice(classes, 2000, p=sizes / sizes.sum()))
    activations = generator.standard_normal((len(labels), 20)) + 1.5 * np.eye(classes, 20)[labels]
    found = fit(activations, labels)
    assert found.status == "converged"
    assert len(found.classes) == classes


@pytest.mark.parametrize("kind", [np.float16, np.int8, bool])
def test_one_feature(fit, data, kind):
    found = fit((20 * data[0][:, :1]).astype(kind), data[1])
    assert found.status == "converged"
    assert found.weights.shape == (1, CLASSES)


@pytest.mark.parametrize("size", [10.0, 1e10, 1e30])
def test_a_warm_start_of_nonsense_is_no_worse_than_none(fit, data, dtype, size):
    activations, labels = data[0].astype(dtype), data[1]
    cold = fit(activations, labels)
    weights = size * np.random.default_rng(0).standard_normal((6, CLASSES))
    start = replace(cold, weights=weights, intercept=np.zeros(CLASSES))
    warm = fit(activations, labels, warm_start=start)
    assert warm.status == "converged"
    assert abs(warm.loss - cold.loss) <= warm.gap_nats + cold.gap_nats


def test_two_rows(fit, data):
    assert fit(data[0][:2], [0, 1]).status == "converged"
    assert fit(data[0][:2], [0, 1], C=np.inf).status == "unpenalised"


def test_labels_of_one_class_are_refused(fit, data):
    with pytest.raises(ProblemError, match=r"^all labels are 7; a probe needs rows of at least two classes$"):
        fit(data[0], np.full(300, 7))


class Stream:
    """float16 rows that are made as they are read; three in the middle are not finite."""

    shape, dtype = (50_000, 16), np.dtype(np.float16)
    rows = np.random.default_rng(0).standard_normal((50_000, 16)).astype(np.float16)
    rows[[24_000, 24_001, 31_000], [0, 5, 15]] = np.inf, np.nan, -np.inf

    def __getitem__(self, rows):
        return self.rows[rows].copy()


def test_infinities_in_the_middle_of_a_stream_are_counted(fit):
    labels = np.arange(50_000) % CLASSES
    with pytest.raises(
        ProblemError, match=r"^3 of 50,000 rows hold NaN or infinite activations; expected finite"
    ):
        fit(Stream(), labels, memory_bytes=100_000)
    unused = np.ma.masked_array(labels, np.isin(np.arange(50_000), [24_000, 24_001, 31_000]))
    assert fit(Stream(), unused, memory_bytes=100_000).status == "converged"


@pytest.mark.parametrize("engine", ["numpy", "auto"])
def test_a_layer_with_infinities_is_bad_data_and_the_others_are_done(engine):
    labels = np.arange(50_000) % CLASSES
    good = np.nan_to_num(Stream.rows, nan=0, posinf=0, neginf=0)
    layers = {"first": good, "bad": Stream(), "last": good}
    probes = solvers.fit_layers(layers, labels, C=1.0, engine=engine, memory_bytes=10**6)
    assert [key[0] for key in probes] == ["first", "last"]
    assert {probe.status for probe in probes.values()} == {"converged"}
    assert list(probes.failures) == ["bad"]
    assert probes.failures["bad"].startswith("bad_data: 3 rows hold NaN or infinite values (3 of 50,000 train)")


@pytest.mark.parametrize("rows", [10, 15, 30])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 3])
def test_few_rows_very_wide_converge(rows, seed, classes):
    activations = np.random.default_rng(seed).normal(size=(rows, 32768)).astype(np.float32)
    found = solvers.fit(activations, np.arange(rows) % classes, engine="numpy")
    assert found.status == "converged"
    assert found.loss < 0.01  # where zero coefficients have log K
    assert found.evaluations < 60


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("C", [1e-2, 1.0, 1e4])
def test_one_row_of_1e30_costs_no_night(dtype, C):
    generator = np.random.default_rng(0)
    activations = generator.normal(size=(500, 5))
    labels = (activations @ generator.normal(size=(5, 3))).argmax(axis=1)
    activations[7] = 1e30
    assert solvers.fit(activations.astype(dtype), labels, C=C, engine="numpy").evaluations < 1000


@pytest.mark.parametrize("size", [1e-20, 1e-8])
def test_columns_of_any_small_size_are_certified(size, newton):
    """The bound is made of the weights' gradient, which is as small as the columns are."""
    generator = np.random.default_rng(0)
    activations = generator.normal(size=(400, 5)) * size
    labels = (activations[:, 0] > 0).astype(int)
    C = 1 / size**2  # the problem of columns of order 1, in other units
    found = solvers.fit(activations, labels, C=C, gap_nats=1e-6)
    same = solvers.fit(activations / size, labels, C=1.0, gap_nats=1e-6)
    assert found.status == "converged"
    assert abs(found.loss - same.loss) <= found.gap_nats + same.gap_nats
