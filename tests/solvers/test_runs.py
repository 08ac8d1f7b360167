"""Means over runs: by hand, against scipy's t, and what is no set of runs."""

import math

import pytest
from figure_scores import PLAIN, by_depth, score
from scipy import stats

import solvers
from solvers.errors import ProblemError
from solvers.figures.asked import asked
from solvers.figures.figure import description
from solvers.figures.rows import Shown

VALUES = (0.2, 0.3, 0.28)


def runs_of(values=VALUES, **given):
    return {
        f"run{number}": [score(store=f"store{number}", value=value, **given)]
        for number, value in enumerate(values)
    }


def test_the_mean_and_its_interval_are_those_of_scipys_t():
    (found,) = solvers.over_runs(runs_of())
    expected = stats.ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert found.value == pytest.approx(sum(VALUES) / 3, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (found.interval, found.groups, found.store, found.C) == ("t_runs", 3, "", 0.01)


def test_an_interval_ends_where_a_rate_ends_and_there_is_none_without_a_value():
    (found,) = solvers.over_runs(runs_of((0.0, 0.6)))
    assert (found.low, found.high) == (0.0, 1.0)
    (absent,) = solvers.over_runs(runs_of((0.1, math.nan)))
    assert math.isnan(absent.value)
    assert math.isnan(absent.low)
    assert absent.interval == ""


def test_runs_that_agree_exactly_have_no_interval_and_a_copy_is_no_run():
    (found,) = solvers.over_runs(runs_of((0.0, 0.0, 0.0)))
    assert (found.value, found.interval) == (0.0, "")
    assert math.isnan(found.low)
    nats = {"metric": "cross_entropy", "unit": "nats", "store": ""}
    copies = {name: [score(value=value, **nats)] for name, value in (("a", 0.31), ("b", 0.4), ("c", 0.31))}
    with pytest.raises(
        ProblemError, match="a and c have the same numbers to the last digit, so they are one run"
    ):
        solvers.over_runs(copies)


def test_different_penalties_and_unproven_probes_are_not_passed_over():
    runs = runs_of()
    runs["run2"] = [score(store="store2", value=0.28, C=1.0, status="gap_missed", rows=12)]
    (found,) = solvers.over_runs(runs)
    assert math.isnan(found.C)
    assert (found.status, found.rows) == ("gap_missed", 12)


def test_the_interval_of_a_run_is_not_carried_over_to_the_mean():
    """Train errors have none in a run; over runs they have."""
    (found,) = solvers.over_runs(runs_of(split="train", role="fit", **PLAIN))
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"a": [score()]}, "a mean over runs needs two of them; 1 was given"),
        ({"a": [score()], "b": [score(value=0.4)]}, "a and b are of one store"),
        (
            {"a": [score(store="1")], "b": [score(store="2"), score(store="2", layer="fc2")]},
            "a has no error on 'test' of layer 'fc2', target 'digit', step 0, which b has",
        ),
        (
            {"a": [score(store="1"), score(store="1", C=3.0)], "b": [score(store="2")]},
            "a has two scores of error",
        ),
    ],
)
def test_what_is_no_set_of_runs_is_refused(runs, message):
    with pytest.raises(ProblemError, match=message):
        solvers.over_runs(runs)


def test_values_of_c_that_one_run_did_not_try_are_left_out():
    runs = {
        name: [
            score(store=name),
            *(score(store=name, kind="path", C=C, role="select", split="val", **PLAIN) for C in tried),
        ]
        for name, tried in {"a": (0.1, 1.0), "b": (1.0, 10.0)}.items()
    }
    assert [(found.kind, found.C) for found in solvers.over_runs(runs)] == [("task", 0.01), ("path", 1.0)]


def test_a_figure_says_that_its_band_is_over_runs():
    runs = {f"run{number}": [row.score for row in by_depth("abc")] for number in range(3)}
    named = {
        name: [
            type(each)(**{**vars(each), "store": name, "value": each.value + 0.01 * int(name[-1])})
            for each in own
        ]
        for name, own in runs.items()
    }
    drawn = str(description([Shown(each, "mean") for each in solvers.over_runs(named)], asked()))
    assert "means and their 95% intervals over runs (t, 3 runs)" in drawn
    assert "of the fitted probe on new rows" not in drawn
