"""What is measured of pictures, the intervals, which rows are for what, and the verdicts."""

import math
from dataclasses import replace

import numpy as np
import pytest

from solvers.decoders.claims import untrained, verdicts
from solvers.decoders.examples import roles_of
from solvers.decoders.intervals import mean_over_rows, mean_over_seeds
from solvers.decoders.pictures import high_frequency_share, measured, total_variation
from solvers.decoders.scoring import Place, over_seeds
from solvers.errors import ProblemError


def test_a_chequerboard_is_all_fine_detail_and_a_slope_is_none():
    board = (np.indices((8, 8)).sum(axis=0) % 2)[None, None].astype(float)
    slope = np.broadcast_to(np.cos(2 * np.pi * np.arange(8) / 8), (8, 8))[None, None]
    flat = np.full((1, 1, 8, 8), 0.3)
    assert high_frequency_share(board) == pytest.approx(1)
    assert high_frequency_share(slope) == pytest.approx(0, abs=1e-12)
    assert high_frequency_share(flat) == 0
    assert total_variation(board) == pytest.approx(2 * 7 * 8 / 64)
    assert total_variation(flat) == 0


def test_errors_are_of_values_and_of_images():
    true, decoded = np.zeros((2, 3, 4, 4)), np.full((2, 3, 4, 4), 0.5)
    means = np.concatenate([np.full((1, 3, 4, 4), 0.4), np.full((1, 3, 4, 4), np.nan)])
    found = measured(decoded, true, means)
    assert found["squared_error"] == pytest.approx([0.25, 0.25])
    assert found["squared_error_image"] == pytest.approx([12.0, 12.0])
    assert found["squared_error_to_class_mean"][0] == pytest.approx(0.01)
    assert found["nearer_to_class_mean"][0] == 1
    assert math.isnan(found["nearer_to_class_mean"][1])


def test_intervals():
    from scipy.stats import bootstrap
    from scipy.stats import t as student

    values = np.random.default_rng(0).exponential(size=400)
    found = mean_over_rows(values, None)
    expected = bootstrap(
        (values,), np.mean, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert found.interval == "bootstrap"
    right = mean_over_rows(np.ones(50), None, share=True)
    assert (right.value, right.interval) == (1, "exact")
    assert 0.9 < right.low < 1
    groups = np.repeat(np.arange(10), 40)
    few = mean_over_rows(values, groups)
    means = values.reshape(10, 40).mean(axis=1)
    half = student.ppf(0.975, 9) * means.std(ddof=1) / math.sqrt(10)
    assert (few.low, few.interval, few.groups) == (pytest.approx(few.value - half), "t_groups", 10)
    same = mean_over_rows(np.zeros(400), None)
    assert math.isnan(same.low)
    assert same.interval == ""


def test_one_seed_has_no_interval_and_three_have_t():
    one, three = mean_over_seeds([0.4], 10, None), mean_over_seeds([0.4, 0.5, 0.6], 10, None)
    assert math.isnan(one.low)
    half = 4.302652729911275 * 0.1 / math.sqrt(3)
    assert (three.low, three.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert three.interval == "t_seeds"
    assert mean_over_seeds([0.9, 0.99, 1.0], 10, None, share=True).high == 1


def test_groups_are_never_divided_and_scored_rows_choose_nothing():
    groups = np.repeat(np.arange(50), 4)
    roles = roles_of({"train": np.arange(200)}, groups, choose=True)
    parts = [set(groups[rows]) for rows in (roles.train, roles.select, roles.scored)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 50
    assert sum(len(rows) for rows in (roles.train, roles.select, roles.scored)) == 200
    assert "40 rows of `train` were set aside to be scored" in roles.how


def test_test_is_scored_and_val_chooses():
    splits = {"train": np.arange(10), "val": np.arange(10, 14), "test": np.arange(14, 20)}
    roles = roles_of(splits, None, choose=True)
    assert (roles.split, len(roles.train), len(roles.select), len(roles.scored), roles.how) == (
        "test",
        10,
        4,
        6,
        "",
    )
    del splits["test"]
    roles = roles_of(splits, None, choose=True)
    assert (roles.split, len(roles.scored), len(roles.select)) == ("val", 4, 1)
    with pytest.raises(ProblemError, match="no row is in a split `train`; there is 'val'"):
        roles_of({"val": np.arange(4)}, None, choose=False)
    with pytest.raises(ProblemError, match="3 training rows in 1 groups cannot be divided"):
        roles_of({"train": np.arange(3)}, np.zeros(3, int), choose=False)


def _scores(values, kind="less_reference", metric="squared_error_image"):
    return [
        Place("s", "fc", 0, "y", kind, "conv", "alpha=0", math.nan, seed, "test", "trained").score(
            metric, mean_over_rows(np.array([value - 0.1, value, value + 0.1]), None)
        )
        for seed, value in enumerate(values)
    ]


def test_a_verdict_is_over_seeds_where_there_are_several():
    scores = _scores([5.0, 5.1, 4.9])
    scores += over_seeds(scores)
    (found,) = verdicts(scores)
    assert (found.verdict, found.interval) == ("holds", "t_seeds")
    scores = _scores([-3.0, 9.0, 4.0])
    (found,) = verdicts([*scores, *over_seeds(scores)])
    assert found.verdict == "undecided"
    (found,) = verdicts(_scores([5.0], metric="total_variation"))
    assert found.verdict == "does not hold"


def test_a_reference_that_has_not_begun_to_learn_decides_nothing():
    """Two epochs of MNIST: the reference is black, error 82; the mean picture has 52. No claim follows."""
    scores = _scores([-56.0])
    reference = [replace(each, part="reference") for each in _scores([82.0], "reference", "squared_error")]
    mean = _scores([52.0], "mean_picture", "squared_error")
    assert verdicts([*scores, *reference])[0].verdict == "does not hold"
    assert untrained([*reference, *mean]) == [("fc", "reference", 0)]
    assert verdicts([*scores, *reference, *mean])[0].verdict == "not trained"
    better = [replace(each, value=20.0) for each in reference]
    assert verdicts([*scores, *better, *mean])[0].verdict == "does not hold"
