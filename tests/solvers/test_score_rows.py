"""Scores of probes as tidy rows: which there are, which have intervals, what is noted; kept in the file."""

import csv
import io
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

import solvers
from solvers.errors import ProbeFileError, ProblemError
from solvers.probing.probes import Probes
from solvers.probing.scores.of_probes import keep_scores
from solvers.scoring.score import COLUMNS
from tests.solvers.made_probes import made


def values(scores, **wanted):
    return [score for score in scores if all(getattr(score, name) == value for name, value in wanted.items())]


def test_held_out_splits_alone_have_intervals():
    scores = made().scores()
    task = [score for score in scores if score.kind == "task"]
    assert {(score.split, score.role) for score in task} == {
        ("train", "fit"),
        ("val", "select"),
        ("test", "held_out"),
    }
    assert all(bool(score.interval) == (score.split == "test") for score in task)
    assert all(math.isnan(score.low) == (score.split != "test") for score in task)


@pytest.mark.parametrize(
    ("classes", "shown"),
    [(2, {"accuracy", "roc_auc", "error"}), (3, {"accuracy", "error", "cross_entropy"})],
)
def test_what_is_shown_by_default(classes, shown):
    found = {
        score.metric
        for score in made(classes=classes).scores()
        if score.split == "test" and score.kind == "task"
    }
    assert found == shown


def test_the_numbers_are_those_the_file_has():
    probes = made(classes=3)
    for probe in probes.values():
        for split in ("train", "val", "test"):
            own = values(probes.scores(), layer=probe.layer, split=split, kind="task")
            by_metric = {score.metric: score.value for score in own}
            assert by_metric["error"] == probe.scores.error[split]
            assert by_metric["cross_entropy"] == probe.scores.cross_entropy[split]
            assert by_metric["accuracy"] == 1 - probe.scores.error[split]


def test_the_path_has_the_other_values_of_c_and_test_of_them_is_exploratory():
    path = values(made().scores(), kind="path", layer="a")
    assert {(score.C, score.split, score.role) for score in path} == {
        (C, split, role)
        for C in (0.1, 10.0)
        for split, role in (("train", "fit"), ("val", "select"), ("test", "exploratory"))
    }
    assert not any(score.interval for score in path)


def test_the_majority_stands_beside():
    (score,) = values(made().scores(), kind="majority", layer="a", split="test")
    assert (score.metric, score.value, score.interval) == ("error", 0.5, "")


def test_groups_are_counted_and_few_are_noted():
    scores = made(groups=12).scores()
    (error,) = values(scores, kind="task", layer="a", split="test", metric="error")
    assert (error.groups, error.rows, error.interval) == (12, 200, "t_groups")
    assert scores.notes == (
        "target 't', split 'test': the rows are of 12 groups only, so intervals are t over groups, and wide; 30 or "
        "more groups would tell more",
    )
    assert made(groups=40).scores().notes == ()


def test_without_predictions_the_file_s_numbers_have_no_intervals_and_it_is_said():
    scores = made(kept=()).scores()
    assert {score.metric for score in scores} == {"accuracy", "error", "cross_entropy"} - {"cross_entropy"}
    assert not any(score.interval for score in scores)
    assert scores.notes == ("split 'test' has no predictions in the file, so its numbers have no intervals",)
    with pytest.raises(ProblemError, match="roc_auc needs predictions, and the file has none of split"):
        made(kept=()).scores(["roc_auc"])


def test_a_class_without_rows_and_rows_of_unseen_classes_are_noted():
    probes = made(classes=3, layers=("a",))
    key = next(iter(probes))
    table = next(table for table in probes.beside.tables if table.split == "test")
    truth = np.where(table.arrays["truth"] == 0, 3, table.arrays["truth"]).astype(np.int32)
    classes = np.array([*table.classes, "new"])
    changed = replace(table, arrays={**table.arrays, "truth": truth}, classes=classes)
    notes = (
        Probes([probes[key]], beside=replace(probes.beside, tables=(changed,))).scores(splits=["test"]).notes
    )
    unseen = int(np.sum(truth == 3))
    assert notes == (
        f"target 't', split 'test': {unseen:,} rows are of classes that training had none of (new); they count as "
        "wrong, and are left out of the cross-entropy",
        "target 't', split 'test': no row is of class class 0; a mean over classes leaves it out",
    )


def test_predictions_that_are_no_numbers_are_refused():
    probes = made(layers=("a",))
    probe = next(iter(probes.values()))
    said = {
        key: {"logits": np.full_like(arrays["logits"], np.nan)} for key, arrays in probe.predictions.items()
    }
    with pytest.raises(ProbeFileError, match="have logits that are not finite"):
        Probes([replace(probe, predictions=said)], beside=probes.beside).scores(["roc_auc"])


def test_the_positive_class_turns_the_area_s_meaning_not_its_size_of_two_classes():
    probes = made(classes=3)
    area = {
        name: values(probes.scores(["roc_auc"], positive=name, splits=["test"]), layer="c", kind="task")[
            0
        ].value
        for name in ("class 0", "class 1")
    }
    assert area["class 0"] != area["class 1"]
    with pytest.raises(
        ProblemError, match="the positive class 'x' is none of the probes'; expected one of class 0"
    ):
        probes.scores(positive="x")


def test_a_threshold_of_another_split():
    probes = made(rows=2_400, sharpness=(1, 2, 3))
    scores = probes.scores(["tpr_at_fpr_0.01"], negatives="val", splits=["test"])
    own = probes.scores(["tpr_at_fpr_0.01"], splits=["test"])
    assert values(scores, layer="c", kind="task")[0].value != values(own, layer="c", kind="task")[0].value
    with pytest.raises(
        ProblemError, match="there is no split 'control'; the probes were scored on train, val, test"
    ):
        probes.scores(["tpr_at_fpr_0.01"], negatives="control")
    with pytest.raises(
        ProblemError, match="the file has no predictions of split 'train' for layer 'a', so no threshold"
    ):
        probes.scores(["tpr_at_fpr_0.01"], negatives="train")
    assert probes.scores("error", splits="test")[0].metric == "error"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"metrics": ["auc"]}, "there is no metric 'auc'"),
        ({"metrics": ["top5_accuracy"]}, "top5_accuracy of 2 classes is 1 whatever a probe says"),
        ({"splits": ["dev"]}, "there is no split 'dev'"),
    ],
)
def test_what_there_is_not_is_refused(asked, why):
    with pytest.raises(ProblemError, match=why):
        made().scores(**asked)


def test_parts_are_classes_cells_and_bins():
    scores = made(classes=3, groups=50).scores(["accuracy", "confusion", "ece_15"], parts=True, splits=["test"])
    of_c = values(scores, layer="c", kind="task")
    classes = values(of_c, metric="accuracy")
    assert [score.part for score in classes] == ["", "class 0", "class 1", "class 2"]
    assert sum(score.rows for score in classes[1:]) == classes[0].rows == 200
    cells = values(of_c, metric="confusion")
    assert [score.part for score in cells][:2] == ["class 0>class 0", "class 0>class 1"]
    assert sum(score.value * score.rows for score in cells) == pytest.approx(200)
    bins = [score for score in values(of_c, metric="ece_15") if score.part]
    assert sum(score.rows for score in bins) == 200
    assert all(score.interval in ("groups", "t_groups", "exact_groups") for score in [*classes, *cells, *bins])
    assert all(score.low <= score.value <= score.high for score in [*classes, *cells, *bins])


# as a table


def test_rows_are_a_light_sequence_in_the_columns_of_scores():
    scores = made().scores()
    assert list(scores.to_dicts()[0]) == list(COLUMNS)
    assert scores[0] == next(iter(scores))
    assert len(scores[2:5]) == 3
    assert repr(scores).startswith("<ScoreRows: ")


def test_pandas_arrow_and_csv_say_the_same():
    scores = made(groups=40).scores()
    frame, table = scores.to_pandas(), scores.to_arrow()
    assert list(frame.columns) == table.column_names == list(COLUMNS)
    lines = list(csv.DictReader(io.StringIO(scores.to_csv())))
    assert len(lines) == len(frame) == table.num_rows == len(scores)
    for score, line, value, low in zip(scores, lines, frame["value"], table["low"].to_pylist(), strict=True):
        assert float(line["value"]) == value == score.value
        assert (line["low"] == "") == math.isnan(low) == math.isnan(score.low)
        assert line["groups"] == ("" if score.groups is None else str(score.groups))
    assert made(layers=("a",))[("a", "t", 0)].layer == "a"
    assert Probes([]).scores().to_pandas().columns.tolist() == list(COLUMNS)


@pytest.mark.parametrize(("package", "door"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
def test_without_pandas_or_arrow_the_error_says_what_to_do(package, door, monkeypatch):
    scores = made().scores()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ProblemError, match=f"{package} is not installed .*; install it, or take"):
        getattr(scores, door)()


# kept in the file


@pytest.mark.parametrize("groups", [None, 12, 40])
@pytest.mark.parametrize("classes", [2, 3])
def test_kept_scores_are_the_same_without_a_look_at_the_predictions(classes, groups, tmp_path, monkeypatch):
    probes = made(classes=classes, groups=groups)
    expected = repr(probes.scores().to_dicts()), probes.scores().notes
    keep_scores(probes).save(tmp_path / "p.h5")
    loaded = solvers.load(tmp_path / "p.h5")
    monkeypatch.setattr("solvers.probing.scores.metric_scores.interval_of", None)  # not called
    found = loaded.scores()
    assert (repr(found.to_dicts()), found.notes) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"draws": 10},
        {"by_split": {"test": {"error": [0.0, 0.0, 0.0, "wilson", None, 199]}}},
        {"by_split": {"test": {"error": ["x", 0.0, 0.0, "wilson", None, 200]}}},
        {"by_split": {"test": {"error": [10**400, 0.0, 0.0, "wilson", None, 200]}}},
        {"by_split": {"test": {"error": [0.1, float("nan"), float("inf"), "wilson", None, 200]}}},
        {"by_split": {"test": {"error": [0.0, 0.0]}}},
        {"by_split": [1]},
    ],
)
def test_kept_scores_of_another_way_or_of_other_rows_are_worked_out_anew(change):
    probes = keep_scores(made())
    expected = repr(made().scores().to_dicts())
    other = probes.changed(
        lambda probe: replace(probe, metrics={"scores": {**probe.metrics["scores"], **change}})
    )
    assert repr(other.scores().to_dicts()) == expected


def test_a_fit_keeps_its_scores(layers, labels):
    splits = np.array(["train"] * 200 + ["test"] * 100)
    fitted = solvers.fit_layers(layers, labels, splits=splits, C=0.1, engine="numpy")
    assert {tuple(probe.metrics["scores"]["by_split"]) for probe in fitted.values()} == {("test",)}
    assert fitted.scores()[0].interval == ""
