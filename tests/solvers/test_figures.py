"""Figures as functions of scores: what each kind says, and what it refuses to say."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from figure_scores import (
    NOTHING,
    ONE,
    PLAIN,
    REAL_NAMES,
    along_c,
    by_class,
    by_depth,
    everything,
    found_in,
    learned_from,
    records_of,
    score,
    texts_of,
)

import solvers
from solvers.errors import FigureError
from solvers.figures import kinds
from solvers.figures.asked import KINDS, asked
from solvers.figures.chart import cleaned
from solvers.figures.figure import description
from solvers.figures.kinds.confusion import pairs_of
from solvers.figures.parts.scale import number, scale_of
from solvers.figures.rows import Shown

LAYERS = ["input", "conv1", "conv2", "fc"]


def draw(rows, kind="depth", **options):
    return description(rows, asked(kind, **options))


def panels(spec):
    return spec.get("concat", [spec])


def test_the_folder_is_the_registry():
    files = {path.stem for path in Path(kinds.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", ["column", "page", "slide"])
def test_every_kind_at_every_size_is_plain_json_with_a_title_that_says_what(kind, size):
    spec = draw(everything(LAYERS)[kind], kind, size=size)
    json.dumps(cleaned(spec), allow_nan=False)
    told = texts_of(spec)
    assert "digit" in told
    assert "3f2a91bc" in told
    assert "C 0.0" in told
    assert "rows:" in told


def test_steps_are_panels_and_never_one_zigzag():
    spec = draw(by_depth(LAYERS, (0, 500)))
    assert [panel["title"]["text"] for panel in panels(spec)] == ["step 0", "step 500"]
    over = draw(by_depth(LAYERS, (0, 500)), overlay="step")
    assert len(panels(over)) == 1
    assert {record["step"] for record in records_of(over) if "step" in record} == {"step 0", "step 500"}


def test_what_differs_without_a_place_is_refused():
    twice = [*by_depth(LAYERS), Shown(score(layer="fc", value=0.5, C=1.0), "probes")]
    with pytest.raises(FigureError, match=r"two scores are of layer 'fc'.* differ in C, value"):
        draw(twice)
    two_seeds = by_depth(LAYERS) + [Shown(replace(row.score, seed=1), row.file) for row in by_depth(LAYERS)]
    assert [panel["title"]["text"] for panel in panels(draw(two_seeds))] == ["seed 0", "seed 1"]


def test_files_of_one_network_are_merged_in_its_order():
    rows = by_depth(["a", "c"], file="one") + by_depth(["a", "b", "c"], file="two")
    spec = draw(rows, overlay="file")
    (domain,) = {tuple(axis["domain"]) for axis in found_in(spec, "scale") if axis.get("type") == "point"}
    assert domain == ("a", "b", "c")


def test_an_axis_is_linear_unless_asked_and_a_logarithm_never_goes_to_zero():
    rows = by_depth(LAYERS)
    rows[-2] = Shown(replace(rows[-2].score, value=0.0, low=0.0, high=0.01), "probes")
    assert "log" not in {scale.get("type") for scale in found_in(draw(rows), "scale")}
    spec = draw(rows, scale="log")
    logs = [scale for scale in found_in(spec, "scale") if scale.get("type") == "log"]
    assert logs
    low = {scale["domain"][0] for scale in logs}
    assert min(low) > 0
    below = [record for record in records_of(spec) if record.get("below")]
    assert below
    assert {record["value"] for record in below} == low
    assert "1 at 0, below the axis" in texts_of(spec)
    with pytest.raises(FigureError, match=r"logarithmic scale.*some of which are below 0"):
        draw([Shown(score(value=-0.1), "p"), Shown(score(value=0.1, layer="b"), "p")], scale="log")
    with pytest.raises(FigureError, match="none of which is above 0"):
        draw([Shown(score(value=0.0), "p")], scale="log")


def test_limits_hide_nothing_unsaid():
    spec = draw(by_depth(LAYERS), ylim=(0, 0.3))
    hidden = sum(row.score.value > 0.3 for row in by_depth(LAYERS) if row.score.kind == "task")
    assert hidden
    assert f"{hidden} outside the limits" in texts_of(spec)
    assert "the model 90%, outside the axis" in texts_of(
        draw(by_depth(LAYERS), ylim=(0, 0.3), references=(0.9, "the model"))
    )


def test_a_layer_without_a_value_breaks_the_line_and_is_counted():
    rows = by_depth(LAYERS)
    rows[4] = Shown(replace(rows[4].score, value=NOTHING, **PLAIN), "probes")
    spec = draw(rows)
    assert "1 without a value" in texts_of(spec)
    line = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "line")
    assert [record["value"] for record in line["data"]["values"] if record["split"] == "test"].count(None) == 1
    with pytest.raises(FigureError, match="none of the 1 scores of error has a value"):
        draw([Shown(score(value=NOTHING, **PLAIN), "p")])


def test_a_probe_that_is_not_proven_is_hollow():
    rows = [
        Shown(replace(row.score, status="gap_missed") if row.score.layer == "fc" else row.score, "p")
        for row in by_depth(LAYERS)
    ]
    spec = draw(rows)
    assert "hollow: 1 not proven optimal (gap_missed)" in texts_of(spec)
    hollow = [layer for layer in spec["layer"] if layer["mark"].get("fill") == "white"]
    assert {record["layer name"] for layer in hollow for record in layer["data"]["values"]} == {"fc"}
    assert "hollow" not in texts_of(draw(by_depth(LAYERS)))


def test_bands_only_where_there_are_intervals():
    assert "95% intervals" in texts_of(draw(by_depth(LAYERS)))
    bare = [Shown(replace(row.score, **PLAIN), row.file) for row in by_depth(LAYERS)]
    assert "interval" not in texts_of(draw(bare))
    assert "area" not in {mark.get("type") for mark in found_in(draw(bare), "mark")}


def test_majority_is_a_line_or_said_to_be_above():
    assert "majority 90%" in {record.get("text") for record in records_of(draw(by_depth(LAYERS)))}
    good = [
        Shown(
            replace(row.score, value=row.score.value / 30, **PLAIN) if row.score.kind == "task" else row.score,
            "p",
        )
        for row in by_depth(LAYERS)
    ]
    spec = draw(good)
    assert "majority 90%, above the axis" in texts_of(spec)
    assert max(scale["domain"][1] for scale in found_in(spec, "scale") if scale.get("type") == "linear") < 0.1


def test_what_is_asked_for_and_not_there_is_named():
    rows = by_depth(LAYERS)
    with pytest.raises(FigureError, match="no score of target 'digits'; did you mean 'digit'"):
        draw(rows, targets="digits")
    with pytest.raises(FigureError, match="no score of metric 'auc'; there is error"):
        draw(rows, metric="auc")
    with pytest.raises(FigureError, match="no score of step 7; there is 0"):
        draw(rows, steps=7)
    with pytest.raises(FigureError, match="there is nothing to plot"):
        draw([])
    with pytest.raises(FigureError, match=r"would have 30 panels .30 steps."):
        draw(by_depth(LAYERS, range(30)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "deep"}, "kind is 'deep'; expected one of depth"),
        ({"metrics": "error"}, "no option 'metrics'; did you mean 'metric'"),
        ({"ylim": (1, 0)}, "the smaller one first"),
        ({"ylim": 3}, "expected two numbers"),
        ({"ylim": (0, 1), "scale": "log"}, "begin above 0"),
        ({"references": "far"}, "expected a number"),
        ({"references": 0.0, "scale": "log"}, "cannot be drawn on a log scale"),
        ({"references": [0.1] * 9}, "leave some out, 8 fit"),
        ({"size": "poster"}, "column, page, slide"),
        ({"overlay": "colour"}, "split, file, target"),
        ({"kind": "steps", "references": 0.1}, "references means nothing to the kind 'steps'"),
        ({"kind": "graph", "overlay": "split"}, "overlay means nothing"),
        ({"palette": "red-blue"}, "palette means nothing to the kind 'depth'"),
        ({"kind": "confusion", "metric": "error"}, "metric means nothing"),
        ({"edges": [("a", "b")]}, "edges means nothing"),
    ],
)
def test_an_option_that_there_is_not_is_refused(options, said):
    with pytest.raises(FigureError, match=said):
        asked(**options)


def test_a_map_of_classes_takes_no_lines():
    with pytest.raises(FigureError, match="which has no lines"):
        draw(by_class(["a", "b"], ["cat"]), "classes", references=0.5)
    assert draw(by_class(["a"], ["cat"]), "classes", references=0.5)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("path", "no path to plot"),
        ("classes", "no classes to plot"),
        ("confusion", "no confusion to plot"),
        ("calibration", "no calibration to plot"),
        ("compare", "nothing to compare"),
    ],
)
def test_a_kind_without_its_scores_says_what_is_missing(kind, said):
    with pytest.raises(FigureError, match=said):
        draw(by_depth(LAYERS), kind)
    untold = [Shown(replace(row.score, features=None), row.file) for row in by_depth(LAYERS)]
    with pytest.raises(FigureError, match="no width to plot"):
        draw(untold, "width")


def test_curves_by_training_rows_join_the_fits_of_several_targets_or_files():
    for more in ({"target": "n2000"}, {"file": "of-2000"}):
        spec = draw(
            [*learned_from(2000, **more), *learned_from(10), *learned_from(100, target="n100", file="c")],
            "rows",
        )
        assert ["10", "100", "2,000"] in found_in(spec, "domain")
        points = {
            (point["split"], point["place"]): point["value"] for point in records_of(spec) if "place" in point
        }
        assert points["train", "2,000"] == 0.2
        assert points["test", "2,000"] == 0.5 - 1 / 2000
        assert len(points) == 6
        assert "test\u00a0360" in json.dumps(
            spec, ensure_ascii=False
        )  # where they are judged, not learned from
    split = draw(
        [*learned_from(10), *learned_from(100, target="other")], "rows", splits="test", overlay="target"
    )
    assert {point["target"] for point in records_of(split) if "target" in point} == {"digit", "other"}


def test_two_fits_on_as_many_rows_are_not_one_curve():
    with pytest.raises(FigureError, match="a place of a figure has one value"):
        draw([*learned_from(10), *learned_from(10, file="other")], "rows")


def test_probes_of_which_nothing_says_how_much_they_learned_from_are_counted():
    lone = [row for row in learned_from(100, target="other") if row.score.split == "test"]
    with pytest.raises(FigureError, match="no number of training rows to plot"):
        draw(lone, "rows")
    assert "how many rows they learned from: 1 fits" in json.dumps(draw([*learned_from(10), *lone], "rows"))


def test_the_ring_is_around_the_chosen_c_alone():
    spec = draw(along_c(["fc"]), "path")
    (rings,) = [layer for layer in spec["layer"] if layer["mark"].get("size", 0) > 100]
    assert {record["C"] for record in rings["data"]["values"]} == {"0.01"}
    assert {record["split"] for record in rings["data"]["values"]} == {"train", "val"}


def test_an_infinite_c_has_a_place():
    spec = draw(along_c(["fc"], (0.01, 1.0, math.inf)), "path")
    assert ["0.01", "1", "inf"] in found_in(spec, "domain")


def test_the_part_of_a_confusion_is_read_one_way_or_refused():
    assert pairs_of({"a>b", "a>a", "b>a"})["a>b"] == ("a", "b")
    names = ["x>y", "z", ""]
    parts = {f"{true}>{said}": (true, said) for true in names for said in names}
    assert pairs_of(set(parts)) == parts
    assert pairs_of({"x>y>x>y", "x>y>never"})["x>y>never"] == ("x>y", "never")
    for unclear in (["a", "a>a"], ["a", "b", "a>b", "b>a"]):
        with pytest.raises(FigureError, match="can be read in 2 ways"):
            pairs_of({f"{true}>{said}" for true in unclear for said in unclear})
    with pytest.raises(FigureError, match="can be read in 0 ways"):
        pairs_of({"nothing"})


def test_cells_of_a_confusion_are_where_their_classes_are():
    spec = draw(by_class(["fc"], ["cat", "dog", "owl"]), "confusion")
    cells = {(record["y"], record["x"]): record["value"] for record in records_of(spec) if "y" in record}
    assert cells["cat", "cat"] == 0.7
    assert cells["cat", "dog"] == pytest.approx(0.15)
    assert len(cells) == 9


def test_ticks_are_inside_and_labels_never_over_each_other_by_our_own_measure():
    rows = [Shown(score(value=value), "p") for value in (0.0123, 0.87)]
    for scale in ("linear", "log"):
        found = scale_of(rows, asked(scale=scale), "error")
        assert all(found.low <= tick <= found.high for tick in found.ticks)
        assert 3 <= len(found.ticks) <= 10


def test_the_python_door_draws_fitted_probes():
    import numpy as np

    x, y = np.random.default_rng(0).normal(size=(80, 4)), np.arange(80) % 2
    probes = solvers.fit_layers({"a": x, "b": x * 2}, y, C=[0.1, 1.0])
    for kind in ("depth", "graph", "path", "width", "rows", "steps"):
        told = json.dumps(probes.plot(kind).to_dict())
        assert "b" in told
    with pytest.raises(FigureError, match="no option 'metrik'; did you mean 'metric'"):
        probes.plot(metrik="error")


def test_129_names_and_a_map_of_128_by_30_are_drawn_in_seconds():
    from solvers.figures.chart import drawn

    for rows, kind in (
        (by_depth(REAL_NAMES), "depth"),
        (by_depth(REAL_NAMES[:128], range(0, 3000, 100)), "steps"),
    ):
        began = time.monotonic()
        drawn(draw(rows, kind), ".svg")
        assert time.monotonic() - began < 10


def test_one_score_is_enough():
    for kind in ("depth", "steps", "graph", "width"):
        assert draw([Shown(ONE, "")], kind)


def test_what_is_not_100_percent_is_never_written_so():
    assert number(0.99972, "share") == "99.97%"
    assert number(1 - 1e-9, "share") == "99.9999999%"
    assert number(1.0, "share") == "100%"
    assert number(0.00004, "share") == "0.004%"
    rows = by_class(["fc"], ["cat", "dog"])
    near = [
        Shown(replace(row.score, value={0.7: 0.999, 0.3: 0.001}.get(row.score.value, row.score.value)), "p")
        for row in rows
    ]
    texts = {record.get("text") for record in records_of(draw(near, "confusion"))}
    assert texts >= {">99", "<1"}
    assert not texts & {"0", "100"}


def test_lines_of_several_majorities_say_whose_they_are():
    rows = [*by_depth(LAYERS), *by_depth(LAYERS, target="parity")]
    rows = [
        Shown(replace(row.score, value=0.5), row.file)
        if (row.score.kind, row.score.target) == ("majority", "parity")
        else row
        for row in rows
    ]
    texts = {record.get("text") for record in records_of(draw(rows, overlay="target"))}
    assert texts >= {"majority digit 90%", "majority parity 50%"}


def test_a_store_of_several_steps_is_one_store():
    rows = [
        Shown(replace(row.score, store=f"store of step {row.score.step}"), row.file)
        for row in by_depth(LAYERS, (0, 9, 80))
    ]
    assert "(store store of step 0 at step 0 to store of step 80 at step 80)" in texts_of(draw(rows))
    apart = [Shown(replace(row.score, store=f"s{row.file}"), row.file) for row in rows if row.score.step == 0]
    apart += [Shown(replace(row.score, store="other"), "other") for row in apart]
    assert "probes, other (store sprobes, other)" in texts_of(draw(apart))


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_are_told_of_where_they_are_drawn_and_nowhere_else(kind):
    spec = draw(everything(LAYERS)[kind], kind)
    told = "95% intervals" in texts_of(spec)
    ends = {name for name in ("low", "high") for record in records_of(spec) if record.get(name) is not None}
    assert told == (ends == {"low", "high"})
    assert not (told and kind in ("steps", "confusion", "graph"))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_groups_that_were_trained_on_are_told_of_under_the_title(kind):
    rows = everything(LAYERS)[kind]
    told = "not new to the probe: groups of training rows have rows in "
    assert told not in texts_of(draw(rows, kind))
    assert told in texts_of(draw([replace(row, divided=True) for row in rows], kind))
