"""The mean over runs of a difference within each: the numbers of scipy's t test, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import solvers
from cli.main import probe
from solvers.errors import ProblemError

SPLITS = {"train": range(80), "test": range(80, 200)}


def run(seed, **more):
    """Probes of a run: `b` sees more of the label than `a`, `c` is noise."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, 200)
    noise = draw.normal(size=(3, 200, 2))
    layers = {"a": noise[0] + labels[:, None] * 0.7, "b": noise[1] + labels[:, None] * 1.5, "c": noise[2]}
    return solvers.fit_layers(layers, labels, splits=SPLITS, C=1.0, fingerprint=f"run {seed}", **more)


@pytest.fixture(scope="module")
def runs():
    return {f"run {seed}": run(seed) for seed in range(4)}


def test_the_mean_difference_has_the_interval_and_p_of_a_t_test(runs):
    (family,) = solvers.compare_over_runs(runs, layers=["a", "b", "c"])
    assert (family.runs, family.metric, family.split) == (4, "error", "test")
    for each in family.comparisons:
        errors = np.array([[one[each.name].error["test"], one["a"].error["test"]] for one in runs.values()])
        test = stats.ttest_1samp(errors[:, 0] - errors[:, 1], 0)
        low, high = test.confidence_interval()
        found = each.comparison
        assert found.difference == pytest.approx(test._estimate)
        assert (found.value, found.reference) == pytest.approx(tuple(errors.mean(axis=0)))
        assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
        assert found.p == pytest.approx(test.pvalue)
        assert found.interval.how == "t_runs"
        assert (found.rows, found.groups) == (120, None)
    better, noise = family.comparisons
    assert better.comparison.difference < 0 < noise.comparison.difference
    assert better.comparison.p_family >= better.comparison.p
    told = repr(solvers.compare_over_runs(runs, layers=["a", "b"]))
    assert "means over 4 runs of 120 rows" in told
    assert "not of new rows" in told


def test_the_order_of_runs_changes_nothing(runs):
    there = solvers.compare_over_runs(runs, reference="a", metric="roc_auc").to_dicts()
    back = solvers.compare_over_runs(dict(reversed(runs.items())), reference="a", metric="roc_auc").to_dicts()
    for one, other in zip(there, back, strict=True):
        numbers = [name for name, value in one.items() if isinstance(value, float)]
        assert [one[name] for name in numbers] == pytest.approx([other[name] for name in numbers])


def test_a_difference_that_is_the_same_in_every_run_has_no_interval(runs):
    same = {name: probes.renamed({"a": "x", "b": "y", "c": "z"}) for name, probes in runs.items()}
    both = {name: runs[name] | same[name] for name in runs}
    (family,) = solvers.compare_over_runs(both, layers=["a", "x"])
    (each,) = family.comparisons
    assert each.comparison.difference == 0
    assert np.isnan(each.comparison.p)
    assert "the same in every run" in each.comparison.why


def test_what_is_no_mean_over_runs_is_refused(runs):
    with pytest.raises(ProblemError, match="needs two of them; 1 was given"):
        solvers.compare_over_runs({"one": runs["run 0"]}, layers=["a", "b"])
    with pytest.raises(ProblemError, match="a reference that is named beforehand"):
        solvers.compare_over_runs(runs)
    twice = {"one": runs["run 0"], "two": runs["run 0"].changed(replace)}
    with pytest.raises(ProblemError, match="one and two are of one store, so they are one run"):
        solvers.compare_over_runs(twice, layers=["a", "b"])
    with pytest.raises(ProblemError, match=r"draws of columns \(--seeds\)"):
        solvers.compare_over_runs(
            {name: run(seed, random_features=1, seeds=2) for seed, name in enumerate("pq")}, layers=["a", "b"]
        )
    lacking = {**runs, "run 9": run(9).renamed({"b": "d"})}
    with pytest.raises(ProblemError, match="there is no layer 'b' among the probes"):
        solvers.compare_over_runs(lacking, layers=["a", "b"])
    with pytest.raises(ProblemError, match="run 9 does not compare 'b' with 'a'"):
        solvers.compare_over_runs(lacking, reference="a")
    with pytest.raises(ProblemError, match="has no option 'layer'"):
        solvers.compare_over_runs(runs, layer=["a", "b"], reference="a")


def test_the_command_says_the_same(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, probes in enumerate(runs.values()):
        probes.save(f"{number}.h5")

    def call(line):
        return CliRunner().invoke(probe, ["compare", *line.split()])

    done = call("0.h5 1.h5 2.h5 3.h5 --mean --layers a,b")
    assert done.exit_code == 0, done.output
    assert "error of label on test, step 0: means over 4 runs of 120 rows" in done.output
    told = json.loads(call("0.h5 1.h5 2.h5 3.h5 --mean --layers a,b --json").output)
    (family,) = told["families"]
    (expected,) = solvers.compare_over_runs(runs, layers=["a", "b"]).to_dicts()
    assert family["runs"] == 4
    assert family["comparisons"][0]["difference"] == expected["difference"]
    for line, said in (
        ("0.h5 1.h5 --mean", "needs one way to compare within each run"),
        ("0.h5 --mean --layers a,b", "give two files or more"),
        ("0.h5 0.h5 --mean --layers a,b", "give two files or more"),
        ("0.h5 1.h5 2.h5", "3 files were given"),
        ("0.h5 1.h5 --layers a,b", "choose one way to compare"),
    ):
        done = call(line)
        assert done.exit_code == 2, done.output
        assert said in done.output
    assert call("0.h5 --layers a,b --json").exit_code == 0
