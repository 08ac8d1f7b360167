"""Texts as a Python user has them: a list, a column, by split; and when a list of texts names data instead."""

import numpy as np
import pytest

import actstore
from actstore.doors.texts import are_specs
from actstore.errors import SourceError

TEXTS = ["the dog sat", "a cat", "three little words now"]
COUNTS = [[11, 2], [5, 1], [22, 3]]


def net(batch):
    return {"counts": np.array([[len(text), text.count(" ")] for text in batch], np.float32)}


def series(values, index=None):
    return pytest.importorskip("pandas").Series(values, index=index)


@pytest.mark.parametrize(
    "given",
    [
        lambda: TEXTS,
        lambda: tuple(TEXTS),
        lambda: np.array(TEXTS),
        lambda: np.array(TEXTS, object),
        lambda: series(TEXTS),
        lambda: series(TEXTS, [7, 2, 9]),
        lambda: {"train": TEXTS},
        lambda: {"train": series(TEXTS)},
        lambda: [TEXTS],
    ],
)
@pytest.mark.parametrize("door", ["dump", "create"])
def test_texts_are_a_row_each(tmp_path, given, door):
    if door == "dump":
        store = actstore.dump(net, given(), tmp_path / "a.h5", "*", batch_size=2)
    else:
        with actstore.create(tmp_path / "a.h5", layers="*") as writing:
            writing.dump(net, given())
        store = actstore.open(tmp_path / "a.h5")
    assert store.layers["counts"][:].tolist() == COUNTS
    store.close()


@pytest.mark.parametrize(
    ("texts", "specs"),
    [
        (["dog", "cat", "x"], False),
        (["see a/b", "U.S.", "hi there"], False),
        (["I read notes.txt"], False),
        (["digits: ten of them"], False),
        (["a " * 3000, "\0", ""], False),
        (["digits"], True),
        (["train=digits"], True),
        (["train=gone.npy", "test=gone.csv:text"], True),
        (["gone.py:texts"], True),
        (["here.strange"], True),
        (["train=a folder", "a folder:resize=8"], True),
    ],
)
def test_a_list_names_data_where_each_is_of_a_known_form_or_there(tmp_path, monkeypatch, texts, specs):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    (tmp_path / "here.strange").write_text("x")
    assert are_specs(texts) is specs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["digts"], r"'digts' names no data that is there, and may be a text: .* \[texts\]"),
        (["train=x.npyy"], r"'train=x.npyy' names no data that is there, .* \[texts\]"),
        (["the dog", "x.npy"], r"'x.npy' names data and 'the dog' does not: .* \[texts\]"),
        (["gone.npy"], "there is no file gone.npy"),
        (["a", None], "row 1 of loader list is None among texts"),
        (np.array(["a", None, "b"], object), "row 1 of loader ndarray is None among texts"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message) as caught:
        actstore.dump(net, given, tmp_path / "a.h5", "*")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.h5").exists()


def test_a_missing_text_of_a_column_is_named(tmp_path):
    with pytest.raises(SourceError, match="row 0 of loader Series is nan among texts"):
        actstore.dump(net, series([float("nan"), "a"]), tmp_path / "a.h5", "*")


def summed(batch):
    return {"sum": (batch["input_ids"] * batch["attention_mask"]).sum(1, keepdims=True)}


@pytest.mark.parametrize("kind", [np.array, list])
def test_a_model_s_inputs_by_name_are_rows_and_no_splits(tmp_path, kind):
    inputs = {"input_ids": kind([[5, 6, 0], [7, 8, 9]]), "attention_mask": kind([[1, 1, 0], [1, 1, 1]])}
    with actstore.dump(summed, inputs, tmp_path / "a.h5", "*", split="test", batch_size=1) as store:
        assert store.layers["sum"][:].tolist() == [[11], [24]]
        assert store.rows_of("test").tolist() == [0, 1]
    with actstore.dump(summed, {"a": inputs, "b": inputs}, tmp_path / "b.h5", "*") as store:
        assert store.layers["sum"][:].tolist() == [[11], [24]] * 2
        assert store.rows_of("b").tolist() == [2, 3]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": [[1, 2], [3]]}, "input 'input_ids' of loader dict is list .*padding=True"),
        (
            {"input_ids": np.ones((2, 3)), "attention_mask": np.ones((3, 3))},
            "'input_ids' has 2, 'attention_mask' has 3",
        ),
        ({"input_ids": np.ones((0, 3))}, "or have none: 'input_ids' has 0"),
        ({"input_ids": np.array(3)}, r"'input_ids' of loader dict is a single int64; expected \(rows"),
    ],
)
def test_inputs_by_name_that_are_no_rows_are_refused(tmp_path, inputs, message):
    with pytest.raises(SourceError, match=message):
        actstore.dump(summed, inputs, tmp_path / "a.h5", "*")


def test_a_model_is_named_as_the_command_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("def net(batch):\n    return {'double': 2 * batch}\n")
    x = np.arange(6.0).reshape(3, 2)
    with actstore.dump("net.py:net", x, "a.h5", "*") as store:
        assert store.layers["double"][:].tolist() == (2 * x).tolist()
    with pytest.raises(actstore.errors.ActstoreError, match=r"net\.py has no 'nett'; the nearest: 'net'"):
        actstore.dump("net.py:nett", x, "b.h5", "*")
    with actstore.create("c.h5", layers="*") as writing:
        writing.dump("net.py:net", x)
