"""`probe fit` says on which rows C was chosen, and takes splits, groups and labels as people have them."""

import csv
import json

import numpy as np
import pytest

ROWS = 240
ALL = "240 rows of `train`"
OF_9 = "chosen of 9 values from 0.0001 to 10000 by cross-entropy on"
TOKENS = (
    "import numpy as np\n"
    "def run(batch):\n"
    "    return {'h': np.stack([batch['input_ids'], batch['input_ids'] % 3], -1).astype('float32')}\n"
    "ids = np.random.default_rng(0).integers(0, 50, size=(40, 3))\n"
    "labels = {'y': np.arange(40) % 2, 'speaker': np.arange(40) // 4}\n"
    "data = [({'input_ids': ids, 'attention_mask': np.ones_like(ids)}, labels)]\n"
)
"""Forty examples of three tokens."""


@pytest.fixture
def acts(run, folder):
    """`s.acts`: rows without a split, the targets `y`, `fold` and `pair`; `l.csv`, the same by id in another order."""
    (folder / "m.py").write_text("def run(x):\n    return {'h': x}\n")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, 6)).astype("float32")
    y = (x[:, 0] + generator.normal(size=ROWS) > 0).astype(int)
    fold = np.array([["train", "train", "validation", "test"][row // 4 % 4] for row in range(ROWS)])
    np.savez("x.npz", x=x, y=y, fold=fold, pair=np.arange(ROWS) // 4, half=np.arange(ROWS) % 2)
    with open("l.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "y", "fold", "pair"])
        table.writerows(
            [row, "NA" if row % 10 == 0 else y[row], fold[row], row // 4] for row in generator.permutation(ROWS)
        )
    targets = " ".join(f"--target {name}=x.npz:{name}" for name in ("y", "fold", "pair", "half"))
    run(f"actstore dump m.py:run --data x.npz:x {targets} --layers h -o s.acts")
    return "s.acts"


def fitted(run, line, name="p.h5"):
    """The lines after the first but those on classes, and the probe."""
    lines = run(f"probe fit {line} --overwrite -o {name}").stdout.splitlines()
    return [line for line in lines[1:] if not line.startswith("classes of ")], next(iter(solvers_of(name)))


def solvers_of(name):
    import solvers

    return solvers.load(name).values()


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (
            "",
            [
                f"C of y: {OF_9} 5 folds of {ALL}; then fitted on all of `train`",
                "rows: train 240",
            ],
        ),
        (
            "--folds 3 --group-by pair",
            [
                f"C of y: {OF_9} 3 folds of {ALL} in 60 groups, none divided; then fitted on all of `train`",
                "rows: train 240",
            ],
        ),
        (
            "--group-by half",
            [
                f"C of y: {OF_9} 2 folds of {ALL} in 2 groups, none divided, so not 5 folds; then fitted on all of "
                "`train`",
                "rows: train 240",
            ],
        ),
        (
            "--holdout 0.1 --group-by half",
            [
                f"C of y: {OF_9} 120 rows set aside from `train` (shown as `val`, not trained on), 50% of it in "
                "2 groups, none divided, so not 10%",
                "rows: train 120, val 120",
            ],
        ),
        (
            "--split-by fold",
            [
                f"C of y: {OF_9} 60 rows of `val` (called `validation`)",
                "rows: train 120, val 60, test 60",
            ],
        ),
        (
            "--split-by fold --split-as val=test",
            [
                f"C of y: {OF_9} 60 rows of `val` (called `test`)",
                "rows: train 120, val 60, validation 60",
            ],
        ),
        ("--C 1", ["rows: train 240"]),
    ],
)
def test_it_is_said_how_c_was_chosen_and_every_split_is_named(run, acts, options, lines):
    said, probe = fitted(run, f"{acts} --target y {options}")
    assert said == lines
    assert probe.proof.chosen["how"] in {"folds", "set aside", "split", "given"}


def test_labels_of_a_file_go_to_the_rows_of_its_ids(run, acts):
    lines, joined = fitted(run, f"{acts} --target z=l.csv:y --ignore-label NA --C 1", "a.h5")
    assert lines == ["rows: train 216; 24 have no label"]
    stored = np.load("x.npz")["y"]
    masked = np.where(np.arange(ROWS) % 10 == 0, -100, stored)
    np.save("by_place.npy", masked)
    _, placed = fitted(run, f"{acts} --target z=by_place.npy --ignore-label -100 --C 1", "b.h5")
    assert joined.error == placed.error
    assert np.array_equal(joined.weights, placed.weights)


def test_a_mark_among_the_labels_is_warned_of(run, acts):
    result = run(f"probe fit {acts} --target z=l.csv:y --C 1 -o p.h5")
    assert "target 'z' has the class 'NA' (24 rows), which looks like a mark for 'no label'" in result.stderr


@pytest.mark.parametrize(
    "columns", ["--split-by l.csv:fold --group-by l.csv:pair", "--split-by fold --group-by pair"]
)
def test_splits_and_groups_of_a_file_are_joined_too(run, acts, columns):
    lines, by_file = fitted(run, f"{acts} --target z=l.csv:y --ignore-label NA {columns}", "a.h5")
    assert lines == [
        f"C of z: {OF_9} 54 rows of `val` (called `validation`)",
        "rows: train 108, val 54, test 54; 24 have no label",
    ]
    assert by_file.rows == {"train": 108, "val": 54, "test": 54}


def test_columns_of_the_file_of_a_target_have_their_own_names(run, acts, folder):
    (folder / "m2.csv").write_text((folder / "l.csv").read_text().replace("fold", "part"))
    lines, _ = fitted(run, f"{acts} --target z=m2.csv:y --ignore-label NA --split-by part")
    assert lines[1] == "rows: train 108, val 54, test 54; 24 have no label"


def test_features_of_ones_own(run, acts):
    data = "x.npz:x --target y=x.npz:y"
    lines, probe = fitted(
        run, f"{data} --target fold=x.npz:fold --target pair=x.npz:pair --split-by fold --group-by pair"
    )
    assert lines == [
        f"C of y: {OF_9} 60 rows of `val` (called `validation`)",
        "rows: train 120, val 60, test 60",
    ]
    assert probe.target == "y"
    again, other = fitted(run, f"{data} --split-by x.npz:fold --group-by x.npz:pair", "b.h5")
    assert again == lines
    assert np.array_equal(probe.weights, other.weights)


def test_groups_that_straddle_splits_are_warned_of(run, acts):
    result = run(f"probe fit {acts} --target y --split-by fold --group-by half --C 1 -o p.h5")
    assert "groups of training rows have rows in other splits, too (2 in `val`, 2 in `test`)" in result.stderr
    assert run(f"probe fit {acts} --target y --split-by fold --group-by pair --C 1 -o q.h5").stderr == ""


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--split-as val", 2, "--split-as 'val' is not NAME=NAME"),
        ("--split-as val=a --split-as val=b", 2, "--split-as val was given twice"),
        ("--split-by fold --split-as val=tests", 1, "did you mean 'test'"),
        ("--split-by fild", 1, "has no target 'fild' and no --target file such a column; the nearest: 'fold'"),
        ("--split-by fold --folds 3", 1, "there is a `val` split of 60 rows to choose it by"),
        ("--folds 3 --holdout 0.2", 1, "both folds and holdout were given"),
        ("--holdout 1.5", 2, "--holdout"),
        ("--group-by l2.csv:pair", 1, "no file"),
    ],
)
def test_what_does_not_fit_is_refused(refused, acts, options, code, message):
    assert message in refused(f"probe fit {acts} --target y {options} -o p.h5", code=code)


def test_a_dump_that_named_groups_is_fitted_by_them(run, folder):
    """Of tokens by the wider groups, which are a target; of examples by the groups of the store."""
    (folder / "t.py").write_text(TOKENS)
    run("actstore dump t.py:run --data t.py:data --row token --group-by speaker --layers h -o t.acts")
    lines, _ = fitted(run, "t.acts --target y --C 0.1,1")
    assert "5 folds of 120 rows of `train` in 10 groups, none divided" in lines[0]


def test_groups_that_divide_examples_are_refused(run, refused, folder):
    (folder / "t.py").write_text(TOKENS)
    run("actstore dump t.py:run --data t.py:data --row token --layers h -o t.acts")
    np.save(folder / "tag.npy", np.arange(120) % 3)
    said = refused("probe fit t.acts --target y --group-by tag.npy -o p.h5")
    assert "puts rows of example '0' into several groups; the tokens of an example stay together" in said


def test_the_choice_is_kept_in_the_file(run, acts):
    _, probe = fitted(run, f"{acts} --target y --C 0.1,1")
    chosen = {"how": "folds", "folds": 5, "asked": 5, "rows": 240, "of": 240, "at_end": "highest"}
    assert json.loads(json.dumps(probe.proof.chosen)) == chosen


@pytest.fixture
def two(run, folder):
    """`two.acts` and `other.acts`: two layers of the same rows, which tell the classes apart together alone."""
    (folder / "two.py").write_text(
        "def run(x):\n    return {'a': x[:, :3].reshape(-1, 3, 1), 'b.c': x[:, 3:]}\n"
    )
    for name, seed in (("two", 0), ("other", 1)):
        x = np.random.default_rng(seed).normal(size=(200, 8)).astype("float32")
        np.savez(f"{name}.npz", x=x, y=(x[:, 0] + x[:, 7] > 0).astype(int))
        run(f"actstore dump two.py:run --data {name}.npz:x --target y={name}.npz:y --layers ** -o {name}.acts")
    return "two.acts"


def test_layers_side_by_side(run, two):
    lines, _ = fitted(run, f"{two} --target y --concat a,b.c --C 1 --gap 1e-9", "j.h5")
    *alone, joined = solvers_of("j.h5")
    assert [probe.layer for probe in alone] == ["a", "b.c"]
    assert lines == ["rows: train 200"]
    assert (joined.layer, joined.where.layers, joined.shape) == ("a+b.c", ("a", "b.c"), (8,))
    _, by_hand = fitted(run, "two.npz:x --target y=two.npz:y --C 1 --gap 1e-9", "h.h5")
    np.testing.assert_allclose(
        joined.weights, by_hand.weights, atol=1e-3
    )  # both within 1e-9 nats of one optimum
    assert joined.error["train"] < 0.05
    run(f"probe fit {two} --target y --layers a --concat a,b.c --C 1 -o both.h5")
    assert [probe.layer for probe in solvers_of("both.h5")] == ["a", "a+b.c"]


def test_probes_of_joined_layers_are_scored_on_another_store(run, evaluated, two):
    run(f"probe fit {two} --target y --concat a,b.c --C 1 -o j.h5")
    *_, row = evaluated("j.h5 other.acts")
    assert row["value"] < 0.1
    assert row["layer"] == "a+b.c"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--concat a", 2, "two layers or more"),
        ("--concat a,a", 2, "each once"),
        ("--concat a,b", 1, "'b'"),
        ("--concat a,b.c --concat a,b.c", 2, "which is there already"),
    ],
)
def test_what_can_not_be_joined_is_refused(refused, two, options, code, message):
    assert message in refused(f"probe fit {two} --target y {options} -o j.h5", code=code)


def test_labels_that_a_probe_ignored_are_ignored_where_it_is_scored(run, evaluated, folder):
    (folder / "m.py").write_text("def run(x):\n    return {'h': x}\n")
    x = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
    y = np.where(np.arange(90) % 3 == 0, -100, (x[:, 0] > 0).astype(int))
    np.savez("x.npz", x=x, y=y)
    run("actstore dump m.py:run --data x.npz:x --target y=x.npz:y --layers h -o s.acts")
    _, probe = fitted(run, "s.acts --target y --ignore-label -100 --C 1")
    assert probe.classes.tolist() == [0, 1]
    (row,) = evaluated("p.h5 s.acts")
    assert (row["rows"], row["value"]) == (60, probe.error["train"])
