"""The line search, on convex functions whose minima are known."""

import math

import pytest

from solvers.lbfgs.search import StepTrial, step_length

CONVEX = {
    "quadratic": lambda t, scale: (0.5 * (t / scale - 1) ** 2, (t / scale - 1) / scale),
    "exponential": lambda t, scale: (math.exp(t / scale) - 3 * t / scale, (math.exp(t / scale) - 3) / scale),
    "a kink, smoothed": lambda t, scale: (
        math.hypot(t - scale, 1e-3),
        (t - scale) / math.hypot(t - scale, 1e-3),
    ),
}


def search(function):
    """Answer the search's questions; what it accepted, and every step it asked for."""
    asking, tried = step_length(StepTrial(0.0, *function(0.0)), rounding=1e-15), []
    step = next(asking)
    while True:
        tried.append(step)
        try:
            step = asking.send(StepTrial(step, *function(step)))
        except StopIteration as end:
            return end.value, tried


@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0, 40.0])
@pytest.mark.parametrize("name", CONVEX)
def test_accepts_a_lower_point_with_less_slope(name, scale):
    def function(t):
        try:
            return CONVEX[name](t, scale)
        except OverflowError:
            return math.inf, math.inf

    trial, tried = search(function)
    loss, slope = function(0.0)
    assert trial is not None
    assert trial.loss < loss
    assert abs(trial.slope) <= 0.9 * abs(slope)
    assert trial.step == tried[-1]  # whoever evaluates keeps the results of the last step alone
    assert len(tried) < 25


def test_full_step_is_tried_first_and_taken_where_it_will_do():
    trial, tried = search(lambda t: CONVEX["quadratic"](t, 1.2))
    assert tried == [1.0]
    assert trial.step == 1.0


def test_a_slope_that_hardly_fell_is_walked_on_and_one_that_turned_is_walked_back():
    assert search(lambda t: CONVEX["quadratic"](t, 40.0))[1][1] > 1.0
    assert search(lambda t: CONVEX["quadratic"](t, 0.3))[1][1] < 1.0


def test_gives_up_where_rounding_hides_the_descent():
    trial, tried = search(lambda t: (1.0, -1.0))
    assert trial is None
    assert len(tried) == 25


def test_a_loss_that_is_not_a_number_is_never_accepted():
    assert search(lambda t: (1.0, -1.0) if t == 0 else (math.nan, math.nan))[0] is None


def test_a_rise_within_the_rounding_is_no_rise():
    rise = {0.0: (1.0, -1.0), 1.0: (1.0 + 1e-15, 0.0)}
    assert search(rise.__getitem__)[0].step == 1.0
    rise[1.0] = (1.0 + 1e-12, 0.0)
    rise[0.9] = (0.9, 0.0)
    assert search(lambda t: rise.get(t, (0.9, 0.0)))[0].step < 1.0


@pytest.mark.parametrize("kink", [1e-1, 1e-3, 1e-5])
def test_a_sharp_bend_near_the_start_is_found_in_few_trials(kink):
    """As few rows of many columns make it: sure of their class a thousandth of a step away, and linear beyond."""

    def function(t):
        u = t / kink
        up = math.exp(min(3 * u, 700.0))
        return math.log1p(1 / up) + 0.25 * u, (-3 / (1 + up) + 0.25) / kink

    trial, tried = search(function)
    assert trial.loss < function(0.0)[0]
    assert len(tried) <= 10


def test_where_trials_run_out_the_longest_step_that_only_fell_is_taken_and_looked_at_once_more(monkeypatch):
    monkeypatch.setattr("solvers.lbfgs.search.MAX_TRIALS", 3)
    trial, tried = search(lambda t: (-t, -1.0))
    assert trial.step == max(tried)
    assert tried[-1] == trial.step  # whoever evaluates keeps the results of the last step alone
    assert len(tried) == 4
