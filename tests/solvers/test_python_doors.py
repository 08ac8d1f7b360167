"""What Python users see of probes: a table, short keys, names that are nearest, directions, progress."""

import copy
import inspect
import io
import pickle
import sys
import time

import numpy as np
import pandas as pd
import pytest

import solvers
from cli.probe.fit import fit as fit_command
from solvers.printable.progress import shown
from solvers.printable.tables import Column, text_table

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6)) * [1, 10, 1, 1, 0.1, 1] + [0, 100, 0, 0, 0, 5]
Y = np.where(X[:, 0] + RNG.normal(size=120) * 0.5 > 0, "right", "left")
THREE = np.digitize(X[:, 0], [-0.5, 0.5]) * 10
SPLITS = np.array(["train"] * 80 + ["val"] * 20 + ["test"] * 20)
LONG = "encoder.block.{}.attention.output.dense.LayerNorm.residual.stream.of.the.network"
NOT_IN_FIT_LAYERS = {
    "activations": "layers, such as store.layers",
    "patterns": "layers=store.layers.select(...)",
    "targets": "labels, such as store.targets",
    "c_values": "C",
    "c_grid": "C=np.geomspace(...)",
    "concat": "solvers.ConcatFeatures(a, b, names=...) as a layer",
    "split_by": "splits=store.targets[...]",
    "group_by": "groups=store.targets[...]",
    "output": "probes.save",
    "help": "help(solvers.fit_layers)",
    "exclude_layers": "store.layers.select(exclude=...)",
    "no_predictions": "predictions=False",
    "train_predictions": "predictions='all'",
    "json": "fit_layers gives the probes",
    "debug": "an error has its traceback",
}


@pytest.fixture(scope="module")
def probes():
    return solvers.fit_layers({"a": X, "b.c": X[:, :3]}, {"side": Y, "third": THREE}, splits=SPLITS, C=[0.1, 1])


@pytest.fixture(scope="module")
def single():
    return solvers.fit_layers({"a": X, "b.c": X[:, :3]}, Y, splits=SPLITS, C=1)


def test_every_option_of_probe_fit_is_a_keyword():
    there = set(inspect.signature(solvers.fit_layers).parameters)
    options = {option.name for option in fit_command.params}
    assert options - there - set(NOT_IN_FIT_LAYERS) == set()
    assert set(NOT_IN_FIT_LAYERS) - options <= {"help", "json", "debug"}


@pytest.mark.parametrize(
    ("function", "wrong", "near"),
    [
        ("fit", "c", "C"),
        ("fit", "gap", "gap_nats"),
        ("fit", "sample_weights", "sample_weight"),
        ("fit_layers", "split", "splits"),
        ("fit_layers", "group", "groups"),
        ("fit_layers", "Scale", "scale"),
    ],
)
def test_a_misspelt_keyword_is_answered_with_the_nearest(function, wrong, near):
    message = rf"{function}\(\) got an unexpected setting '{wrong}'; did you mean '{near}'\?"
    with pytest.raises(TypeError, match=message):
        getattr(solvers, function)(X, Y, **{wrong: 1})


def test_an_array_is_one_layer(single):
    for given in (X, X.tolist(), pd.DataFrame(X)):
        if isinstance(given, list):
            with pytest.raises(
                solvers.ProblemError, match=r"layers are a list; expected rows by name, such as"
            ):
                solvers.fit_layers(given, Y, splits=SPLITS, C=1)
            continue
        probe = solvers.fit_layers(given, Y, splits=SPLITS, C=1)["layer"]
        assert probe.error == single["a"].error
    with pytest.raises(
        solvers.ProblemError, match=r"layers are a ndarray of shape \(120,\); expected rows by name"
    ):
        solvers.fit_layers(X[:, 0], Y)


def test_a_row_source_that_has_a_name_is_called_by_it():
    class Layer:
        shape, dtype, name = X.shape, X.dtype, "conv1"

        def __getitem__(self, rows):
            return X[rows]

    assert list(solvers.fit_layers(Layer(), Y, C=1)) == [("conv1", "label", 0)]


# -- keys


def test_a_part_of_a_key_that_names_one_probe_is_enough(probes, single):
    assert single["a"] is single["a", "label"] is single["a", "label", 0] is single["a", 0]
    assert probes["a", "side"] is probes["a", "side", 0]
    assert "a" in probes
    assert ("a", "third") in probes
    assert ("a", "third", 1) not in probes
    assert "c" not in probes
    assert probes.get("c") is None
    assert probes.get("nothing", 3) == 3


MISSES = [
    ("aa", r"there is no probe of layer 'aa'; the nearest: 'a'"),
    ("B.C", r"there is no probe of layer 'B.C'; there are: 'a', 'b.c'"),
    ("a", r"2 probes are called 'a'; say which of these keys: \('a', 'side', 0\), \('a', 'third', 0\)"),
    (("a", "sides"), r"there is no probe of layer 'a' for target 'sides'; the nearest: 'side'"),
    (("a", 7), r"there is no probe of layer 'a' for step 7; there are: 0"),
    (("a", "side", 7), r"there is no probe of layer 'a' for step 7; there are: 0"),
    (None, r"there is no probe of layer None; there are"),
    ((), r"there is no probe of layer \(\); there are"),
]


@pytest.mark.parametrize(("key", "message"), MISSES)
def test_a_key_that_names_no_probe_or_several_is_answered_in_one_line(probes, key, message):
    with pytest.raises(KeyError, match=message) as caught:
        probes[key]
    assert isinstance(caught.value, solvers.UnknownNameError)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_draws_of_columns_have_a_seed_in_their_key():
    drawn = solvers.fit_layers({"a": X}, {"side": Y, "third": THREE}, C=1, random_features=3, seeds=2)
    key = ("a", "side", 0, 1)
    assert key in drawn
    assert drawn[key] is dict(drawn.items())[key]
    assert ("a", "side", 0) in drawn
    assert ("a", "side", 0, 7) not in drawn
    assert ("a", "side", 1) not in drawn
    for part, message in [
        (("a", "side"), "2 probes are called"),
        (("a", "side", 0), "2 probes are called"),
        (("a", "side", 0, 7), "there is no probe of layer 'a' for seed 7; there are: 0, 1"),
        (("a", "side", 5, 1), "there is no probe of layer 'a' for step 5; there are: 0"),
    ]:
        with pytest.raises(KeyError, match=message):
            drawn[part]
    header, *lines = str(drawn).splitlines()
    assert "seed" in header
    assert len(lines) == 4
    assert len(drawn.rows_of("train", "side")) == 120


def test_a_loaded_file_is_asked_for_in_the_same_ways(single, tmp_path):
    single.save(tmp_path / "p.h5")
    loaded = solvers.load(tmp_path / "p.h5")
    assert loaded["a"].error == single["a"].error
    with pytest.raises(KeyError, match=r"there is no probe of layer 'b'; the nearest: 'b\.c'"):
        loaded["b"]


def test_scores_by_split_name_the_nearest_split(single):
    probe = single["a"]
    for scores in (
        probe.error,
        probe.cross_entropy,
        probe.rows,
        probe.majority,
        probe.unseen,
        probe.unlabelled,
    ):
        with pytest.raises(KeyError, match="there is no split 'tests'; the nearest: 'test'"):
            scores["tests"]
        assert scores.get("tests") is None
        assert isinstance(scores, dict)
        assert copy.deepcopy(pickle.loads(pickle.dumps(scores))) == dict(scores)


def test_keys_complete_with_tab(single, probes):
    assert single._ipython_key_completions_()[:2] == ["a", "b.c"]
    assert ("a", "label", 0) in single._ipython_key_completions_()
    assert "a" not in probes._ipython_key_completions_()  # which of two targets?
    with pytest.raises(AttributeError, match=r"has no attribute 'fit_layer'; did you mean 'fit_layers'\?"):
        _ = solvers.fit_layer


# -- tables


def test_print_is_the_table_of_probe_show(probes):
    header, *lines = str(probes).splitlines()
    assert header.split()[:2] == ["layer", "target"]
    assert [line.split()[:2] for line in lines] == [
        ["a", "side"],
        ["a", "third"],
        ["b.c", "side"],
        ["b.c", "third"],
    ]
    assert max(map(len, [header, *lines])) <= 80
    assert "gap (nats)" in header
    assert " C " in header
    for line, probe in zip(lines, probes.values(), strict=True):
        assert f"{probe.gap_nats:.1e}" in line
        assert f"{probe.error['test']:.4f}" in line


def test_a_table_with_long_names_and_many_splits_keeps_c_and_gap_in_80_columns():
    layers = {LONG.format(n): X for n in range(3)}
    text = str(solvers.fit_layers(layers, {"side": Y, "third": THREE}, splits=SPLITS, C=1))
    assert max(map(len, text.splitlines())) <= 80
    assert "gap (nats)" in text
    assert len({line.split()[0] for line in text.splitlines()[1:]}) == 3  # no two layers read the same


def test_names_that_shortening_would_make_one_stay_long():
    names = [f"{end}{'x' * 60}{n}{'y' * 60}{end}" for end in "ab" for n in (1, 2)]
    text = text_table([Column("layer", names, left=True), Column("C", ["1"] * 4)])
    assert all(name in text for name in names)
    names = [f"{'x' * 60}{n}{'y' * 60}" for n in (1, 2)]
    lines = text_table([Column("layer", names, left=True), Column("C", ["1"] * 2)]).splitlines()
    assert [line[:2] + line[-5:] for line in lines[1:]] == ["…xy…  1"] * 2
    assert "xxx1yyy" in lines[1]
    assert "xxx2yyy" in lines[2]


def test_long_tables_say_how_many_rows_they_leave_out():
    text = text_table([Column("n", [str(n) for n in range(450)])])
    assert len(text.splitlines()) == 202
    assert text.endswith("... and 250 more")


def test_hostile_names_are_text_and_failures_are_told():
    layer = "<script>\x1b[31m"
    bad = X.copy()
    bad[3, 0] = np.nan
    probes = solvers.fit_layers({layer: X, "<b>": bad}, {"<i>": Y}, C=1)
    assert "\\x1b[31m" in str(probes)
    assert "\x1b" not in str(probes)
    assert "layer '<b>' has no probe: bad_data" in str(probes)
    html = probes._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;\\x1b[31m" in html
    assert str(solvers.Probes([])) == "no probes"


def test_a_probe_that_missed_its_gap_says_so_in_the_table():
    probes = solvers.fit_layers({"a": X}, Y, C=[1], gap_nats=1e-300)
    assert "gap_missed" in str(probes)
    free = solvers.fit_layers({"a": X[:, 1:]}, RNG.permutation(Y), C=[np.inf])
    assert "unpenalised" in str(free)
    assert "inf" in str(free)


def test_a_fit_is_short():
    fit = solvers.fit(X, Y, C=1)
    assert len(repr(fit)) < 160
    assert repr(fit).startswith("<Fit of 120 rows, 6 features, 2 classes: C=1, loss 0.")
    assert repr(solvers.fit(X, Y, C=[0.1, 1])) == "<FitPath of 2 C from 0.1 to 1: 2 converged>"


def test_fits_by_target_name_the_nearest():
    fits = solvers.fit(X, {"side": Y, "third": THREE})
    assert isinstance(fits, dict)
    with pytest.raises(KeyError, match="there is no target 'sides'; the nearest: 'side'"):
        fits["sides"]


# -- rows


def test_rows_of_a_split_are_those_set_aside(tmp_path):
    big = np.tile(X, (50, 1))
    labels = np.tile(Y, 50)
    labels_with_gaps = np.ma.MaskedArray(labels, mask=np.arange(6000) % 3 == 0)
    probes = solvers.fit_layers({"a": big}, {"y": labels, "z": labels_with_gaps}, C=[0.1, 1], holdout=0.1)
    probes.save(tmp_path / "p.h5")
    for found in (probes, solvers.load(tmp_path / "p.h5")):
        val, train = found.rows_of("val", "y"), found.rows_of("train", "y")
        assert len(val) == 600
        assert sorted([*val, *train]) == list(range(6000))
        assert set(found.rows_of("val", "z") % 3) == {1, 2}
        again = solvers.evaluate(found["a", "y"], big[val], labels[val])
        assert again.error == found["a", "y"].error["val"]
        with pytest.raises(solvers.ProblemError, match="rows of split 'val' differ by target; say which"):
            found.rows_of("val")
        with pytest.raises(KeyError, match="there is no split 'tests'; there are: 'train', 'val'"):
            found.rows_of("tests")
        with pytest.raises(KeyError, match="there is no target 'Y'"):
            found.rows_of("val", "Y")


def test_probes_without_tables_do_not_invent_rows(single):
    bare = solvers.Probes(single.values())
    with pytest.raises(solvers.ProblemError, match="do not say which rows they were fitted on"):
        bare.rows_of("train")


# -- evaluating


def test_probes_are_scored_on_their_own_layers(probes):
    layers, labels = {"a": X, "b.c": X[:, :3]}, {"side": Y, "third": THREE}
    found = solvers.evaluate(probes, layers, labels)
    assert list(found) == list(probes)
    assert found["a", "side"] == found["a", "side", 0]
    with pytest.raises(KeyError, match="2 probes are called 'a'"):
        found["a"]
    for key, score in found.items():
        assert score == solvers.evaluate(probes[key], layers[key[0]], labels[key[1]])
    assert solvers.evaluate(probes["a", "side"], layers, labels) == found["a", "side", 0]


def test_what_cannot_be_scored_says_what_to_give(probes, single):
    for args, error, message in [
        ((probes, X, Y), solvers.ProblemError, "4 probes were given a ndarray; expected rows by layer"),
        (
            (probes, {"a": X, "b.c": X[:, :3]}, Y),
            solvers.ProblemError,
            "of the targets 'side', 'third'; give labels",
        ),
        ((single, {"a": X, "b.d": X}, Y), KeyError, "there is no layer 'b.c'; the nearest: 'b.d'"),
        (
            (probes, {"a": X, "b.c": X[:, :3]}, {"side": Y}),
            KeyError,
            "there is no target 'third'; there are: 'side'",
        ),
    ]:
        with pytest.raises(error, match=message):
            solvers.evaluate(*args)


def test_probes_of_several_steps_need_rows_of_each_step():
    one, two = (solvers.fit_layers({"a": X * step}, Y, C=1, step=step) for step in (1, 2))
    probes = one | two
    with pytest.raises(
        solvers.ProblemError, match=r"the probes are of the steps 1, 2; give rows by \(layer, step\)"
    ):
        solvers.evaluate(probes, {"a": X}, Y)
    found = solvers.evaluate(probes, {("a", 1): X, ("a", 2): 2 * X}, Y)
    assert {key: score.error for key, score in found.items()} == {
        key: probe.error["train"] for key, probe in probes.items()
    }
    assert probes["a", 2].step == 2
    with pytest.raises(KeyError, match="2 probes are called 'a'"):
        probes["a"]


def test_slices_and_joined_layers_are_scored_on_the_layers_that_they_are_of():
    sliced = solvers.fit_layers({"a": X}, Y, C=1, split_features=2)
    assert {key[0]: score.error for key, score in solvers.evaluate(sliced, {"a": X}, Y).items()} == {
        name: sliced[name].error["train"] for name in ("a@0", "a@1")
    }
    joined = solvers.fit_layers({"a+b": solvers.ConcatFeatures(X, X**2, names=("a", "b"))}, Y, C=1)
    found = solvers.evaluate(joined, {"a": X, "b": X**2}, Y)
    assert found["a+b"].error == joined["a+b"].error["train"]


# -- directions


def gradient(function, at, step=1e-4):
    moves = step * np.eye(len(at))
    return np.array([(function(at + move) - function(at - move)) / (2 * step) for move in moves])


def test_the_raw_direction_of_two_classes_is_the_gradient_of_the_logit(single):
    probe = single["a"]

    def logit(row):
        p = probe.predict_proba(row[None])[0]
        return np.log(p[1] / p[0])

    np.testing.assert_allclose(probe.direction(), gradient(logit, X[0]), rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(probe.direction(label="right"), probe.direction())
    np.testing.assert_array_equal(probe.direction(label="left"), -probe.direction())


def test_the_raw_direction_of_a_class_is_the_gradient_of_its_logit_minus_the_mean(probes):
    probe = probes["a", "third"]
    for place, label in enumerate(probe.classes.tolist()):

        def centred(row, place=place):
            logits = probe.logits(row[None])[0]
            return logits[place] - logits.mean()

        np.testing.assert_allclose(probe.direction()[:, place], gradient(centred, X[0]), rtol=1e-6, atol=1e-8)
        np.testing.assert_array_equal(probe.direction(label=label), probe.direction()[:, place])


def test_the_scaled_direction_is_what_was_penalised(single):
    """Whatever the units of a column, the scaled direction is the same; it is the raw one of standardised columns."""
    units = np.array([1, 1e3, 1, 1e-3, 1, 1])
    other = solvers.fit_layers({"a": X * units}, Y, splits=SPLITS, C=1, gap_nats=1e-12)["a"]
    probe = solvers.fit_layers({"a": X}, Y, splits=SPLITS, C=1, gap_nats=1e-12)["a"]
    np.testing.assert_allclose(other.direction("scaled"), probe.direction("scaled"), rtol=1e-4)
    np.testing.assert_allclose(other.direction() * units, probe.direction(), rtol=1e-4)
    scaled = (X - X[:80].mean(0)) / X[:80].std(0)
    plain = solvers.fit(scaled[:80], Y[:80], C=1, gap_nats=1e-12)
    np.testing.assert_allclose(plain.direction(), probe.direction("scaled"), rtol=1e-4)
    np.testing.assert_array_equal(plain.direction("scaled"), plain.direction())


def test_a_direction_is_as_wide_as_the_layer_where_columns_were_drawn():
    probe = solvers.fit_layers({"a": X}, Y, C=1, random_features=3)["a"]
    for space in ("raw", "scaled"):
        found = probe.direction(space)
        assert found.shape == (6,)
        assert np.flatnonzero(found).tolist() == probe.columns.tolist()


def test_a_direction_that_there_is_not_is_refused(probes):
    for probe in (probes["a", "third"], solvers.fit(X, THREE)):
        with pytest.raises(solvers.ProblemError, match="space is 'row'; expected 'raw'"):
            probe.direction("row")
        with pytest.raises(KeyError, match="there is no class 5; there are: 0, 10, 20"):
            probe.direction(label=5)


# -- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_fit_is_quiet_unless_asked(capsys):
    solvers.fit_layers({"a": X}, Y, C=[0.1, 1])
    solvers.fit(X, Y, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("function", ["fit", "fit_layers"])
def test_progress_is_one_line_of_a_terminal(monkeypatch, function):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("solvers.printable.progress.TERMINAL_APART_S", 0)
    getattr(solvers, function)({"a\x1b": X} if function == "fit_layers" else X, Y, C=[0.1, 1], progress=True)
    shown_text = sys.stderr.getvalue()
    assert "\n" not in shown_text
    assert "\x1b" not in shown_text
    assert "fits" in shown_text
    assert shown_text.endswith(" \r")
    assert ("layer 1 of 1: a\\x1b" in shown_text) == (function == "fit_layers")


def test_progress_elsewhere_is_at_most_a_line_a_second(capsys, monkeypatch):
    now = iter(np.arange(0, 100, 0.4))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    report = shown(True).report
    for done in range(20):
        report(solvers.FitProgress(done, 20, 1e-3, done))
    assert len(capsys.readouterr().err.splitlines()) == 7


def test_progress_of_another_kind_is_refused():
    with pytest.raises(solvers.ProblemError, match="progress is 'yes'; expected True, False, or a function"):
        solvers.fit(X, Y, progress="yes")
