"""Lines of text as inputs: a row per line, whatever the line holds."""

from itertools import chain

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.sources import RowChoice, split_data


@pytest.fixture
def text(tmp_path):
    """Writes a file; gives its SPEC."""

    def write(content):
        (tmp_path / "lines.txt").write_bytes(content)
        return str(tmp_path / "lines.txt")

    return write


def read(spec, batch_rows=2, **choice):
    (item,) = split_data([spec])
    return [batch.inputs for batch in item.batches(batch_rows, RowChoice(**choice))]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\ntwo", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"\xef\xbb\xbfone\n", ["one"]),
        (b"\n\none\n\n", ["", "", "one", ""]),
        (b"\n", [""]),
        ("a\rb\x0bc\u2028d\x85\ne".encode(), ["a\rb\x0bc\u2028d\x85", "e"]),
        ("Grüße\n語\n".encode(), ["Grüße", "語"]),
        (b" blank \t\n", [" blank \t"]),
    ],
)
def test_a_row_per_line(text, content, lines):
    spec = text(content)
    assert list(chain.from_iterable(read(spec))) == lines
    assert split_data([spec])[0].source.rows == len(lines)


def test_any_rows_can_be_read_without_the_others(text):
    lines = [f"line {number}" for number in range(50)]
    spec = text("\n".join(lines).encode())
    (item,) = split_data([spec])
    assert [len(batch) for batch in read(spec, 20)] == [20, 20, 10]
    assert read(spec, 5, limit=7) == [lines[:5], lines[5:7]]
    with item.source.slicing() as take:
        assert take(np.array([0, 31, 49])).inputs == [lines[0], lines[31], lines[49]]
    (batch,) = item.batches(20, RowChoice(), numbers=range(2, 3))
    assert (batch.inputs, batch.indices.tolist()) == (lines[40:], [*range(40, 50)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"lines.txt has no lines; a text per line was expected"),
        (
            b"one\ntwo\nthr\xe9e\n",
            r"lines.txt, line 3: no UTF-8 \(invalid continuation byte\); save the text as UTF-8",
        ),
    ],
)
def test_what_is_no_text_is_refused_before_the_first_row(text, content, message):
    with pytest.raises(SourceError, match=message):
        split_data([text(content)])


def test_a_missing_text_is_named_and_texts_are_no_array(text, tmp_path):
    with pytest.raises(SourceError, match=r"there is no file .*none.txt"):
        split_data([f"{tmp_path}/none.txt"])
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(SourceError, match=r"folder.txt can not be read: Is a directory"):
        split_data([f"{tmp_path}/folder.txt"])
    (item,) = split_data([text(b"one\n")])
    with pytest.raises(SourceError, match=r"lines.txt holds text; an array of numbers was expected"):
        item.source.opened()
