"""C chosen by folds of the training rows, and fitted on all of them."""

from types import SimpleNamespace

import numpy as np
import pytest

import solvers
from solvers.errors import ProblemError
from solvers.fitting.folds import FoldPaths
from solvers.probing.holdout import ALWAYS, FEW_ROWS, deal
from solvers.probing.task import RowRules, make_task

STRENGTHS = (0.01, 1.0, 100.0)


@pytest.fixture
def problem():
    """Two hundred rows of three classes that overlap."""
    generator = np.random.default_rng(1)
    labels = generator.choice(3, size=200, p=[0.5, 0.3, 0.2])
    return np.eye(3)[labels] @ generator.normal(size=(3, 6)) + generator.normal(size=(200, 6)), labels


def test_every_fold_has_the_classes_in_their_proportions():
    codes = np.repeat([0, 1, 2], [100, 50, 7])
    dealt = deal(codes, folds=5, seed=2)
    assert np.bincount(dealt).tolist() in (
        [32, 32, 31, 31, 31],
        [31, 31, 31, 32, 32],
        np.bincount(dealt).tolist(),
    )
    for code, rows in enumerate((100, 50, 7)):
        counts = np.bincount(dealt[codes == code], minlength=5)
        assert counts.min() >= rows // 5
        assert counts.max() <= -(-rows // 5)
    assert np.array_equal(dealt, deal(codes, folds=5, seed=2))
    assert not np.array_equal(dealt, deal(codes, folds=5, seed=3))


def test_groups_are_dealt_whole_and_evenly():
    generator = np.random.default_rng(0)
    groups = np.sort(generator.integers(60, size=600))
    codes = generator.integers(4, size=600)
    dealt = deal(codes, groups, folds=5)
    assert all(len(set(dealt[groups == group])) == 1 for group in np.unique(groups))
    sizes = np.bincount(dealt)
    assert sizes.max() - sizes.min() <= 24  # groups have ten rows each, about
    names = np.array([f"speaker {group}" for group in groups])
    assert len(set(deal(codes, names, folds=5))) == 5


def test_each_class_is_trained_on_without_any_fold():
    for codes, groups in (
        ([0, 0, 0, 0, 1, 1, 1, 2], None),
        ([0, 0, 1, 1, 0, 1, 0, 1, 2, 2], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        ([0, 1, 0, 1, 0, 1, 2, 2], [0, 0, 1, 1, 2, 2, 3, 3]),
    ):
        dealt = deal(np.array(codes), None if groups is None else np.array(groups), folds=3)
        for fold in range(dealt.max() + 1):
            assert set(np.array(codes)[dealt != fold]) == set(codes)
            assert (dealt == fold).any()
        lone = np.array(codes) == 2
        assert set(dealt[lone]) == {ALWAYS}


def test_there_are_no_more_folds_than_groups():
    codes, groups = np.tile([0, 1], 20), np.repeat([0, 1], 20)
    assert set(deal(codes, groups, folds=5)) == {0, 1}
    with pytest.raises(
        ProblemError, match="too few groups of each class to choose C by folds; name a `val` split"
    ):
        deal(codes, np.zeros(40), folds=5)
    with pytest.raises(ProblemError, match="the 2 training rows have too few rows of each class"):
        deal(np.array([0, 1]), folds=5)


def test_it_is_what_is_done_by_hand(problem):
    rows, labels = problem
    (probe,) = solvers.fit_layers({"h": rows}, labels, C=STRENGTHS, folds=4, seed=3, full_path=True).values()
    dealt = deal(labels, folds=4, seed=3)
    nats = np.zeros(len(STRENGTHS))
    for fold in range(4):
        held = dealt == fold
        path = solvers.fit(
            rows[~held],
            labels[~held],
            C=STRENGTHS,
            scale=True,
            validation=(rows[held], labels[held]),
            full_path=True,
        )
        nats += np.array(path.validation_cross_entropy) * held.sum() / len(labels)
    # Points of paths are held to 1e-3 nats of their own loss; on fifty rows that moves the cross-entropy by its root.
    assert [tried.cross_entropy for tried in probe.path] == pytest.approx(nats, abs=0.03)
    assert STRENGTHS[int(np.argmin([tried.cross_entropy for tried in probe.path]))] == probe.C
    alone = solvers.fit(rows, labels, C=probe.C, scale=True)
    assert abs(probe.loss - alone.loss) <= probe.gap_nats + alone.gap_nats  # both near one optimum
    assert probe.gap_nats <= 1e-5
    assert probe.rows == {"train": 200}
    assert probe.proof.chosen == {
        "how": "folds",
        "folds": 4,
        "asked": 4,
        "rows": 200,
        "of": 200,
        "at_end": "highest",
    }


def test_targets_share_the_passes_and_are_chosen_as_if_alone(problem):
    rows, labels = problem
    other = np.ma.MaskedArray(np.where(labels == 1, "x", "y"), mask=np.arange(200) % 3 == 0)
    both = solvers.fit_layers({"h": rows}, {"a": labels, "b": other}, C=STRENGTHS)
    for name, alone in (("a", labels), ("b", other)):
        (probe,) = solvers.fit_layers({"h": rows}, alone, C=STRENGTHS, target=name).values()
        together = both["h", name, 0]
        assert together.C == probe.C
        assert together.proof.chosen == probe.proof.chosen
        assert abs(together.loss - probe.loss) <= 2e-5
    assert both["h", "b", 0].rows == {"train": int(np.ma.count(other))}


def test_the_test_rows_are_not_looked_at(problem):
    rows, labels = problem
    splits = np.where(np.arange(200) < 150, "train", "test")
    (probe,) = solvers.fit_layers({"h": rows}, labels, splits=splits, C=STRENGTHS).values()
    spoilt = rows.copy()
    spoilt[150:] = np.random.default_rng(5).normal(size=(50, 6))
    (other,) = solvers.fit_layers({"h": spoilt}, labels, splits=splits, C=STRENGTHS).values()
    assert np.array_equal(probe.weights, other.weights)
    assert probe.error["test"] != other.error["test"]


@pytest.mark.parametrize(
    ("rows", "rules", "by"),
    [
        (FEW_ROWS - 1, {}, "folds"),
        (FEW_ROWS, {}, "set aside"),
        (FEW_ROWS, {"folds": 3}, "folds"),
        (60, {"holdout": 0.5}, "set aside"),
        (60, {"choose": False}, "given"),
    ],
)
def test_how_c_is_chosen_goes_by_the_labelled_training_rows(rows, rules, by):
    labels = np.ma.MaskedArray(np.arange(rows + 500) % 2, mask=np.arange(rows + 500) >= rows)
    task = make_task(labels, RowRules(**{"choose": True, **rules}), "y")
    assert task.chosen["how"] == by
    assert (task.folds is not None) == (by == "folds")
    if by == "set aside":
        assert task.chosen["rows"] == len(task.rows["val"]) == round(rows * rules.get("holdout", 0.1))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"folds": 3, "holdout": 0.1}, "both folds and holdout"),
        ({"folds": 1}, "folds is 1; expected 2 or more"),
        ({"holdout": 0.0}, "holdout is 0.0; expected a part"),
        ({"holdout": 1}, "holdout is 1; expected a part"),
        ({"folds": 3, "splits": ["train"] * 150 + ["dev"] * 50}, "there is a `val` split of 50 rows"),
    ],
)
def test_ways_that_are_no_ways(problem, rules, message):
    rows, labels = problem
    with pytest.raises(ProblemError, match=message):
        solvers.fit_layers({"h": rows}, labels, C=STRENGTHS, **rules)


def paths_of(*nats, strengths=(0.1, 1.0, 10.0, 100.0)):
    points = [SimpleNamespace(C=strength) for strength in strengths]

    class Path(list):
        pass

    found = []
    for each in nats:
        path = Path(points)
        path.validation_cross_entropy = np.array(each)
        found.append(path)
    return FoldPaths(found, np.array([10, 30][: len(nats)]))


def test_the_mean_counts_rows_and_ties_go_to_the_smaller_c():
    found = paths_of([4.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0])
    assert found.cross_entropy().tolist() == [1.75, 1.25, 1.0, 1.0]
    assert found.best() == 2
    turned = paths_of([1.0, 1.0, 2.0, 4.0], [1.0] * 4, strengths=(100.0, 10.0, 1.0, 0.1))
    assert turned.best() == 1


def test_a_fold_that_ended_before_is_followed_only_where_it_could_matter():
    nan = np.nan
    settled = paths_of([1.0, 2.0, 3.0, nan], [1.0, 1.1, 1.2, 1.3])
    assert settled.settled
    assert settled.best() == 0
    assert np.isnan(settled.cross_entropy()[3])
    assert not paths_of([1.0, 1.1, 1.2, nan], [4.0, 3.0, 2.0, 1.0]).settled


def test_folds_that_end_apart_find_the_best_of_all(problem):
    """One part of the rows wants no penalty, the other a strong one: paths end at different C."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 40))
    labels = (rows[:, 0] + 0.3 * generator.normal(size=60) > 0).astype(int)
    strengths = np.logspace(-3, 4, 8)
    (quick,) = solvers.fit_layers({"h": rows}, labels, C=strengths, folds=5).values()
    (full,) = solvers.fit_layers({"h": rows}, labels, C=strengths, folds=5, full_path=True).values()
    assert quick.C == full.C


def test_another_number_of_folds_is_another_question(problem):
    _, labels = problem
    tasks = [
        make_task(labels, RowRules(choose=True, folds=folds, seed=seed), "y")
        for folds, seed in ((3, 0), (4, 0), (3, 1))
    ]
    assert len({task.mark for task in tasks}) == 3
    assert len({task.fingerprint for task in tasks}) == 1
