"""Comparisons: sign flips against SciPy and McNemar's test, Holm against statsmodels, families in simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from solvers.errors import ProblemError
from solvers.metrics import registry
from solvers.metrics.conformance import random_predictions
from solvers.scoring.answers import Answers
from solvers.scoring.best_of import against_the_best
from solvers.scoring.comparisons import compare, holm, sign_flips
from solvers.scoring.predictions import Predictions
from tests.benchmarks import coverage

ROWS = 400


def two(classes=2, group=False, seed=0):
    """Two probes of the same rows."""
    first = random_predictions(ROWS, classes, seed, group)
    noise = np.random.default_rng(seed).normal(size=(ROWS, classes)).astype(np.float32)
    second = Predictions(
        first.classes, classes, first.truth, first.index, first.group, first.logits + 2 * noise
    )
    return Answers.of(first), Answers.of(second)


def one(name, first, second):
    (only,) = compare(registry.get(name), [first], [second])
    return only


def test_sign_flips_are_exact_up_to_twelve_units():
    generator = np.random.default_rng(0)
    for _ in range(100):
        apart = generator.normal(size=generator.integers(1, 13))
        if generator.random() < 0.3:
            apart = np.round(apart)
        signs = np.array(list(itertools.product([-1, 1], repeat=len(apart))))
        expected = np.mean(np.abs(signs @ apart) >= abs(apart.sum()) - 1e-12)
        assert sign_flips(apart) == pytest.approx(expected)


def test_sign_flips_are_scipy_s_permutation_test():
    generator = np.random.default_rng(1)
    for count in range(3, 11):
        apart = generator.normal(size=count) + 0.3
        expected = stats.permutation_test((apart,), np.sum, permutation_type="samples", n_resamples=np.inf)
        assert sign_flips(apart) == pytest.approx(expected.pvalue)
    for seed in range(10):
        apart = generator.normal(size=60) + 0.2
        expected = stats.permutation_test(
            (apart,),
            np.sum,
            permutation_type="samples",
            n_resamples=20_000,
            random_state=np.random.default_rng(seed),
        )
        # 20,000 draws each: the standard error of p is below .0036
        assert sign_flips(apart, 20_000) == pytest.approx(expected.pvalue, abs=0.016)


def test_sign_flips_of_rows_that_are_right_or_wrong_are_mcnemar_s_exact_test():
    generator = np.random.default_rng(2)
    for _ in range(200):
        more, fewer = generator.integers(0, 60, 2)
        apart = np.repeat([1.0, -1.0, 0.0], [more, fewer, 100])
        expected = 1.0 if more + fewer == 0 else mcnemar([[50, more], [fewer, 50]], exact=True).pvalue
        assert sign_flips(apart) == pytest.approx(expected, rel=1e-9)


def test_a_p_value_by_draws_is_never_0():
    assert sign_flips(np.linspace(1, 2, 100), 12_900) == 1 / 12_901


def test_holm_is_statsmodels_on_200_cases(monkeypatch):
    monkeypatch.setattr(
        "gc.collect", lambda: 0
    )  # statsmodels collects at each call: a minute in a large process
    generator = np.random.default_rng(3)
    for _ in range(200):
        p = generator.random(generator.integers(1, 60)) ** generator.integers(1, 6)
        p[generator.random(len(p)) < 0.2] = p[0]
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


def test_holm_counts_what_has_no_p_value():
    nan = np.nan
    assert holm(np.array([0.01, nan, 0.04])) == pytest.approx([0.03, nan, 0.08], nan_ok=True)
    assert holm(np.array([0.02, *[nan] * 8])) == pytest.approx([0.18, *[nan] * 8], nan_ok=True)
    assert np.isnan(holm(np.array([nan, nan]))).all()
    generator = np.random.default_rng(4)
    for _ in range(100):
        p = generator.random(generator.integers(1, 20)) ** 3
        unknown = generator.random(len(p)) < 0.3
        expected = np.where(unknown, nan, multipletests(np.where(unknown, 1.0, p), method="holm")[1])
        assert holm(np.where(unknown, nan, p)) == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert holm(np.array([])).shape == (0,)


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("name", [name for name in registry.names() if not registry.get(name).needs_positive])
def test_a_probe_with_itself_is_0_to_0(name, group):
    metric = registry.get(name)
    if metric.only_parts:
        return
    first, _ = two(7, group)
    again = Answers.of(random_predictions(ROWS, 7, 0, group))
    for other in (first, again):
        found = one(name, first, other)
        assert (found.difference, found.interval.low, found.interval.high) == (0, 0, 0)
        assert (found.interval.how, found.p, found.p_family) == ("same", 1, 1)


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "accuracy",
        "error",
        "cross_entropy",
        "brier",
        "roc_auc",
        "f1_macro",
        "balanced_accuracy",
        "average_precision",
    ],
)
def test_a_difference_is_within_its_interval_and_the_other_way_round_its_negative(name, group):
    first, second = two(2, group)
    there, back = one(name, first, second), one(name, second, first)
    assert there.interval.low < there.difference < there.interval.high
    assert there.difference == there.value - there.reference == -back.difference
    assert (there.interval.low, there.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))
    assert there.p == pytest.approx(back.p)
    assert 0 < there.p < 1e-3  # so much noise was added
    assert (there.interval.low > 0) or (there.interval.high < 0)


def test_two_probes_that_agree_on_every_row_are_not_known_to_be_the_same():
    first, _ = two()
    said = first.predictions
    second = Answers.of(Predictions(said.classes, 2, said.truth, said.index, logits=2 * said.logits))
    found = one("accuracy", first, second)
    assert (found.difference, found.p, found.interval.how) == (0, 1, "bonett_price")
    assert found.interval.low < 0 < found.interval.high


def test_the_smaller_of_many_groups_differ_in_sums_of_their_rows():
    first, second = two(2, group=True)
    apart = registry.get("error").of_rows(first) - registry.get("error").of_rows(second)
    group = first.predictions.group
    sums = np.bincount(np.unique(group, return_inverse=True)[1], apart)
    assert one("error", first, second).p == sign_flips(sums)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"index": np.arange(ROWS) + 1}, "the first has 400 rows, the second 400, but not the same ones"),
        ({"truth": np.zeros(ROWS, dtype=int)}, "their labels differ"),
        ({"group": np.arange(ROWS) // 2}, "their groups differ"),
    ],
)
def test_other_rows_are_refused(change, why):
    first, second = two()
    said = second.predictions
    fields = {"truth": said.truth, "index": said.index, "group": None} | change
    other = Answers.of(Predictions(said.classes, 2, logits=said.logits, **fields))
    with pytest.raises(ProblemError, match=why):
        one("accuracy", first, other)
    with pytest.raises(ProblemError, match="the first has 400 rows, the second 10"):
        one("accuracy", first, second.only(np.arange(ROWS) < 10))
    with pytest.raises(ProblemError, match=why):
        against_the_best(registry.get("accuracy"), [first, other])


def test_classes_in_another_order_are_the_same_labels():
    first, second = two()
    said = second.predictions
    swapped = Predictions(said.classes[::-1], 2, 1 - said.truth, said.index, logits=said.logits[:, ::-1])
    assert one("accuracy", first, Answers.of(swapped)).difference == one("accuracy", first, second).difference


def test_a_probe_that_says_no_number_has_no_comparison():
    first, second = two()
    said = second.predictions
    logits = said.logits.copy()
    logits[0] = np.nan
    broken = Answers.of(Predictions(said.classes, 2, said.truth, said.index, logits=logits))
    assert np.isnan(one("accuracy", first, broken).p)
    best, found = against_the_best(registry.get("accuracy"), [broken, first, second])
    assert best == 1
    assert np.isnan(found[0].interval.low)
    assert found[2].interval.how == "max_t"


def test_simultaneous_intervals_are_wider_than_one_by_itself():
    answers = coverage._equal_layers(8, 400, 0.2, np.random.default_rng(0))
    best, together = against_the_best(registry.get("error"), answers)
    alone = compare(registry.get("error"), answers, [answers[best]] * 8)
    for number, (one_, all_) in enumerate(zip(alone, together, strict=True)):
        assert one_.difference == all_.difference
        if number != best:
            assert all_.interval.high - all_.interval.low > 1.2 * (one_.interval.high - one_.interval.low)
            assert all_.p_family > all_.p


def test_few_groups_take_bonferroni_s_bound():
    generator = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 20)
    answers = [coverage.of_right(generator.random(200) < 0.7, group) for _ in range(4)]
    best, found = against_the_best(registry.get("error"), answers)
    apart = registry.get("error").of_rows(answers[best - 1]) - registry.get("error").of_rows(answers[best])
    means = apart.reshape(10, 20).mean(axis=1)
    half = stats.t.ppf(1 - 0.025 / 6, 9) * stats.sem(means)
    got = found[best - 1]
    assert (got.interval.high - got.interval.low) / 2 == pytest.approx(half, rel=1e-4)


# coverage: `make coverage` does it with 2,000 repeats


def test_intervals_cover_and_a_bootstrap_of_rows_does_not_where_groups_are():
    """300 samples: the standard error of a coverage of 95% is .0126, so three of them are left for chance."""
    assert coverage.rate_of_groups(200, 300, 0).share > 0.91
    assert coverage.rate_of_groups(200, 300, 0, by_rows=True).share < 0.88
    assert coverage.rate_of_groups(10, 300, 0).share > 0.9
    for error in (0.002, 0.005, 0.01, 0.02):
        assert coverage.rate_of_rows(100, error, 300, 0).share > 0.91
    assert coverage.area_of_rows(50, 50, 0.99, 300, 0).share > 0.91


def test_the_best_of_equal_layers_is_seldom_said_to_be_better():
    """40 samples of 33 layers: of 5%, nine or more have a chance of 1 in 10,000; uncorrected it is 30%."""
    assert coverage.best_of_equals(40, 1).share < 0.2
