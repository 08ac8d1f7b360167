"""Labels in files."""

from __future__ import annotations

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.labels import labels_of, read_file


@pytest.fixture
def table(tmp_path):
    """``table(text)``: the path of a table."""

    def write(text: str | bytes, name: str = "labels.csv") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["3", "-1", "0"], np.array([3, -1, 0])),
        (["18446744073709551615", "7"], np.array([2**64 - 1, 7], np.uint64)),
        (["18446744073709551616", "7"], np.array(["18446744073709551616", "7"])),
        (["-1", "18446744073709551615"], np.array(["-1", "18446744073709551615"])),
        (["1", "one"], np.array(["1", "one"])),
        (["1", "01"], np.array(["1", "01"])),
        (["+1", "1"], np.array(["+1", "1"])),
        (["-0", "0"], np.array(["-0", "0"])),
        (["1.5", "2"], np.array(["1.5", "2"])),
        (["١", "2"], np.array(["١", "2"])),
        (["1\n"], np.array(["1\n"])),
        (["True", "False"], np.array(["True", "False"])),
    ],
)
def test_cells_are_ints_where_all_are_else_text(cells, expected):
    labels = labels_of(cells)
    np.testing.assert_array_equal(labels.data, expected, strict=True)
    assert not labels.mask.any()


@pytest.mark.parametrize("cells", [["", "4", ""], ["", "x", ""]])
def test_an_empty_cell_is_no_label(cells):
    labels = labels_of(cells)
    assert labels.mask.tolist() == [True, False, True]
    assert [str(label) for label in labels.compressed()] == [cells[1]]


@pytest.mark.parametrize("cells", [[], ["", ""]])
def test_no_label_at_all(cells):
    labels = labels_of(cells)
    assert labels.dtype.kind == "U"
    assert labels.mask.all()


@pytest.mark.parametrize(
    "text",
    [
        "id,digit\na,3\nb,4\n",
        "id,digit\r\na,3\r\nb,4",
        "\ufeffid,digit\na,3\n\nb,4\n\n",
        '"id","digit"\n"a","3"\n"b","4"\n',
        "row,digit\na,3\nb,4\n",
        "digit,id\n3,a\n4,b\n",
    ],
)
def test_a_table_of_ids_and_labels(table, text):
    found = read_file(table(text))
    assert (found.name, found.ids) == ("digit", ["a", "b"])
    np.testing.assert_array_equal(found.values.data, [3, 4], strict=True)


def test_ids_survive_whatever_they_contain(table):
    found = read_file(table('id,x\n"a,b",1\n"say ""hi""",2\n"two\r\nlines",3\n" blank ",4\n'))
    assert found.ids == ["a,b", 'say "hi"', "two\r\nlines", " blank "]


def test_a_column_is_chosen_by_name(table):
    path = table("split,id,digit,colour\ntrain,a,3,red\ntest,b,4,\n")
    found = read_file(path, "colour")
    assert (found.name, found.ids, found.values.tolist()) == ("colour", ["a", "b"], ["red", None])
    same = read_file(f"{path}:colour")
    assert (same.name, same.ids, same.values.tolist()) == ("colour", ["a", "b"], ["red", None])


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("id,a,b\n", None, r"several columns besides the row ids; .*--column.*: 'a', 'b'"),
        ("id,a,b\n", "c", r"has no column 'c' besides the row ids; there are 'a', 'b'"),
        ("id,a,b\n", "id", r"has no column 'id' besides the row ids"),
        ("id,a,a\n", "a", r"has more than one column 'a'"),
        ("id\nx\n", None, r"has the columns 'id'; expected one of row ids and one of labels"),
        ("", None, r"has the columns none"),
        ("id,a\nx,1\ny\n", None, r"labels.csv, line 3: 1 cells for 2 columns"),
        ("id,a\nx,1,2\n", None, r"line 2: 3 cells"),
        ("id,a\nx\0,1\n", None, r"NUL"),
        ('id,a\nx,"1\n', None, r"cannot be read as a table.*unexpected end of data"),
        ("id,a\nx,é\n".encode("latin-1"), None, r"cannot be read as a table.*utf-8"),
    ],
)
def test_a_table_that_can_not_be_is_refused(table, text, column, message):
    with pytest.raises(SourceError, match=message):
        read_file(table(text), column)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"there is no file .*none\.csv$"):
        read_file(str(tmp_path / "none.csv"))


def test_arrays_are_by_position_and_named_after_their_file_or_key(tmp_path):
    np.save(tmp_path / "digit.npy", np.arange(5, dtype=np.int8))
    np.savez(tmp_path / "all.npz", colour=np.array(["red", "blue"]))
    for spec, name, values in (
        (f"{tmp_path}/digit.npy", "digit", np.arange(5, dtype=np.int8)),
        (f"{tmp_path}/all.npz:colour", "colour", np.array(["red", "blue"])),
    ):
        found = read_file(spec)
        assert (found.name, found.ids) == (name, None)
        np.testing.assert_array_equal(found.values, values, strict=True)


def test_arrays_have_no_columns_and_hold_no_objects(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5))
    np.save(tmp_path / "objects.npy", np.array([{}, []], object), allow_pickle=True)
    with pytest.raises(SourceError, match="has no columns; --column is for tables"):
        read_file(f"{tmp_path}/a.npy", "x")
    with pytest.raises(SourceError, match="Python objects are refused"):
        read_file(f"{tmp_path}/objects.npy")
