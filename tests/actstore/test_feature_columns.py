"""Tables of numbers as features: what is a label is none of them, and what nobody can know is asked."""

import numpy as np
import pandas as pd
import pytest

from actstore.errors import SourceError
from actstore.sources import RowChoice, RowColumns, split_data


@pytest.fixture
def table(tmp_path):
    """Two features, a label, a split, the name of each row and its id; as .csv and as .parquet."""
    rows = np.arange(8)
    frame = pd.DataFrame(
        {
            "id": [f"r{n}" for n in rows],
            "f0": rows * 0.5,
            "f1": rows * 2,
            "sentiment": rows % 2,
            "fold": ["train", "test"] * 4,
            "name": [f"n{n}" for n in rows],
        }
    )
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    return tmp_path


def features(spec, targets=(), columns=None):
    (item,) = split_data([spec], targets, columns, as_features=True)
    with item.source.opened() as array:
        return np.asarray(array)


FEATURES = np.stack([np.arange(8) * 0.5, np.arange(8) * 2.0], axis=1)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("labels", ["x.csv", "x.parquet"])  # the same column of another file is the label, too
def test_a_column_that_is_the_label_is_no_feature(table, kind, labels):
    with pytest.warns(UserWarning, match="the columns 'fold', 'name' are no numbers, and left out"):
        found = features(f"{table}/x.{kind}", [f"y={table}/{labels}:sentiment"])
    np.testing.assert_array_equal(found, FEATURES)
    with pytest.raises(
        SourceError, match=r"x.\w+:sentiment is a label .*and the features 'f\?,s\*' have it, too"
    ):
        features(f"{table}/x.{kind}:f?,s*", [f"y={table}/x.{kind}:sentiment"])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_features_are_named_by_commas_and_stars(table, kind):
    for asked in ("f0,f1", "f?", "f0,*1"):
        np.testing.assert_array_equal(features(f"{table}/x.{kind}:{asked}"), FEATURES)
    np.testing.assert_array_equal(features(f"{table}/x.{kind}:f1"), FEATURES[:, 1:])
    with pytest.raises(SourceError, match="has no column 'g0'; the nearest: "):
        features(f"{table}/x.{kind}:f0,g0")
    with pytest.raises(SourceError, match="column 'name'"):
        features(f"{table}/x.{kind}:name")


@pytest.mark.parametrize("name", ["label", "y", "Target", "class", "fold", "Unnamed: 0", "group"])
def test_what_is_called_as_a_label_is_asked_about(tmp_path, name):
    pd.DataFrame({"a": [0.5, 1.5], name: [0, 1]}).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(
        SourceError, match=f"has the column '{name}' among its numbers: a feature, or the label?"
    ):
        features(f"{tmp_path}/x.csv")
    assert features(f"{tmp_path}/x.csv:a,{name}").tolist() == [[0.5, 0], [1.5, 1]]
    assert features(f"{tmp_path}/x.csv", [f"z={tmp_path}/x.csv:{name}"]).tolist() == [[0.5], [1.5]]


def test_a_model_gets_numbers_where_no_column_is_text(tmp_path):
    pd.DataFrame({"a": [0.5, 1.5], "b": [1, 2]}).to_csv(tmp_path / "x.csv", index=False)
    (item,) = split_data([f"{tmp_path}/x.csv"])
    (batch,) = item.batches(9, RowChoice())
    assert batch.inputs.tolist() == [[0.5, 1], [1.5, 2]]
    (item,) = split_data([f"{tmp_path}/x.csv:a"])  # a column that is named is text, as it always was
    (batch,) = item.batches(9, RowChoice())
    assert batch.inputs == ["0.5", "1.5"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0.1,0.2\n0.3,0.4\n", r"begins with numbers \(0.1, 0.2\), not with the names of columns"),
        ("1\n2\n", "begins with numbers"),
        ("a,b\n1,2\n3,\n", "line 3: column 'b' has nothing; features are numbers, one for every row"),
        ("a,b\n1,2\n3,1_000\n", "line 3: column 'b' has '1_000'|'b' are no numbers"),
        ("a;b\n0,1;0,2\n0,3;0,5\n", r"numbers with a decimal comma \(0,1\); write 0.1"),
        ("a;b\n1;0,2\n3;0,5\n", r"column 'b' has numbers with a decimal comma"),
        ("a,b\nx,y\n", "has no column of numbers that could be features"),
    ],
)
def test_what_cannot_be_features_is_refused(tmp_path, content, message):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises((SourceError, UserWarning), match=message) as caught:
        features(f"{tmp_path}/x.csv")
    assert "\n" not in str(caught.value)


def test_the_header_that_pandas_counts_and_its_index(tmp_path):
    pd.DataFrame([[0.5, 1.5], [2.5, 3.5]]).to_csv(tmp_path / "i.csv")
    pd.DataFrame([[0.5, 1.5], [2.5, 3.5]]).to_csv(tmp_path / "x.csv", index=False)
    for name in ("i.csv", "x.csv"):
        assert features(f"{tmp_path}/{name}").tolist() == [[0.5, 1.5], [2.5, 3.5]]


def test_vectors_in_json(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"id": "a", "v": [1, 2.5], "y": 0}\n{"id": "b", "v": [3, 4], "y": 1}\n')
    assert features(f"{tmp_path}/x.jsonl", [f"y={tmp_path}/x.jsonl:y"]).tolist() == [[1, 2.5], [3, 4]]
    (tmp_path / "x.jsonl").write_text('{"v": [1, 2.5]}\n{"v": [3]}\n')
    with pytest.raises(SourceError, match="line 2: column 'v' has a list of others; expected 2 numbers"):
        features(f"{tmp_path}/x.jsonl")


def test_numbers_that_are_not_a_number_are_counted_and_not_made_up(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\nnan,1\ninf,2\n")
    found = features(f"{tmp_path}/x.csv")
    assert np.isnan(found[0, 0])
    assert np.isinf(found[1, 0])


def test_a_column_that_says_splits_or_groups_is_no_feature(tmp_path):
    pd.DataFrame({"a": [0.5, 1.5], "b": [1, 2], "who": [7, 8]}).to_csv(tmp_path / "x.csv", index=False)
    (item,) = split_data([f"{tmp_path}/x.csv"], (), RowColumns(group_by="who"))
    (batch,) = item.batches(9, RowChoice())
    assert batch.inputs.tolist() == [[0.5, 1], [1.5, 2]]
    assert batch.groups.tolist() == ["7", "8"]


def counted(tmp_path, name, rows):
    """A file with two features, a row number and a shuffled one, and a feature of whole numbers."""
    generator = np.random.default_rng(rows)
    frame = pd.DataFrame(
        {"row": np.arange(rows), "a": generator.normal(size=rows), "b": generator.normal(size=rows)}
    )
    frame["seed"] = generator.permutation(rows) + 5
    frame["length"] = np.arange(rows) // 2
    frame.to_csv(tmp_path / f"{name}.csv", index=False)
    frame.to_parquet(tmp_path / f"{name}.parquet")
    return frame


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_only_number_the_rows_are_left_out_unless_named(tmp_path, kind):
    frame = counted(tmp_path, "x", 20)
    with pytest.warns(
        UserWarning, match="'row', 'seed' only number the rows, and are left out of the features"
    ):
        found = features(f"{tmp_path}/x.{kind}")
    np.testing.assert_allclose(found, frame[["a", "b", "length"]])
    named = features(f"{tmp_path}/x.{kind}:row,a")
    np.testing.assert_allclose(named, frame[["row", "a"]])


def test_what_numbers_the_rows_of_one_file_is_no_feature_of_another(tmp_path):
    """A part of a file has row numbers with gaps."""
    counted(tmp_path, "x", 20)
    counted(tmp_path, "y", 24).sample(15, random_state=0).to_csv(tmp_path / "y.csv", index=False)
    data = split_data([f"train={tmp_path}/x.csv", f"test={tmp_path}/y.csv"], as_features=True)
    with pytest.warns(UserWarning, match="only number the rows"):
        lines = [item.source.features_line for item in data]
    assert [line.partition(": ")[2] for line in lines] == ["3 columns, 'a', 'b', 'length'"] * 2


def test_where_nothing_else_is_there_a_count_is_the_feature(tmp_path):
    pd.DataFrame({"x": np.arange(12)}).to_csv(tmp_path / "x.csv", index=False)
    assert features(f"{tmp_path}/x.csv").ravel().tolist() == [*range(12)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_target_that_is_only_the_name_of_a_column_is_answered_with_its_spec(table, kind):
    spec = f"{table}/x.{kind}"
    with pytest.raises(SourceError, match=f"write --target sentiment={spec}:sentiment$"):
        features(spec, ["sentiment"])
    with pytest.raises(SourceError, match=r"write --target feeling=SPEC$"):
        features(spec, ["feeling"])
    with pytest.raises(SourceError, match=f"write --target a:sentiment={spec}:sentiment$"):
        split_data([f"a={spec}"], ["a:sentiment"], as_features=True)
