"""Stores with a row per word, from sources that know words."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from actstore.adapters.for_functions import FunctionAdapter
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import SourceError
from actstore.reductions import ReductionSettings
from actstore.sources import Batch, SplitData
from actstore.sources.python import from_object


class Sentences:
    """A source of sentences: words of two sub-words where they are even, of one where they are odd."""

    row_unit = "word"
    spec = "bank"

    def __init__(self, counts=(2, 3, 1, 4, 2), known=True):
        self.rows, self.counts = len(counts), np.array(counts)
        if known:
            self.word_counts = self.counts

    def sentences(self):
        ends = np.cumsum(self.counts)
        return [list(range(end - count, end)) for end, count in zip(ends, self.counts, strict=True)]

    @contextmanager
    def slicing(self):
        def take(places):
            chosen = [self.sentences()[place] for place in places]
            targets = {"odd": np.array([word % 2 for words in chosen for word in words])}
            inputs = [[f"w{word}" for word in words] for words in chosen]
            return Batch(inputs, len(places), targets, words=self.counts[places])

        yield take

    def opened(self):
        raise NotImplementedError


class Batched(Sentences):
    """The same, read one after another in batches of three."""

    slicing = None

    def batches(self, _batch_rows):
        with Sentences.slicing(self) as take:
            for start in range(0, self.rows, 3):
                yield take(np.arange(start, min(start + 3, self.rows)))


def subwords(words):
    """Word 2 is tokens 2 and 2."""
    return [int(word[1:]) for word in words for _ in range(1 + (int(word[1:]) + 1) % 2)]


@pytest.fixture
def words_known(monkeypatch):
    """The adapter of functions knows words, as one with a tokenizer does."""

    def prepared(_adapter, inputs):
        ids = [subwords(words) for words in inputs]
        longest = max(map(len, ids))
        padding = [[-1] * (longest - len(tokens)) for tokens in ids]  # on the left
        given = np.array([before + tokens for before, tokens in zip(padding, ids, strict=True)])
        word_of = np.where(given < 0, -1, given - np.array([[tokens[0]] for tokens in ids]))
        return {"input_ids": given, "attention_mask": (given >= 0).astype(np.int64)}, word_of

    monkeypatch.setattr(FunctionAdapter, "prepared", prepared)


def ramp(batch):
    """At each position its token, and its place among those of its example."""
    places = np.cumsum(batch["attention_mask"], axis=1) - 1
    return {"ramp": np.stack([batch["input_ids"], places], axis=2).astype(np.float32)}


@pytest.mark.usefixtures("words_known")
@pytest.mark.parametrize("source", [Sentences(), Sentences(known=False), Batched(), Batched(known=False)])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_word_is_a_row_with_its_own_labels(tmp_path, source, size):
    data = [SplitData("train", source, {"sentence": np.arange(5)})]
    with dump(ramp, data, tmp_path / "run.acts", DumpSettings(("ramp",), size)) as store:
        assert store.row_unit == "word"
        assert store.layers["ramp"][:][:, 0].tolist() == list(range(12))
        assert store.targets["odd"].tolist() == [word % 2 for word in range(12)]
        assert store.targets["sentence"].tolist() == np.repeat(np.arange(5), source.counts).tolist()
        assert store.groups.tolist() == [
            f"train/{row}" for row, n in enumerate(source.counts) for _ in range(n)
        ]
        assert store.positions.tolist() == [place for n in source.counts for place in range(n)]
        assert store.ids[3] == "train/1/1"


@pytest.mark.usefixtures("words_known")
def test_labels_of_words_follow_limits_and_samples(tmp_path):
    for source in (Sentences(), Batched()):
        data = [SplitData("", source, {"word": np.arange(12), "sentence": np.arange(5)})]
        settings = DumpSettings(("ramp",), 2, limit=4, sample=0.6)
        name = tmp_path / f"{type(source).__name__}.acts"
        with dump(ramp, data, name, settings) as store:
            words = store.layers["ramp"][:][:, 0].tolist()
            assert 0 < len(words) < 10
            assert store.targets["word"].tolist() == words
            assert store.targets["odd"].tolist() == [word % 2 for word in words]
            assert store.targets["sentence"].tolist() == [int(group) for group in store.groups]


@pytest.mark.usefixtures("words_known")
def test_the_words_of_a_treebank_are_counted_before(tmp_path):
    seen = []
    dump(
        ramp, [SplitData("", Sentences())], tmp_path / "run.acts", DumpSettings(("ramp",), 2), seen.append
    ).close()
    assert [(progress.rows, progress.total_rows) for progress in seen] == [(5, 12), (10, 12), (12, 12)]


@pytest.mark.usefixtures("words_known")
def test_subwords_are_joined_by_the_pool_of_the_layer(tmp_path):
    joined = {}
    for pool in ("first", "last", "max", "mean"):
        settings = DumpSettings(("ramp",), reductions=ReductionSettings((pool,)))
        with dump(ramp, [SplitData("", Sentences((3,)))], tmp_path / f"{pool}.acts", settings) as store:
            joined[pool] = store.layers["ramp"][:][:, 1].tolist()
    # Words 0, 1 and 2 are the positions 0 and 1, 2, 3 and 4.
    assert joined == {"first": [0, 2, 3], "last": [1, 2, 4], "max": [1, 2, 4], "mean": [0.5, 2, 3.5]}


# Refused


@pytest.mark.parametrize("row", ["token", "example"])
def test_labels_of_words_need_rows_of_words(tmp_path, row):
    with pytest.raises(SourceError, match=f"labels of bank are of words, and a row per {row} has no place"):
        dump(ramp, [SplitData("", Sentences())], tmp_path / "run.acts", DumpSettings(("ramp",), row=row))


def test_data_of_two_kinds(tmp_path):
    array = SplitData("test", from_object(np.zeros((3, 2)), "x.npy"))
    with pytest.raises(
        SourceError, match=r"one kind of row, but a row of bank is one word, a row of x.npy is one exa"
    ):
        dump(ramp, [SplitData("", Sentences()), array], tmp_path / "run.acts", DumpSettings(("ramp",)))


def test_labels_that_fit_neither_words_nor_sentences(tmp_path):
    data = [SplitData("", Sentences(), {"tag": np.arange(7)})]
    with pytest.raises(
        SourceError, match="'tag' has 7 labels but bank has 12 words in 5 sentences; one label per"
    ):
        dump(ramp, data, tmp_path / "run.acts", DumpSettings(("ramp",)))
