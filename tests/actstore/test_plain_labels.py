"""One rule of what is no label, at every door, and what only looks like one."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

import actstore
from actstore.errors import SourceError, StoreError
from actstore.rows.cells import WrittenAsFloatsWarning, labels_of
from actstore.rows.label_marks import LabelCount, SentinelWarning, marks_among
from actstore.rows.labels import names_of, plain_labels, without
from actstore.sources import RowChoice, RowColumns, read_labels, split_data

ROWS = 6
MISSING_TEXT = ["a", None, "b", "", "a", None]
WANTED_TEXT = ["a", None, "b", None, "a", None]
MISSING_INT = [3, None, 1, None, 3, None]

DOORS = {
    "list": lambda values: values,
    "objects": lambda values: np.array(values, object),
    "masked": lambda values: np.ma.MaskedArray(
        np.array([0 if v is None else v for v in values], object), mask=[v is None for v in values]
    ),
    "pandas objects": lambda values: pd.Series(values, dtype=object),
    "pandas own": lambda values: pd.Series(values, dtype="string" if "a" in values else "Int64"),
    "pandas plain": pd.Series,
    "categories": lambda values: pd.Series(pd.Categorical(values)),
}


def said(labels):
    """Labels as Python has them, None where there is none."""
    return np.ma.MaskedArray(labels).tolist()


@pytest.mark.parametrize("door", DOORS)
def test_what_is_missing_is_missing_however_it_is_written(door):
    assert said(plain_labels(DOORS[door](MISSING_INT), "y")) == MISSING_INT
    assert said(plain_labels(DOORS[door](MISSING_TEXT), "y")) == WANTED_TEXT


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, pd.NA, pd.NaT, "", np.datetime64("NaT")])
def test_each_kind_of_nothing_among_objects(missing):
    for others in (["x", "y"], [3, 4], [True, False]):
        labels = plain_labels(np.array([others[0], missing, others[1]], object), "y")
        assert said(labels) == [others[0], None, others[1]]
        assert labels.dtype.kind in "iUb"


def test_numbers_with_nan_are_whole_numbers_without():
    labels = plain_labels(np.array([1.0, np.nan, 2.0], np.float32), "y")
    assert (said(labels), labels.dtype) == ([1, None, 2], np.int64)
    assert said(plain_labels(np.ma.MaskedArray([1.0, 0.5, 2.0], mask=[0, 1, 0]), "y")) == [1, None, 2]


@pytest.mark.parametrize("values", [[None, None], np.array(["", ""]), [np.nan, None], pd.Series(["", None])])
def test_nothing_at_all(values):
    assert said(plain_labels(values, "y")) == [None, None]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "one", None], r"y holds int, str; labels are .* all of one kind"),
        ([True, 2, None], r"y holds bool, int"),
        ([0.5, None, 1.0], r"y has dtype float64; labels are whole numbers"),
        (np.array([[1, 2]]), r"y has shape \(1, 2\); expected one label per row"),
        (pd.Series(pd.to_datetime(["2020-01-01", None])), r"y has dtype datetime64"),
        ([[1], [2, 3], None], r"y cannot be read as labels"),
        ([1, "one"], r"y holds int, str"),
        ([True, 2], r"y holds bool, int"),
        ([[1, 2], [3, 4]], r"y has shape \(2, 2\)"),
    ],
)
def test_what_no_class_can_be_told_by_is_refused(values, message):
    with pytest.raises(SourceError, match=message):
        plain_labels(values, "y")


def test_every_door_of_files_agrees(tmp_path):
    np.save(tmp_path / "y.npy", np.array(["a", "", "b"]))
    (tmp_path / "y.csv").write_text("y,other\na,1\n,2\nb,3\n")
    (tmp_path / "y.jsonl").write_text("".join(json.dumps({"y": y}) + "\n" for y in ("a", None, "b")))
    (tmp_path / "y.py").write_text(
        "import pandas as pd\ny = pd.Series(['a', None, 'b'])\nz = ['a', None, 'b']\n"
    )
    for spec in ("y.npy", "y.csv:y", "y.jsonl:y", "y.py:y", "y.py:z"):
        assert said(read_labels(f"{tmp_path}/{spec}")) == ["a", None, "b"], spec


def store_of(path, targets, **more):
    with actstore.create(path) as recording:
        recording.append({"a": np.zeros((3, 2), "float32")}, targets=targets, **more)
    return actstore.open(path)


def test_every_door_of_a_store_agrees(tmp_path):
    for number, values in enumerate((["a", "", "b"], ["a", None, "b"], pd.Series(["a", np.nan, "b"]))):
        store = store_of(tmp_path / f"{number}.acts", {"y": values})
        assert said(store.targets["y"]) == ["a", None, "b"]
        store.attach("again", values)
        assert said(store.targets["again"]) == ["a", None, "b"]


@pytest.mark.parametrize(
    ("labels", "ignore", "expected"),
    [
        ([0, 1, -100], ["-100"], [0, 1, None]),
        ([0, 1, -100], [-100.0], [0, 1, None]),
        (np.array([0, 1, 255], np.uint8), [255, "7"], [0, 1, None]),
        (np.array([2**64 - 1, 1], np.uint64), [str(2**64 - 1)], [None, 1]),
        (["x", "NA", "nan"], ["NA", "nan"], ["x", None, None]),
        (["x", "NA"], ["na", -100], ["x", "NA"]),
        (["x", "-1"], [-1], ["x", None]),
        ([True, False], ["false"], [True, None]),
        ([0, 1], ["0.5", "x", "inf"], [0, 1]),
    ],
)
def test_labels_to_ignore(labels, ignore, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert said(without(plain_labels(labels, "y"), ignore)) == expected


def test_a_column_of_text_is_numbers_once_its_marks_are_ignored():
    assert said(labels_of(["1", "nan", "2"])) == ["1", "nan", "2"]
    ignored = labels_of(["1", "nan", "2"], ["nan"])
    assert (said(ignored), ignored.dtype) == ([1, None, 2], np.int64)


@pytest.mark.parametrize(
    ("labels", "marks"),
    [
        ([0, 1, 2, -100], [-100]),
        ([0, 1, -1, -1], [-1]),
        ([0, -1], [-1]),
        ([5, 9, -1], [-1]),
        ([1, 2, 3, -999], [-999]),
        ([0, 1, 2, 255], [255]),
        ([0, 1, 9999, -1], [-1, 9999]),
        ([0, 1, -(2**63)], [-(2**63)]),
        (["a", "NA", "nan", "None", " ", "n/a", "<NA>", "NaT", "-1", "?"], [*"a"][1:]),
    ],
)
def test_what_looks_like_a_mark_is_found(labels, marks):
    counts = dict.fromkeys(labels, 1)
    found = marks_among(counts)
    assert sorted(found, key=str) == sorted(marks or labels[1:], key=str)


@pytest.mark.parametrize(
    "labels",
    [[1, -1], [0, 1, 2], [-2, -1, 0, 1], [-3, 0], range(300), [254, 255, 256], ["a", "b"], [10, 20, 255]],
)
def test_classes_are_no_marks(labels):
    assert marks_among(dict.fromkeys(labels, 1)) == []


def test_marks_are_counted_over_batches_and_named_once():
    count = LabelCount()
    for _ in range(3):
        count.add({"y": np.array([0, 1, -100, -100]), "z": np.array(["u", "v", "v", "v"])})
    with pytest.warns(SentinelWarning) as caught:
        count.warn()
    assert [str(warning.message) for warning in caught] == [
        "target 'y' has the class -100 (6 rows), which looks like a mark for 'no label'; if it is one, say so: "
        "--ignore-label -100 (ignore_label=-100 in Python)"
    ]


def test_marks_are_found_behind_very_many_labels():
    count = LabelCount()
    count.add({"y": np.arange(50_000)})
    count.add({"y": np.array([-100])})
    with pytest.warns(SentinelWarning, match=r"-100 \(1 rows\)"):
        count.warn()


def test_every_door_warns_unless_it_is_told(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 2), "float32"), y=[0, 1, -100])
    spec = f"{tmp_path}/x.npz"
    with pytest.warns(SentinelWarning, match="-100"):
        split_data([f"{spec}:x"], [f"y={spec}:y"])
    (item,) = split_data([f"{spec}:x"], [f"y={spec}:y"], RowColumns(ignore=("-100",)))
    assert said(item.targets["y"]) == [0, 1, None]
    (tmp_path / "d.py").write_text("import numpy as np\nb = [(np.zeros((3, 2)), [0, 1, -100])]\n")
    (item,) = split_data([f"{tmp_path}/d.py:b"])
    with pytest.warns(SentinelWarning, match="'label' has the class -100"):
        list(item.batches(2, RowChoice()))
    (item,) = split_data([f"{tmp_path}/d.py:b"], columns=RowColumns(ignore=(-100,)))
    (batch,) = item.batches(2, RowChoice())
    assert said(batch.targets["label"]) == [0, 1, None]
    with pytest.warns(SentinelWarning, match="'y' has the class -1 "):
        store = store_of(tmp_path / "a.acts", {"y": [0, 1, -1]})
    with pytest.warns(SentinelWarning, match="'z' has the class 'nan'"):
        store.attach("z", ["u", "nan", "v"])
    store.attach("ok", ["u", "nan", "v"], ignore_label="nan")
    assert said(store.targets["ok"]) == ["u", None, "v"]
    assert said(store_of(tmp_path / "b.acts", {"y": [0, 1, -1]}, ignore_label=[-1]).targets["y"]) == [
        0,
        1,
        None,
    ]


def test_dump_ignores_in_python_likewise(tmp_path):
    batches = [(np.ones((3, 2), "float32"), {"y": [0, 1, -100], "z": ["u", "v", "NA"]})]
    with actstore.create(tmp_path / "a.acts", ["out"]) as recording:
        recording.dump(lambda x: {"out": x}, batches, ignore_label=[-100, "NA"])
    targets = actstore.open(tmp_path / "a.acts").targets
    assert (said(targets["y"]), said(targets["z"])) == ([0, 1, None], ["u", "v", None])
    with (
        pytest.warns(SentinelWarning, match="-100"),
        actstore.create(tmp_path / "b.acts", ["out"]) as recording,
    ):
        recording.dump(lambda x: {"out": x}, [(np.ones((3, 2), "float32"), [0, 1, -100])])


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA])
def test_a_row_without_a_split_or_a_group_is_refused(nothing):
    for what in ("split", "group"):
        with pytest.raises(SourceError, match=f"row 1 has no {what}"):
            names_of(["a", nothing, "b"], what)
    with pytest.raises(SourceError, match="row 1 has no group"):
        names_of(["a", "", "b"], "group")
    assert names_of(["a", "", "b"], "split") == ["a", "", "b"]
    assert names_of([3, 4], "group") == ["3", "4"]


def test_what_no_label_can_be_is_refused_by_a_store_too(tmp_path):
    store = store_of(tmp_path / "a.acts", {})
    with pytest.raises(StoreError, match=r"expected one int, bool or text per row.*holds int, str"):
        store.attach("y", [1, "one", None])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0.0", "1.0", "", "1.0"], [0, 1, None, 1]),
        (["0", "1.0", "2.000"], [0, 1, 2]),
        (["-0.0", "-100.0", "3"], [0, -100, 3]),
        (["9007199254740993.0", "1"], [9007199254740993, 1]),
    ],
)
def test_whole_numbers_written_as_floats_are_the_same_classes(cells, expected):
    with pytest.warns(WrittenAsFloatsWarning, match="y.csv:y has whole numbers written as floats"):
        found = labels_of(cells, (), "y.csv:y")
    assert found.dtype.kind == "i"
    assert found.tolist() == expected
    with pytest.warns(WrittenAsFloatsWarning):
        assert labels_of(["-100.0", "1.0"], ["-100"]).tolist() == [None, 1]


def test_numbers_that_are_not_whole_stay_text():
    assert labels_of(["1.0", "2.5"]).tolist() == ["1.0", "2.5"]
    assert labels_of(["1.0", "a"]).tolist() == ["1.0", "a"]
    assert labels_of(["01.0", "1.0"]).tolist() == ["01.0", "1.0"]


def test_two_classes_of_text_that_are_one_number_are_told_of():
    with pytest.warns(WrittenAsFloatsWarning, match="has the classes '1' and '1.0', which are one number"):
        labels_of(["1", "1.0", "a"])
