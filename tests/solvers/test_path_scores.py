"""Every C of a path keeps its scores; C is chosen by them, for a layer or for all; train errors at stated penalties."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import solvers
from solvers.errors import ProblemError
from solvers.fitting.selection import area_under_curve, best_strength
from solvers.probing.fit_layers import FitInterrupted
from solvers.scoring.row_outputs import fit_temperature

STRENGTHS = [1e-3, 0.03, 1.0, 30.0]
KEY = ("a", "label", 0)


def problem(classes=3, rows=320, width=12, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    layers = {
        name: (signal * np.eye(classes, width)[labels] + generator.normal(size=(rows, width))).astype("f4")
        for name, signal in (("a", 0.8), ("b", 2.0))
    }
    return layers, labels, np.array(["train", "train", "val", "test"])[np.arange(rows) % 4]


def alone(layers, labels, splits, C):
    """Each layer fitted at one C, without a path."""
    return solvers.fit_layers(layers, labels, splits=splits, C=C, engine="numpy")


def test_every_c_has_the_scores_that_a_fit_of_it_alone_has():
    layers, labels, splits = problem()
    probes = solvers.fit_layers(layers, labels, splits=splits, C=STRENGTHS, full_path=True, engine="numpy")
    for n, C in enumerate(STRENGTHS):
        for key, one in alone(layers, labels, splits, C).items():
            tried = probes[key].path[n]
            assert tried.C == C
            assert set(tried.scores["error"]) == set(tried.scores["cross_entropy"]) == {"train", "val"}
            for split in ("train", "val"):
                # Points that are only compared lie within 1e-3 nats of their optimum: one row of 80 or 160 may differ.
                assert tried.scores["error"][split] == pytest.approx(one.error[split], abs=0.026)
                assert tried.scores["cross_entropy"][split] == pytest.approx(one.cross_entropy[split], abs=0.03)
    for probe in probes.values():
        chosen = next(each for each in probe.path if each.C == probe.C)
        for metric in ("error", "cross_entropy"):
            assert chosen.scores[metric] == {split: getattr(probe, metric)[split] for split in ("train", "val")}
        for each in probe.path:
            assert each.scores["cross_entropy"]["val"] == pytest.approx(each.cross_entropy, rel=1e-9)


def test_what_was_not_fitted_has_no_scores_and_test_only_where_asked():
    layers, labels, splits = problem()
    many = np.logspace(-3, 6, 10)
    stopped = solvers.fit_layers(layers, labels, splits=splits, C=many)[KEY]
    assert [bool(each.scores) for each in stopped.path] == [
        each.status != "not_fitted" for each in stopped.path
    ]
    assert any(each.status == "not_fitted" for each in stopped.path)
    asked = solvers.fit_layers(layers, labels, splits=splits, C=STRENGTHS, score_path="test")[KEY]
    assert [set(each.scores["error"]) for each in asked.path if each.scores] == [
        {"train", "val", "test"}
    ] * len([each for each in asked.path if each.scores])
    with pytest.raises(
        ProblemError, match=r"score_path names the split 'tset', which no row is in; did you mean 'test'"
    ):
        solvers.fit_layers(layers, labels, splits=splits, C=STRENGTHS, score_path=["tset"])


def test_by_folds_a_c_is_scored_on_what_its_fits_saw_and_on_what_they_did_not():
    layers, labels, splits = problem()
    rows = {"train": np.flatnonzero(splits != "test"), "test": np.flatnonzero(splits == "test")}
    probe = solvers.fit_layers(
        layers, labels, splits=rows, C=STRENGTHS, folds=4, score_path="test", full_path=True
    )[KEY]
    for each in probe.path:
        assert set(each.scores["error"]) == {"train", "val", "test"}
        # The mean over all held-out rows is what chose C.
        assert each.scores["cross_entropy"]["val"] == pytest.approx(each.cross_entropy, rel=1e-9)
    train = [each.scores["cross_entropy"]["train"] for each in probe.path]
    assert bool(np.all(np.diff(train) < 0))  # a weaker penalty fits more


def test_a_single_c_has_its_path_of_one():
    layers, labels, splits = problem()
    probe = solvers.fit_layers(layers, labels, splits=splits, C=1.0)[KEY]
    (only,) = probe.path
    assert only.scores["error"] == {split: probe.error[split] for split in ("train", "val")}
    assert "at_end" not in probe.proof.chosen


def test_where_the_choice_stands_in_the_grid_is_kept():
    layers, labels, splits = problem()
    options = {"splits": splits, "full_path": True}
    assert (
        solvers.fit_layers(layers, labels, C=[1e-5, 1e-4], **options)[KEY].proof.chosen["at_end"] == "highest"
    )
    assert solvers.fit_layers(layers, labels, C=[1.0, 1e4], **options)[KEY].proof.chosen["at_end"] == "lowest"
    assert "at_end" not in solvers.fit_layers(layers, labels, C=STRENGTHS, **options)[KEY].proof.chosen


# what C is chosen by


@pytest.mark.parametrize("metric", ["error", "accuracy", "roc_auc", "cross_entropy"])
@pytest.mark.parametrize("folds", [None, 3])
def test_c_is_the_best_by_the_metric_asked_for_and_the_smaller_in_a_tie(metric, folds):
    layers, labels, splits = problem(classes=2)
    if folds:
        splits = np.where(splits == "val", "train", splits)
    probes = solvers.fit_layers(
        layers, labels, splits=splits, C=STRENGTHS[::-1], select_by=metric, folds=folds, full_path=True
    )
    for probe in probes.values():
        name = "error" if metric == "accuracy" else metric
        values = {each.C: each.scores[name]["val"] for each in probe.path}
        best = max(values.values()) if metric == "roc_auc" else min(values.values())
        assert min(C for C, value in values.items() if value == best) == probe.C
        assert (probe.status, probe.proof.chosen.get("select_by", "cross_entropy")) == ("converged", metric)


def test_a_choice_by_another_metric_is_fitted_to_the_gap_and_scored():
    layers, labels, splits = problem(seed=3)
    probes = solvers.fit_layers(layers, labels, splits=splits, C=np.logspace(-3, 3, 13), select_by="error")
    by_nats = solvers.fit_layers(layers, labels, splits=splits, C=np.logspace(-3, 3, 13), full_path=True)
    assert any(probes[key].C != by_nats[key].C for key in probes)
    for key, probe in probes.items():
        one = alone({key[0]: layers[key[0]]}, labels, splits, probe.C)[key]
        assert abs(probe.loss - one.loss) <= probe.gap_nats + one.gap_nats
        assert probe.gap_nats <= 1e-5
        assert probe.cross_entropy["test"] == pytest.approx(one.cross_entropy["test"], abs=0.01)


def test_the_area_is_scikit_learn_s():
    generator = np.random.default_rng(0)
    for _ in range(50):
        scores = generator.integers(0, generator.integers(2, 30), 40).astype(float)  # with ties
        positive = generator.random(40) < 0.3
        if 0 < positive.sum() < 40:
            assert area_under_curve(scores, positive) == pytest.approx(
                roc_auc_score(positive, scores), abs=1e-12
            )
    assert np.isnan(area_under_curve(scores, np.ones(40, bool)))


def test_best_strength_leaves_out_what_has_no_value():
    assert best_strength([10.0, 1.0, 0.1], [0.5, 0.5, np.nan], "error") == 1
    assert best_strength([10.0, 1.0, 0.1], [0.5, 0.4, np.nan], "roc_auc") == 0
    with pytest.raises(ProblemError, match="error has no value for any C"):
        best_strength([1.0, 2.0], [np.nan, np.nan], "error")


def test_what_cannot_be_chosen_by_is_refused():
    layers, labels, splits = problem()
    for options, said in (
        ({"select_by": "f1"}, "select_by is 'f1'; expected cross_entropy, error, accuracy, roc_auc"),
        ({"select_by": "roc_auc"}, "chooses between two classes, but target 'label' has 3"),
        ({"select_by": "error", "C": 1.0}, "select_by is for choosing C, but there is none to choose"),
        ({"one_C": 3}, "one_C is 3; expected True or False"),
        ({"one_C": True, "protocol": "train"}, "chooses no C, so one_C says nothing"),
        ({"protocol": "train", "folds": 3}, "chooses no C and sets no rows aside; leave out folds and holdout"),
        ({"protocol": "tran"}, "protocol is 'tran'; expected 'train', or none"),
    ):
        with pytest.raises(ProblemError, match=said):
            solvers.fit_layers(layers, labels, **{"splits": splits, "C": STRENGTHS} | options)


def test_a_target_that_chooses_by_folds_beside_one_that_sets_rows_aside():
    """They have not the same splits; each gets the probe that it would get alone."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(6000, 3)).astype("f4")
    many = (x[:, 0] + generator.normal(size=6000) > 0).astype(int)
    few = np.ma.masked_array(many, np.arange(6000) >= 500)
    both = solvers.fit_layers({"a": x}, {"many": many, "few": few}, C=[0.1, 1.0])
    assert [both["a", target, 0].proof.chosen["how"] for target in ("many", "few")] == ["set aside", "folds"]
    assert both["a", "few", 0].rows == {"train": 500}
    (alone,) = solvers.fit_layers({"a": x}, few, target="few", C=[0.1, 1.0]).values()
    assert both["a", "few", 0].error == alone.error
    assert both["a", "few", 0].scores.temperature == pytest.approx(alone.scores.temperature, rel=0.01)


# one C for all


@pytest.mark.parametrize("metric", ["cross_entropy", "error"])
@pytest.mark.parametrize("folds", [None, 3])
def test_one_c_is_the_best_sum_over_layers(metric, folds):
    layers, labels, splits = problem()
    if folds:
        splits = np.where(splits == "val", "train", splits)
    options = {"splits": splits, "C": STRENGTHS, "select_by": metric, "folds": folds, "full_path": True}
    each = solvers.fit_layers(layers, labels, **options)
    one = solvers.fit_layers(layers, labels, one_C=True, **options)
    sums = [sum(each[key].path[n].scores[metric]["val"] for key in each) for n in range(len(STRENGTHS))]
    assert {probe.C for probe in one.values()} == {STRENGTHS[int(np.argmin(sums))]}
    for key, probe in one.items():
        assert probe.proof.chosen["one_C"] == 2
        assert probe.status == "converged"
        assert probe.scores.temperature is not None
        alone_there = alone({key[0]: layers[key[0]]}, labels, splits, probe.C)[key]
        assert abs(probe.loss - alone_there.loss) <= probe.gap_nats + alone_there.gap_nats
        said = one.predictions(key, "test")
        assert np.mean(said.logits.argmax(axis=1) != said.truth) == probe.error["test"]
        assert [tried.scores["error"] for tried in probe.path] == [
            tried.scores["error"] for tried in each[key].path
        ]


def test_one_c_is_each_target_s_own():
    layers, labels, splits = problem()
    noise = np.random.default_rng(5).integers(0, 2, len(labels))
    probes = solvers.fit_layers(
        layers, {"label": labels, "noise": noise}, splits=splits, C=STRENGTHS, one_C=True
    )
    found = {
        target: {probe.C for probe in probes.values() if probe.target == target}
        for target in ("label", "noise")
    }
    assert [len(each) for each in found.values()] == [1, 1]
    assert found["label"] != found["noise"]


def test_an_interrupted_one_c_goes_on_and_comes_out_the_same(tmp_path):
    layers, labels, splits = problem()
    options = {"splits": splits, "C": np.logspace(-3, 2, 8), "one_C": True, "notice": lambda _: None}
    straight = solvers.fit_layers(layers, labels, **options)
    every = solvers.fit_layers(layers, labels, **options | {"one_C": False, "full_path": True})
    assert len({probe.C for probe in every.values()}) == 2
    seen = []

    def stop(progress):
        seen.append(progress)
        if progress.fit is None and sum(each.fit is None for each in seen) > 2:
            raise KeyboardInterrupt

    kept = {"parts": tmp_path / "p.parts"}
    with pytest.raises(FitInterrupted, match="they are not all at one C yet"):
        solvers.fit_layers(layers, labels, progress=stop, **options, **kept)
    resumed = solvers.fit_layers(layers, labels, **options, **kept)
    for key, probe in straight.items():
        assert (resumed[key].C, resumed[key].proof.chosen) == (probe.C, probe.proof.chosen)
        np.testing.assert_array_equal(
            resumed.predictions(key, "test").logits, straight.predictions(key, "test").logits
        )


# the protocol of train errors


def test_train_errors_at_stated_weak_penalties_set_nothing_aside():
    layers, labels, splits = problem()
    splits = np.where(splits == "val", "train", splits)
    probes = solvers.fit_layers(layers, labels, splits=splits, protocol="train")
    for key, probe in probes.items():
        assert [each.C for each in probe.path] == [1.0, 1e3, 1e5]
        assert (probe.C, probe.rows["train"]) == (1e5, 240)
        assert probe.proof.chosen == {"how": "given", "protocol": "train"}
        assert {each.status for each in probe.path} == {"converged"}
        for each in probe.path:
            assert set(each.scores["error"]) == {"train", "test"}
            one = alone({key[0]: layers[key[0]]}, labels, splits, each.C)[key]
            assert each.scores["cross_entropy"]["train"] == pytest.approx(one.cross_entropy["train"], abs=1e-4)
    given = solvers.fit_layers(layers, labels, splits=splits, protocol="train", C=[10.0, 2.0])[KEY]
    assert ([each.C for each in given.path], given.C) == ([10.0, 2.0], 10.0)


def test_a_temperature_of_folds_is_of_their_held_out_rows(monkeypatch):
    layers, labels, splits = problem()
    taken = []
    monkeypatch.setattr(
        "solvers.scoring.recording.fit_temperature", lambda z, y: taken.append(len(y)) or fit_temperature(z, y)
    )
    solvers.fit_layers(layers, labels, splits=np.where(splits == "val", "train", splits), C=STRENGTHS, folds=4)
    assert taken == [240, 240]
