"""`actstore label` and `actstore rows`: labels that come later, and the table to join them on."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest

import actstore
from actstore import Captured, RowBatch, Writer

IDS = ["plain", "comma,", 'quote"', "line\nend", "return\r", "both\r\n", " blank ", "", "été", "=1+1"]


@pytest.fixture
def acts(folder):
    """`s.acts`: ten rows with troublesome ids, groups and positions, and the target `digit`, which two rows lack."""
    digits = np.ma.MaskedArray(np.arange(10) % 4, mask=[0, 1, 0, 0, 0, 0, 0, 0, 0, 1])
    with Writer(folder / "s.acts", row_unit="token") as writer:
        rows = {"a": Captured(np.zeros((10, 2), "float32"), "float32", ("feature",))}
        groups, positions = [f"sentence {row // 5}" for row in range(10)], np.arange(10) % 5
        writer.append(RowBatch(rows, IDS, ["train"] * 10, {"digit": digits}, groups, positions))
    return "s.acts"


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_rows_writes_all_that_is_known(run, acts):
    assert run(f"actstore rows {acts} -o rows.csv").stdout == "rows.csv: 10 rows\n"
    header, *rows = read("rows.csv")
    assert header == ["id", "split", "group", "position", "digit"]
    assert [row[0] for row in rows] == IDS
    assert [row[1:4] for row in rows] == [["train", f"sentence {row // 5}", str(row % 5)] for row in range(10)]
    assert [row[4] for row in rows] == ["0", "", "2", "3", "0", "1", "2", "3", "0", ""]


def test_rows_goes_to_the_standard_output(run, acts, folder):
    run(f"actstore rows {acts} -o rows.csv")
    expected = (folder / "rows.csv").read_bytes()
    assert run(f"actstore rows {acts}").stdout_bytes == expected
    assert run(f"actstore rows {acts} -o -").stdout_bytes == expected


def test_rows_of_a_single_file(run, store):
    lines = run(f"actstore rows {store}").stdout.splitlines()
    assert lines[0] == "id,split,sign"
    assert len(lines) == 401


def test_rows_keeps_what_is_there(run, refused, acts, folder):
    (folder / "rows.csv").write_text("mine")
    assert "--overwrite" in refused(f"actstore rows {acts} -o rows.csv")
    assert "is not a file that this command writes" in refused(f"actstore rows {acts} -o rows.csv --overwrite")
    assert (folder / "rows.csv").read_text() == "mine"
    (folder / "rows.csv").unlink()
    run(f"actstore rows {acts} -o rows.csv")
    run(f"actstore rows {acts} -o rows.csv --overwrite")
    assert len(read("rows.csv")) == 11
    assert sorted(os.listdir(folder)) == ["rows.csv", "s.acts"]


def test_rows_to_a_reader_that_has_enough(run, acts, folder):
    """The pipe is closed before a byte is read."""
    program = "from cli.main import actstore; actstore()"
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-c", program, "rows", acts],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert process.stderr == ""


def test_rows_edited_and_attached_again(run, acts, folder):
    run(f"actstore rows {acts} -o rows.csv")
    header, *rows = read("rows.csv")
    rows = [[*row[:4], str(number * 2) if number != 3 else ""] for number, row in enumerate(reversed(rows))]
    with open("rows.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    line = run(f"actstore label {acts} rows.csv --column digit --name corrected").stdout
    assert line == "corrected: 9 of 10 rows have a label, 9 classes\n"
    expected = np.ma.MaskedArray(np.arange(18, -1, -2), mask=np.arange(10) == 6)
    corrected = actstore.open(acts).targets["corrected"]
    np.testing.assert_array_equal(corrected.mask, expected.mask)
    np.testing.assert_array_equal(corrected.compressed(), expected.compressed(), strict=True)


def test_what_rows_writes_is_what_label_reads(run, acts):
    """Untouched, a table changes nothing."""
    actstore.open(acts).attach(
        "word", np.ma.MaskedArray([f"a, {n}\r\n" for n in range(10)], mask=np.arange(10) == 4)
    )
    before = actstore.open(acts).targets
    run(f"actstore rows {acts} -o rows.csv")
    for name in ("digit", "word"):
        run(f"actstore label {acts} rows.csv --column {name} --overwrite")
        np.testing.assert_array_equal(actstore.open(acts).targets[name].mask, before[name].mask)
        np.testing.assert_array_equal(
            actstore.open(acts).targets[name].compressed(), before[name].compressed(), strict=True
        )


def test_an_empty_text_is_told_from_no_label_by_a_warning(run, folder):
    """A store holds what its writer is given; every door that takes labels from people reads "" as none."""
    with Writer(folder / "s.acts") as writer:
        rows = {"a": Captured(np.zeros((10, 2), "float32"), "float32", ("feature",))}
        writer.append(RowBatch(rows, IDS, [""] * 10, {"word": np.array(["", "", *"abcdefgh"])}))
    acts = "s.acts"
    assert "'word' is an empty text in 2 rows" in run(f"actstore rows {acts}").stderr


def test_label_by_position(run, acts, folder):
    np.save(folder / "fold.npy", np.arange(10) % 3)
    np.savez(folder / "more.npz", colour=np.array(["red", "blue"] * 5))
    assert run(f"actstore label {acts} fold.npy").stdout == "fold: 10 of 10 rows have a label, 3 classes\n"
    assert (
        run(f"actstore label {acts} more.npz:colour").stdout
        == "colour: 10 of 10 rows have a label, 2 classes\n"
    )
    assert actstore.open(acts).targets["fold"].tolist() == (np.arange(10) % 3).tolist()


def test_label_by_id(run, acts, folder):
    (folder / "some.csv").write_text("id,colour\nété,red\nplain,blue\n", encoding="utf-8")
    assert run(f"actstore label {acts} some.csv").stdout == "colour: 2 of 10 rows have a label, 2 classes\n"
    assert np.flatnonzero(~actstore.open(acts).targets["colour"].mask).tolist() == [0, 8]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nine.npy", "9 labels for 10 rows"),
        ("float.npy", "float"),
        ("unknown.csv", "'nobody'"),
        ("twice.csv", "'plain'"),
        ("wide.csv", "--column): 'a', 'b'"),
        ("none.csv", "none.csv"),
        ("more.npz", "more.npz:KEY"),
        ("ok.csv --name digit", "--overwrite"),
        ("nine.npy --column a", "--column"),
    ],
)
def test_label_refuses_in_one_line(refused, acts, folder, arguments, message):
    np.save(folder / "nine.npy", np.arange(9))
    np.save(folder / "float.npy", np.linspace(0, 1, 10))
    np.savez(folder / "more.npz", a=np.arange(10), b=np.arange(10))
    (folder / "unknown.csv").write_text("id,a\nplain,1\nnobody,2\n")
    (folder / "twice.csv").write_text("id,a\nplain,1\nplain,1\n")
    (folder / "wide.csv").write_text("id,a,b\nplain,1,2\n")
    (folder / "ok.csv").write_text("id,a\nplain,1\n")
    assert message in refused(f"actstore label {acts} {arguments}")
    assert list(actstore.open(acts).targets) == ["digit"]


def test_label_of_a_single_file_names_the_folder(refused, store, folder):
    np.save(folder / "fold.npy", np.arange(400) % 3)
    assert "s.acts" in refused(f"actstore label {store} fold.npy")


def test_what_was_attached_can_be_fitted(run, net, folder):
    data = "--data train=train.npz:x --data test=test.npz:x"
    run(f"actstore dump {net} {data} --layers hidden -o n.acts")
    labels = [
        (f"{split}/{row}", label)
        for split in ("train", "test")
        for row, label in enumerate(np.load(f"{split}.npz")["y"])
    ]
    with open("sign.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "sign"), *labels])
    assert run("actstore label n.acts sign.csv").stdout == "sign: 400 of 400 rows have a label, 2 classes\n"
    run("probe fit n.acts --target sign --C 1 -o p.h5")
    assert (folder / "p.h5").exists()
