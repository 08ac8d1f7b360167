"""Ctrl-C in a fit: it ends a script, and what was reached can be had, certified."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import solvers
from solvers.lbfgs import sweep
from solvers.proof.certificate import Certifier


@pytest.fixture
def stop_after(monkeypatch):
    """Make Ctrl-C come at the given evaluation of the engine numpy."""

    def arm(count):
        calls, evaluate = iter(range(10**9)), sweep.evaluate

        def counted(*given):
            if next(calls) == count:
                raise KeyboardInterrupt
            return evaluate(*given)

        monkeypatch.setattr(sweep, "evaluate", counted)
        return lambda: monkeypatch.setattr(sweep, "evaluate", evaluate)

    return arm


def interrupted(*given, **settings):
    with pytest.raises(solvers.FitInterrupted) as caught:
        solvers.fit(*given, engine="numpy", **settings)
    assert isinstance(caught.value, KeyboardInterrupt)
    return caught.value


@pytest.mark.parametrize("count", [1, 3, 5])
def test_one_fit_is_certified_where_it_stood(data, stop_after, newton, count):
    stop_after(count)
    error = interrupted(*data, gap_nats=1e-10)
    assert str(error).startswith("interrupted with 0 of 1 fits done; what was reached by then is the `result`")
    fit = error.result
    assert fit is error.result
    assert fit.status == "interrupted"
    assert fit.gap_nats > 1e-10
    assert fit.evaluations == count
    optimum = newton(solvers.problem.problem.pose(*data), 1.0)
    assert fit.loss - optimum.loss <= fit.gap_nats
    assert np.isfinite(fit.predict_proba(data[0])).all()


def test_more_steps_leave_a_smaller_gap(data, stop_after):
    gaps = []
    for count in (1, 10):
        disarm = stop_after(count)
        gaps.append(interrupted(*data, gap_nats=1e-12).result.gap_nats)
        disarm()
    assert gaps[1] < gaps[0] / 10


def test_nothing_reached_is_a_plain_interrupt(data, stop_after):
    stop_after(0)
    with pytest.raises(KeyboardInterrupt) as caught:
        solvers.fit(*data, engine="numpy")
    assert not isinstance(caught.value, solvers.FitInterrupted)


def test_a_path_keeps_what_is_done_says_what_was_cut_short_and_what_was_not_begun(make_rows):
    activations, labels = make_rows(400, 20, 3)

    def stop(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    C = [100.0, 1e-3, 1e-2, *np.logspace(-1.9, 1.9, 40), 1e5]
    error = interrupted(activations, labels, C=C, progress=stop)
    path = error.result
    assert tuple(C) == path.C
    done = {fit.C: fit.status for fit in path}
    assert (done[1e-3], done[1e-2]) == ("converged", "converged")
    assert set(done.values()) <= {"converged", "interrupted", "not_fitted"}
    assert done[1e5] in ("interrupted", "not_fitted")
    assert list(done.values()).count("converged") < 40  # what landed with the two, and no more
    alone = solvers.fit(activations, labels, C=1e-3, engine="numpy")
    assert abs(path[1].loss - alone.loss) <= path[1].gap_nats + alone.gap_nats


def test_a_path_with_validation_has_a_best_of_what_was_reached(make_rows):
    activations, labels = make_rows(400, 20, 3)
    validation = make_rows(200, 20, 3, seed=1)

    def stop(progress):
        if progress.done == 3:
            raise KeyboardInterrupt

    C = np.logspace(-4, 4, 9)
    path = interrupted(activations, labels, C=C, validation=validation, progress=stop, gap_nats=1e-9).result
    assert path.best.status == "interrupted"  # good enough to be compared, and not as good as was asked for
    assert 1e-9 < path.best.gap_nats <= 1e-3
    assert path.best_index == np.nanargmin(path.validation_cross_entropy)


def test_several_targets_come_back_by_name(make_rows, stop_after):
    activations, labels = make_rows(300, 10, 4)
    stop_after(4)
    result = interrupted(activations, {"a": labels, "b": labels > 1}, gap_nats=1e-12).result
    assert list(result) == ["a", "b"]
    assert {fit.status for fit in result.values()} == {"interrupted"}


def test_an_interrupt_while_a_point_is_finished_keeps_the_others_in_flight(make_rows, monkeypatch):
    """What is taken further, is taken within the first sweep, whose columns wait meanwhile."""
    activations, labels = make_rows(400, 20, 3)

    def interrupt(self, given):
        raise KeyboardInterrupt

    monkeypatch.setattr("solvers.fitting.path.PathSolver._finished", interrupt)
    path = interrupted(activations, labels, C=np.logspace(-3, 3, 40)).result
    assert path[0].status == "converged"
    assert "interrupted" in [fit.status for fit in path]


def test_an_interrupt_while_a_point_is_finished_keeps_those_certified_with_it(make_rows, monkeypatch):
    activations, labels = make_rows(400, 20, 3)

    def interrupt(self, given):
        raise KeyboardInterrupt

    monkeypatch.setattr("solvers.fitting.path.PathSolver._finished", interrupt)
    path = interrupted(activations, labels, C=[0.01, 1.0, 100.0]).result
    assert [fit.status for fit in path] == ["converged"] * 3


def test_an_interrupt_while_points_are_certified_keeps_them(make_rows, monkeypatch):
    """They have left the solver, and are not yet points of the path."""
    activations, labels = make_rows(400, 20, 3)
    real, asked = Certifier.certify, []

    def certify(self, claims, *more):
        asked.append(len(claims))
        if len(asked) == 1:
            raise KeyboardInterrupt
        return real(self, claims, *more)

    monkeypatch.setattr(Certifier, "certify", certify)
    path = interrupted(activations, labels, C=[0.01, 1.0, 100.0]).result
    assert asked[:2] == [3, 3]
    assert {fit.status for fit in path} <= {"converged", "interrupted"}


def test_scikit_learn_keeps_what_it_has_to_itself(data, monkeypatch):
    def fit(*given, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("sklearn.linear_model.LogisticRegression.fit", fit)
    with pytest.raises(KeyboardInterrupt) as caught:
        solvers.fit(*data, engine="sklearn")
    assert not isinstance(caught.value, solvers.FitInterrupted)


def test_ctrl_c_ends_a_script_that_only_catches_errors():
    script = """
        import numpy as np, solvers
        def stop(progress):
            raise KeyboardInterrupt
        try:
            solvers.fit(np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2, progress=stop)
        except Exception:
            print("caught")
        print("went on")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert "FitInterrupted: interrupted with 1 of 1 fits done" in done.stderr
