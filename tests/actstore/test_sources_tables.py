"""Tables as inputs and as labels: columns by name, records in their order."""

import json

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.sources import RowChoice, read_labels, split_data

CSV = 'id,text,stars,colour\na,"one, two",3,red\nb,"say ""hi""",,\nc,"two\nlines",5,blue\n'
RECORDS = [
    {"text": "one, two", "stars": 3, "colour": "red", "good": True, "whole": 1.0, "half": 0.5, "list": [1]},
    {"text": 'say "hi"', "stars": None, "colour": "", "good": False, "whole": 2, "half": 1, "list": [2]},
    {"stars": 5, "text": "two\nlines", "colour": "blue", "good": True, "mixed": "x", "half": 1},
]
TEXTS = ["one, two", 'say "hi"', "two\nlines"]


@pytest.fixture
def table(tmp_path):
    """Writes a file; gives its SPEC."""

    def write(content, name="table.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return write


@pytest.fixture(params=["csv", "jsonl"])
def spec(request, table):
    """The same table in both kinds of file."""
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    return table(CSV) if request.param == "csv" else table(lines, "table.jsonl")


def texts(spec, batch_rows=2, **choice):
    (item,) = split_data([spec])
    batches = list(item.batches(batch_rows, RowChoice(**choice)))
    return [text for batch in batches for text in batch.inputs]


@pytest.mark.parametrize("column", ["", ":text"])
def test_the_column_of_texts_is_the_input(spec, column):
    assert texts(spec + column) == TEXTS
    assert texts(spec + column, limit=2) == TEXTS[:2]
    (item,) = split_data([spec + column])
    assert item.source.rows == 3
    with item.source.slicing() as take:
        assert take(np.array([0, 2])).inputs == [TEXTS[0], TEXTS[2]]


@pytest.mark.parametrize(("column", "labels"), [("stars", [3, None, 5]), ("colour", ["red", None, "blue"])])
def test_a_column_is_labels_and_what_is_empty_is_none(spec, column, labels):
    (item,) = split_data([f"train={spec}"], [f"train:mine={spec}:{column}"])
    found = item.targets["mine"]
    assert (found.tolist(), found.mask.tolist()) == (labels, [False, True, False])
    assert found.dtype.kind == ("i" if column == "stars" else "U")


@pytest.mark.parametrize(
    ("column", "labels"), [("good", [True, False, True]), ("whole", [1, 2, None]), ("mixed", [None, None, "x"])]
)
def test_labels_of_json_are_what_they_are_there(table, column, labels):
    spec = table("\n".join(map(json.dumps, RECORDS)), "table.jsonl")
    assert read_labels(f"{spec}:{column}").tolist() == labels


def test_labels_of_a_column_that_says_nothing(table):
    for spec in (table("a,b\n1,\n2,\n"), table('{"a": 1}\n{"a": 2, "b": null}\n', "t.jsonl")):
        assert read_labels(f"{spec}:b").tolist() == [None, None]


def test_the_only_column_of_text_needs_no_name(table):
    assert texts(table("n,said,score\n1,hello,0.5\n2,,1e3\n")) == ["hello", ""]
    assert texts(table('{"n": 1, "said": "a"}\n\n{"n": 2, "said": ""}\n', "t.jsonl")) == ["a", ""]


def test_a_text_may_be_as_long_as_a_book(table):
    text = "word " * 100_000
    assert texts(table(f"text\n{text}\n")) == [text]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("n,m\n,\n", r"table.csv has no column of numbers that could be features; there are: 'n', 'm'$"),
        (
            "a,b\nx,y\n",
            r"several columns of text; say which is the input, .*table.csv:COLUMN; there are: 'a', 'b'",
        ),
        ("a,a\nx,y\n", r"table.csv has more than one column 'a'; give each a name of its own"),
        ("a,b\nx,y\nz\n", r"table.csv, line 3: 1 cells for 2 columns; mend the line"),
        ("a,b\n", r"table.csv has no rows; a header and records expected"),
        ("", r"table.csv has no rows"),
        ('a\n"x\n', r"table.csv cannot be read as a table \(.csv\): unexpected end of data"),
        (
            "a\né\n".encode("latin-1"),
            r"table.csv cannot be read as a table \(utf-8-sig\): .*invalid continuation byte",
        ),
    ],
)
def test_a_csv_without_one_column_of_texts_is_refused(table, content, message):
    with pytest.raises(SourceError, match=message):
        split_data([table(content)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": 3}\n', r"line 2: column 'text' has 3 \(a number\); the inputs are texts"),
        ('{"text": "a"}\n{"label": 3}\n', r"line 2: column 'text' has nothing; the inputs are texts"),
        ('{"text": ["a"]}\n', r"line 1: column 'text' has \[\"a\"\] \(list\); the inputs are texts"),
        (
            '{"text": "a"}\n\n{"text"\n',
            r"line 3: no JSON \(Expecting ':' delimiter.*\); expected an object per line",
        ),
        ('["a"]\n', r"line 1: \[\"a\"\] \(list\); expected a JSON object"),
        ("[" * 100_000, r"line 1: no JSON \(maximum recursion depth"),
        ("\n", r"has no rows; a JSON object per line expected"),
        ('{"n": true}\n', r"has no column of numbers that could be features; there are: 'n'"),
    ],
)
def test_a_jsonl_without_texts_is_refused(table, content, message):
    with pytest.raises(SourceError, match=rf"t\.jsonl,? {message}") as caught:
        split_data([table(content, "t.jsonl")])
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there_is_told_from_those_that_are(spec, tmp_path):
    with pytest.raises(SourceError, match=r"table.\w+ has no column 'colours'; the nearest: 'colour'"):
        read_labels(f"{spec}:colours")
    with pytest.raises(SourceError, match=r"table.\w+ has no column 'zzz'; there are: .*'text'.*'stars'"):
        split_data([f"{spec}:zzz"])
    with pytest.raises(SourceError, match=r"does not say which column has the labels: .*:COLUMN; there are: '"):
        read_labels(spec)
    with pytest.raises(SourceError, match=r"there is no file .*none.jsonl"):
        read_labels(f"{tmp_path}/none.jsonl:x")
    (item,) = split_data([spec])
    with pytest.raises(SourceError, match=r"holds text; expected an array of numbers"):
        item.source.opened()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "one"], r"line 2: column 'y' has \"one\" \(text\); expected as in the other lines, a number"),
        ([True, 1], r"line 2: column 'y' has 1 \(a number\); expected as in the other lines, a boolean"),
        ([None, [1]], r"line 2: column 'y' has \[1\] \(list\); expected a number, a boolean or text"),
        (["a", "b\0"], r"line 2: a NUL character in a label"),
    ],
)
def test_labels_of_several_types_are_refused(table, values, message):
    spec = table("".join(json.dumps({"y": value}) + "\n" for value in values), "t.jsonl")
    with pytest.raises(SourceError, match=rf"t\.jsonl, {message}"):
        read_labels(f"{spec}:y")


@pytest.mark.parametrize("values", [[0.5, 1.0], [2**70, 1], [-1, 2**63], [float("nan"), 1.5]])
def test_numbers_that_are_no_classes_are_refused(table, values):
    spec = table("".join(json.dumps({"y": value}) + "\n" for value in values), "t.jsonl")
    with pytest.raises(
        SourceError, match=r"t.jsonl:y has dtype \w+; labels are whole numbers, booleans or text"
    ):
        read_labels(f"{spec}:y")
