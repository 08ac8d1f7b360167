"""Tables as people have them: what separates cells and how text is written is found out, or the file is refused."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.formats.delimited import open_table
from actstore.labels import read_file
from actstore.rows.choice import RowChoice
from actstore.sources import read_labels, split_data

RECORDS = [["id", "text", "label"], ["a", "one, two; three", "0"], ["b", 'say "so"', "1"], ["c", "", "0"]]


def write(path, delimiter=",", encoding="utf-8", records=RECORDS, **options):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter, **options).writerows(records)
    return path


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_delimiter_and_encoding_are_found(tmp_path, delimiter, encoding, ends):
    path = write(tmp_path / "t.csv", delimiter, encoding, lineterminator=ends)
    (item,) = split_data([f"{path}:text"])
    (batch,) = item.batches(10, RowChoice())
    assert batch.inputs == ["one, two; three", 'say "so"', ""]
    assert read_labels(f"{path}:label").tolist() == [0, 1, 0]
    found = read_file(str(path), "label")
    assert (list(found.ids), found.values.tolist()) == (["a", "b", "c"], [0, 1, 0])


def test_a_tab_separated_file_is_not_one_column_of_text_with_the_label_in_it(tmp_path):
    """Test error 0 on labels at random (FAULTS 1.16)."""
    records = [["text", "label"], *[[f"word {row}", str(row % 2)] for row in range(20)]]
    path = write(tmp_path / "t.csv", "\t", records=records)
    (item,) = split_data([str(path)])
    (batch,) = item.batches(100, RowChoice())
    assert batch.inputs == [f"word {row}" for row in range(20)]


@pytest.mark.parametrize("text", ['only\n"a, b"\nc\n', "only\na b\n"])
def test_one_column_is_one_column(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with open_table(tmp_path / "t.csv") as table:
        assert list(table.header) == ["only"]
        assert len(list(table.records)) == text.count("\n") - 1


REFUSED = {
    "a\tb,c\n1\t2,3\n": r"t\.csv could be separated by commas and by tabs; put cells",
    "a\tb\n1\t2\t3\n": r"t\.csv has tabs in its header, but its lines have not as many cells as that: what",
    "a;b\n1;2;3\nx\n": r"t\.csv has semicolons in its header",
    "a;b\nx;1,5\ny;-2,5\n": r"t\.csv: column 'b' has numbers with a decimal comma \(1,5\); write 1\.5",
    "a,b\nx,1,5\n": r"t\.csv, line 2: 3 cells for 2 columns; mend the line",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=REFUSED.values())
def test_what_can_not_be_told_is_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    for read in (lambda: read_labels(f"{tmp_path}/t.csv:b"), lambda: read_file(f"{tmp_path}/t.csv", "b")):
        with pytest.raises(SourceError, match=message):
            read()


def test_text_that_is_not_what_it_says_is_refused(tmp_path):
    write(tmp_path / "latin.csv", encoding="latin-1", records=[["id", "label"], ["a", "é"]])
    write(tmp_path / "utf16.csv", encoding="utf-16-le")
    with pytest.raises(SourceError, match=r"latin\.csv cannot be read as a table .*; save it as UTF-8$"):
        read_file(f"{tmp_path}/latin.csv")
    with pytest.raises(
        SourceError, match=r"utf16\.csv cannot be read as text: it has NUL characters, as UTF-16 without"
    ):
        read_file(f"{tmp_path}/utf16.csv")


@pytest.mark.parametrize(
    "name", ["t.csv:label", "t.jsonl:label", "t.npy", "t.npz:x", "t.h5:/x", "t.txt", "t.conllu"]
)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name.partition(":")[0])
    for read in (lambda spec: split_data([spec]), read_labels, read_file):
        with pytest.raises(
            SourceError, match=r"there is no file .*, but a pipe or a device|are not understood"
        ):
            read(f"{tmp_path}/{name}")


def test_a_long_table_is_read_in_its_order(tmp_path):
    """More than the beginning that is looked at, whose last line is cut."""
    rows = np.arange(200_000)
    (tmp_path / "t.csv").write_text("id;label\n" + "".join(f"row {row};{row % 7}\n" for row in rows))
    assert read_labels(f"{tmp_path}/t.csv:label").tolist() == (rows % 7).tolist()


@pytest.mark.parametrize(("data", "kind"), [("t.csv:text", "csv"), ("t.csv", "csv"), ("t.jsonl", "jsonl")])
def test_the_input_is_not_its_own_label(tmp_path, data, kind):
    (tmp_path / "t.csv").write_text("text,label\na,0\nb,1\n")
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n')
    with pytest.raises(
        SourceError, match=rf"target 'y' is .*t\.{kind}:text, which is the input itself; name the column"
    ):
        split_data([f"{tmp_path}/{data}"], [f"y={tmp_path}/t.{kind}:text"])
    (item,) = split_data([f"{tmp_path}/{data}"], [f"y={tmp_path}/t.{kind}:label"])
    assert item.targets["y"].tolist() == [0, 1]
