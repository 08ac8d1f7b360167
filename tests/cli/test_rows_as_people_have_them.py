"""Splits, groups and labels as people have them, through the two commands that take them from files."""

import numpy as np
import pytest

import actstore

ROWS = 24
Y = np.arange(ROWS) % 3


@pytest.fixture
def data(folder):
    """A model of texts, `d.csv` with all that is known of them, and `later.csv` in another order."""
    (folder / "m.py").write_text(
        "import numpy as np\ndef run(texts):\n    return {'out': np.array([[len(t), 1] for t in texts], 'float32')}\n"
    )
    labels = ["NA" if label == 2 else "ab"[label] for label in Y]
    rows = [
        f"d{row},{'x' * row} text,{labels[row]},{('train', 'dev')[row % 2]},{row // 4}" for row in range(ROWS)
    ]
    (folder / "d.csv").write_text("\n".join(["id,text,y,fold,speaker", *rows]) + "\n")
    later = [f"d{row},{Y[row]},{row // 4},s{row // 4}" for row in reversed(range(ROWS))]
    (folder / "later.csv").write_text("\n".join(["id,z,template,speaker", *later]) + "\n")
    return "actstore dump m.py:run --data d.csv --layers out -o s.acts"


def test_a_dump_with_splits_and_groups_by_column(run, data):
    result = run(f"{data} --target y=d.csv:y --split-by fold --group-by speaker --ignore-label NA")
    assert result.stderr == ""
    assert "rows by split (fold): dev 12, train 12\n" in result.stdout
    assert "rows by group (speaker): 6 groups\n" in result.stdout
    assert "y: 16 of 24 rows have a label, 2 classes\n" in result.stdout
    table = run("actstore rows s.acts").stdout.splitlines()
    assert table[:4] == ["id,split,group,y", "d0,train,0,a", "d1,dev,0,b", "d2,train,0,"]


def test_a_mark_is_named_with_its_count(run, data):
    warning = run(f"{data} --target y=d.csv:y").stderr
    assert warning.startswith("warning: target 'y' has the class 'NA' (8 rows), which looks like a mark")
    assert "--ignore-label 'NA'" in warning


def test_labels_that_come_later_by_id_with_their_groups(run, data):
    run(data)
    result = run("actstore label s.acts later.csv --column z --ignore-label 2 --group-by template")
    assert result.stdout.splitlines() == [
        "z: 16 of 24 rows have a label, 2 classes",
        "template: 24 of 24 rows have a label, 6 classes",
    ]
    targets = actstore.open("s.acts").targets
    assert targets["z"].tolist() == [None if label == 2 else label for label in Y.tolist()]
    assert targets["template"].tolist() == [str(row // 4) for row in range(ROWS)]


def test_label_joins_jsonl_by_its_ids(run, data, folder, refused):
    run(data)
    lines = [f'{{"id": "d{row}", "z": {Y[row]}}}' for row in reversed(range(ROWS))]
    (folder / "later.jsonl").write_text("\n".join(lines))
    run("actstore label s.acts later.jsonl:z --name z")
    np.testing.assert_array_equal(actstore.open("s.acts").targets["z"], Y)
    (folder / "other.jsonl").write_text("\n".join(lines).replace('"d', '"e'))
    assert "are not in the data or the store" in refused("actstore label s.acts other.jsonl:z --name w")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--split-by fild", "the nearest: 'fold'"),
        ("--target w=later.csv:zz", "no column 'zz'"),
        ("--group-by y2", "there is no such column or target"),
    ],
)
def test_what_is_not_there_is_named(refused, data, options, message):
    assert message in refused(f"{data} {options}", code=2)


def test_a_group_that_is_empty_is_refused(refused, run, data, folder):
    run(data)
    (folder / "gap.csv").write_text("id,z,pair\nd0,1,a\nd1,2,\n")
    assert "row 1 has no group" in refused("actstore label s.acts gap.csv --column z --group-by pair")


NOBODY = "no row has the label 'na', which was to be ignored; the nearest is 'NA'"


def test_a_label_to_ignore_that_no_row_has_is_named_with_the_nearest(run, data):
    """A typo would leave the label among the classes."""
    assert NOBODY in run(f"{data} --target y=d.csv:y --ignore-label na").stderr
    assert "no row has" not in run(f"{data} --overwrite --target y=d.csv:y --ignore-label NA").stderr
    line = "actstore label s.acts later.csv --column z --overwrite --ignore-label"
    assert "no row has the label '9', which was to be ignored\n" in run(f"{line} 9").stderr
    assert run(f"{line} 2").stderr == ""


@pytest.mark.parametrize("labels", ["--target y", "--target y=d.csv:y"])
def test_fit_names_a_label_to_ignore_that_no_row_has_once(run, data, labels):
    run(f"{data} --target y=d.csv:y")
    line = f"probe fit s.acts {labels} --C 1 --overwrite -o p.h5 --ignore-label"
    assert run(f"{line} na").stderr.count(NOBODY) == 1
    assert "no row has" not in run(f"{line} NA").stderr


def test_a_label_to_ignore_that_one_target_has_is_not_named(run, data):
    run(f"{data} --target y=d.csv:y --target fold=d.csv:fold")
    line = "probe fit s.acts --target y --target fold --C 1 --overwrite -o p.h5 --ignore-label"
    assert "no row has" not in run(f"{line} NA").stderr


def test_python_warns_of_a_label_to_ignore_that_no_row_has(run, data):
    import solvers

    run(f"{data} --target y=d.csv:y")
    with actstore.open("s.acts") as store:
        with pytest.warns(UserWarning, match="no row has the label 'c'"):
            store.attach("w", np.array(["a", "b"] * 12), ignore_label="c")
        with pytest.warns(UserWarning, match="no row has the label '7', which"):
            solvers.fit_layers(store.layers["out"], Y, C=1.0, ignore_label=7)
