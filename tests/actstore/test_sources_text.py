"""Lines of text as inputs: a row per line, whatever the line holds."""

from itertools import chain

import numpy as np
import pytest

from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import DumpError, SourceError
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
        (b"", r"lines.txt has no lines; expected a text per line"),
        (
            b"one\ntwo\nthr\xe9e\n",
            r"lines.txt, line 3: no UTF-8 \(invalid continuation byte\); save the text as UTF-8",
        ),
    ],
)
def test_what_is_no_text_is_refused_before_the_first_row(text, content, message):
    with pytest.raises(SourceError, match=message):
        split_data([text(content)])


def test_a_text_that_can_not_be_read_is_named(text, tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=r"there is no file .*none.txt"):
        split_data([f"{tmp_path}/none.txt"])
    spec = text(b"one\n")
    (item,) = split_data([spec])
    with pytest.raises(SourceError, match=r"lines.txt holds text; expected an array of numbers"):
        item.source.opened()

    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", forbidden)
    with pytest.raises(SourceError, match=r"lines.txt cannot be read: Permission denied"):
        split_data([spec])


def test_lines_are_dumped_and_a_dump_is_resumed_with_the_same_lines_only(text, tmp_path, monkeypatch):
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (8, 8))  # a shard per batch
    lines = ["x" * number for number in range(20)]
    spec, out = text("\n".join(lines).encode() + b"\n"), tmp_path / "run.acts"

    def dumped(**options):
        return dump(lengths, split_data([f"train={spec}"]), out, DumpSettings(("length",), 4, **options))

    def lengths(texts):
        if lines[13] in texts:
            raise ValueError("stop")
        return {"length": np.array([[len(text)] for text in texts], np.float32)}

    lengths.fingerprint = "lengths"
    with pytest.raises(DumpError, match=r"the model failed on batch 4 .*stop"):
        dumped()
    text("\n".join(["", "xy", *lines[2:]]).encode() + b"\n")
    with pytest.raises(DumpError, match=r"the inputs are not those of the interrupted dump"):
        dumped(resume=True)
    text("\n".join(lines).encode() + b"\n")
    lines[13] = "none of these"
    with dumped(resume=True) as store:
        assert store.layers["length"][:][:, 0].tolist() == [*range(20)]
        assert [*store.ids] == [f"train/{number}" for number in range(20)]
