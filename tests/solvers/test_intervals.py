"""Intervals against SciPy and statsmodels on 200 random cases; which is made when; never a point."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from solvers.metrics import registry
from solvers.metrics.conformance import random_predictions
from solvers.scoring import intervals
from solvers.scoring.answers import Answers
from solvers.scoring.interval_of import interval_of
from solvers.scoring.predictions import Predictions
from solvers.scoring.units import Units


def of_right(right, group=None):
    right = np.asarray(right, dtype=bool)
    logits = np.column_stack([~right, right]).astype(np.float32)
    rows = len(right)
    return Answers.of(Predictions(np.arange(2), 2, np.ones(rows, int), np.arange(rows), group, logits))


def found(name, answers):
    metric = registry.get(name)
    return interval_of(metric, answers, Units.of(answers.predictions), metric.value(answers))


@pytest.mark.parametrize(("ours", "theirs"), [(intervals.wilson, "wilson"), (intervals.exact, "beta")])
def test_rates_are_statsmodels_on_200_cases(ours, theirs):
    generator = np.random.default_rng(0)
    rows = generator.integers(1, 3_000, 200)
    hits = np.array([int(generator.integers(0, count + 1)) for count in rows])
    hits[:10], hits[10:20] = 0, rows[10:20]
    low, high = ours(hits, rows)
    for number in range(200):
        expected = proportion_confint(hits[number], rows[number], method=theirs)
        # statsmodels has Wilson's ends at 0 and 1 off by rounding
        assert (low[number], high[number]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_rates_are_scipy_s_too():
    for method, ours in (("wilson", intervals.wilson), ("exact", intervals.exact)):
        expected = stats.binomtest(7, 40).proportion_ci(method=method)
        assert ours(7, 40) == pytest.approx((expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize("ours", [intervals.wilson, intervals.exact])
def test_a_rate_of_no_rows_has_no_interval(ours):
    assert np.isnan(ours(0, 0)).all()


@pytest.mark.parametrize(
    "name", ["accuracy", "f1_macro", "roc_auc", "average_precision", "cross_entropy", "brier"]
)
@pytest.mark.parametrize("grouped", [False, True])
def test_the_draws_are_the_metric_of_the_rows_drawn(name, grouped):
    metric = registry.get(name)
    answers = Answers.of(random_predictions(400, 2, 3, group=grouped))
    units = Units(400, answers.predictions.group, draws=200)
    drawn = metric.drawn(answers, units)
    for draw in range(200):
        weights = units.weights[draw][units.of_row]
        assert weights.sum() == pytest.approx(400 if not grouped else weights.sum())
        repeated = answers.only(np.repeat(np.arange(400), weights.astype(int)))
        # single precision of the product
        assert drawn[draw] == pytest.approx(metric.value(repeated), rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "brier"])
def test_the_bootstrap_is_scipy_s_percentile(name):
    answers = Answers.of(random_predictions(500, 3, 1))
    values = registry.get(name).of_rows(answers)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=2_000, method="percentile", random_state=np.random.default_rng(0)
    ).confidence_interval
    got = found(name, answers)
    assert got.how == "bootstrap"
    width = expected.high - expected.low
    # two samples of 2,000 draws: a quantile at 2.5% moves by some 3% of the width
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=0.1 * width)


def test_a_mean_over_few_equal_groups_is_t_over_their_means():
    generator = np.random.default_rng(2)
    group = np.repeat(np.arange(12), 20)
    answers = of_right(generator.random(240) < generator.uniform(0.4, 1, 12)[group], group)
    means = answers.right.reshape(12, 20).mean(axis=1)
    got = found("accuracy", answers)
    expected = stats.t.interval(0.95, 11, means.mean(), stats.sem(means))
    assert got.how == "t_groups"
    assert (got.low, got.high) == pytest.approx(expected, rel=1e-5)


def test_groups_are_resampled_from_thirty_on():
    group = np.repeat(np.arange(30), 10)
    right = np.random.default_rng(0).random(300) < 0.7
    assert found("accuracy", of_right(right, group)).how == "groups"
    assert found("accuracy", of_right(right[:290], group[:290])).how == "t_groups"
    assert found("cross_entropy", of_right(right, group)).how == "groups"


def test_groups_of_one_row_each_are_rows_by_themselves():
    right = np.random.default_rng(0).random(300) < 0.7
    alone = found("accuracy", of_right(right, np.random.default_rng(1).permutation(300)))
    assert alone == found("accuracy", of_right(right))
    assert alone.how == "wilson"


@pytest.mark.parametrize("group", [None, np.repeat(np.arange(10), 10), np.repeat(np.arange(50), 2)])
@pytest.mark.parametrize("wrong", [0, 1, 3, 100])
@pytest.mark.parametrize("name", ["accuracy", "error"])
def test_few_or_no_errors_never_give_a_point(name, group, wrong):
    right = np.arange(100) >= wrong
    metric, got = registry.get(name), found(name, of_right(right, group))
    assert got.how == ("exact" if group is None else "exact_groups")
    assert got.low <= metric.value(of_right(right)) <= got.high
    assert got.high - got.low > 0.03


def test_no_error_in_100_rows_is_at_most_3_6_percent():
    assert found("error", of_right(np.ones(100))).high == pytest.approx(1 - 0.025 ** (1 / 100))


def test_all_right_in_ten_groups_knows_as_much_as_ten_rows():
    group = np.repeat(np.arange(10), 100)
    assert found("error", of_right(np.ones(1_000), group)).high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_groups_that_are_all_alike_are_no_point():
    """Contrast pairs of which a probe that always says the same has one right and one wrong."""
    got = found("error", of_right(np.arange(80) % 2, np.arange(80) // 2))
    assert got.how == "exact_groups"
    assert got.low < 0.4 < 0.6 < got.high


def pairs(scores, truth, group=None):
    logits = np.column_stack([np.zeros(len(scores)), scores]).astype(np.float32)
    return Answers.of(Predictions(np.arange(2), 2, np.asarray(truth), np.arange(len(scores)), group, logits))


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("group", [None, np.arange(60) // 3, np.arange(60) // 2])
@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "balanced_accuracy", "f1_macro"])
def test_a_perfect_order_is_no_point(name, group, value):
    truth = np.arange(60) % 2
    answers = pairs(np.where(truth == 1, 1.0, -1.0) * (1 if value else -1), truth, group)
    if name == "average_precision" and not value:
        return  # never 0
    got = found(name, answers)
    assert registry.get(name).value(answers) == value
    assert got.how == ("exact" if group is None else "exact_groups")
    assert got.high - got.low > 0.05
    assert value in (got.low, got.high)


def test_the_pairs_of_an_area_are_its_means():
    generator = np.random.default_rng(0)
    for seed in range(200):
        truth = generator.integers(0, 2, 60)
        truth[:2] = 0, 1
        answers = pairs(np.round(generator.normal(size=60) + truth, seed % 2), truth)
        sides = registry.get("roc_auc").pairs(answers)
        expected = roc_auc_score(truth, answers.odds(1))
        assert [side.mean() for side in sides] == pytest.approx([expected, expected], rel=1e-12)
        got = found("roc_auc", answers)
        assert got.low < expected < got.high


def test_the_area_s_interval_solves_newcombe_s_equation():
    low, high = intervals.area(0.9, 40, 60)
    for area in (low, high):
        spread = area * (1 - area) / 2_400 * (1 + 49 * ((1 - area) / (2 - area) + area / (1 + area)))
        assert (0.9 - area) ** 2 == pytest.approx(1.959963984540054**2 * spread, rel=1e-9)


def test_few_rows_take_t_and_one_has_no_interval():
    answers = Answers.of(random_predictions(20, 3))
    assert found("cross_entropy", answers).how == "t_rows"
    assert found("cross_entropy", answers.only(np.arange(20) < 1)).how == ""


@pytest.mark.parametrize("name", registry.names())
def test_no_rows_and_rows_without_a_number_have_no_interval(name):
    answers = Answers.of(random_predictions(300, 2)).only(np.zeros(300, dtype=bool))
    if registry.get(name).only_parts:
        return
    assert found(name, answers).how == ""


@pytest.mark.parametrize("name", [name for name in registry.names() if not registry.get(name).only_parts])
@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("rows", [40, 300, 3_000])
def test_an_interval_is_around_its_value_and_within_the_range(name, group, rows):
    metric, answers = registry.get(name), Answers.of(random_predictions(rows, 8, 5, group=group), 1)
    got, value = found(name, answers), metric.value(answers)
    if got.how:
        assert metric.lowest <= got.low < value < got.high <= metric.highest


def test_more_groups_than_are_resampled_are_put_together_at_random(monkeypatch):
    monkeypatch.setattr("solvers.scoring.units.MOST_UNITS", 500)
    answers = Answers.of(random_predictions(4_000, 3, 1))
    blocks = found("cross_entropy", answers)
    monkeypatch.undo()
    rows = found("cross_entropy", answers)
    # two ways to the same interval, each of 2,000 draws
    assert (blocks.low, blocks.high) == pytest.approx((rows.low, rows.high), abs=0.1 * (rows.high - rows.low))


def test_the_same_seed_gives_the_same_interval():
    answers = Answers.of(random_predictions(200, 2, group=True))
    assert found("roc_auc", answers) == found("roc_auc", answers)
