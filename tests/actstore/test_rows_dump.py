"""Stores with a row per token, from the data to what reads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import DumpError, LayerError
from actstore.reductions import ReductionSettings
from actstore.sources import SplitData
from actstore.sources.python import from_object

TABLE = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
SETTINGS = DumpSettings(("embedding", "sums"), row="token")


def texts(seed=0, count=9, most=6):
    """Token ids of examples of different lengths."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 50, size=rng.integers(1, most + 1)) for _ in range(count)]


def padded(examples, side="right"):
    """A batch as a tokenizer gives it."""
    longest = max(map(len, examples))
    ids, mask = (np.zeros((len(examples), longest), np.int64) for _ in range(2))
    for row, tokens in enumerate(examples):
        where = slice(None, len(tokens)) if side == "right" else slice(longest - len(tokens), None)
        ids[row, where], mask[row, where] = tokens, 1
    return {"input_ids": ids, "attention_mask": mask}


class Net:
    """Layers by position, of which the second sees all positions before."""

    fingerprint = "v1"

    def __init__(self):
        self.calls = 0

    def __call__(self, batch):
        self.calls += 1
        hidden = TABLE[batch["input_ids"]] * batch["attention_mask"][:, :, None].astype(np.float32)
        return {"embedding": hidden, "sums": np.cumsum(hidden, axis=1), "pooler": hidden.sum(axis=1)}


def loaded(examples, size=4, side="right", labels=None):
    """Batches of so many examples, with a label each."""
    labels = np.arange(len(examples)) if labels is None else labels
    at = range(0, len(examples), size)
    return [(padded(examples[start : start + size], side), labels[start : start + size]) for start in at]


class Interrupted(list):
    """Batches that are read ``stop`` times before somebody presses Ctrl-C."""

    stop = None

    def __iter__(self):
        yield from self[: self.stop]
        if self.stop is not None:
            raise KeyboardInterrupt


def data_of(size=4, side="right"):
    splits = {"train": texts(), "test": texts(1, 3)}
    return [
        SplitData(split, from_object(loaded(examples, size, side), f"{split} batches", "digit"))
        for split, examples in splits.items()
    ]


def contents(store):
    columns = {name: layer[:].tolist() for name, layer in store.layers.items()}
    targets = {name: labels.tolist() for name, labels in store.targets.items()}
    rows = [store.ids, store.splits, store.groups, store.positions]
    return store.row_unit, columns, targets, [column.tolist() for column in rows]


# Tokens


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_real_token_is_a_row_whatever_the_batches_and_the_padding(out, size, side):
    with dump(Net(), data_of(size, side), out, SETTINGS) as store:
        assert store.row_unit == "token"
        examples = {"train": texts(), "test": texts(1, 3)}
        groups = [(f"{split}/{row}", len(e), row) for split, of in examples.items() for row, e in enumerate(of)]
        assert store.groups.tolist() == [group for group, length, _ in groups for _ in range(length)]
        assert store.positions.tolist() == [place for _, length, _ in groups for place in range(length)]
        assert store.ids.tolist() == [f"{g}/{p}" for g, p in zip(store.groups, store.positions, strict=True)]
        assert store.splits.tolist() == [group.split("/")[0] for group in store.groups]
        assert store.targets["digit"].tolist() == [row for _, length, row in groups for _ in range(length)]
        vectors = [TABLE[tokens] for of in examples.values() for tokens in of]
        np.testing.assert_array_equal(store.layers["embedding"][:], np.concatenate(vectors))
        # Each example is added up in the order of its tokens, from a zero on: the same float32 additions.
        sums = np.concatenate([np.cumsum(part, axis=0) for part in vectors])
        np.testing.assert_array_equal(store.layers["sums"][:], sums)
        assert store.layers["sums"].axes == ("feature",)
    report = actstore.verify(out)
    assert (report.complete, list(report.damages)) == (True, [])


@pytest.fixture(params=[1, 4, 100])
def sampled(request, tmp_path):
    settings = replace(SETTINGS, sample=0.4, reductions=ReductionSettings(seed=3))
    with dump(Net(), data_of(request.param), tmp_path / "part.acts", settings) as store:
        return contents(store)


def test_a_sample_keeps_tokens_with_their_places_whatever_the_batches(tmp_path, sampled):
    with dump(Net(), data_of(), tmp_path / "whole.acts", SETTINGS) as store:
        _, columns, targets, rows = contents(store)
    kept = [rows[0].index(row_id) for row_id in sampled[3][0]]
    assert kept == sorted(kept)
    # Of 43 tokens 17 are expected, give or take 3.
    assert 0.2 * len(rows[0]) < len(kept) < 0.6 * len(rows[0])
    assert sampled == (
        "token",
        {name: [values[row] for row in kept] for name, values in columns.items()},
        {name: [values[row] for row in kept] for name, values in targets.items()},
        [[column[row] for row in kept] for column in rows],
    )


def test_samples_of_other_seeds_and_items_differ(tmp_path):
    kept = set()
    for seed in (0, 1):
        settings = replace(SETTINGS, sample=0.5, reductions=ReductionSettings(seed=seed))
        twice = [data_of()[0], data_of()[0]]
        with dump(Net(), twice, tmp_path / f"{seed}.acts", settings) as store:
            places = [
                (int(group.split("/")[1]), place)
                for group, place in zip(store.groups, store.positions, strict=True)
            ]
            kept.add(tuple(place for place in places if place[0] < 9))
            kept.add(tuple((example - 9, place) for example, place in places if example >= 9))
    assert len(kept) == 4


def test_a_limit_counts_examples(tmp_path):
    with dump(Net(), data_of(), tmp_path / "run.acts", replace(SETTINGS, limit=2)) as store:
        assert sorted(set(store.groups)) == ["test/0", "test/1", "train/0", "train/1"]
        counted = [(item["split"], item["examples"]) for item in store.provenance["data"]]
        assert counted == [("train", 2), ("test", 2)]


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, sample=0.5)], ids=["all", "sampled"])
@pytest.mark.parametrize("batches", [1, 2, 3])
def test_a_resumed_dump_of_tokens_is_an_undisturbed_one(tmp_path, out, monkeypatch, settings, batches):
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (100, 100))
    undisturbed, again, train = Net(), Net(), Interrupted(loaded(texts()))
    data = [SplitData("train", from_object(train, "train batches", "digit")), data_of()[1]]
    with dump(undisturbed, data, tmp_path / f"undisturbed{out.suffix}", settings) as store:
        expected = contents(store), store.fingerprint, store.provenance
    train.stop = batches
    with pytest.raises(KeyboardInterrupt):
        dump(Net(), data, out, settings)
    train.stop = None
    with dump(again, data, out, replace(settings, resume=True)) as store:
        assert (contents(store), store.fingerprint, store.provenance) == expected
    assert again.calls < undisturbed.calls, "what was sealed is not run again"


def test_another_row_unit_is_not_resumed(tmp_path):
    dump(Net(), data_of(), tmp_path / "run.acts", SETTINGS).close()
    examples = replace(SETTINGS, row=None, layers=("pooler",), resume=True)
    with pytest.raises(actstore.StoreError, match='row_unit was "token", now "example"'):
        dump(Net(), data_of(), tmp_path / "run.acts", examples)


def test_steps_have_the_same_tokens(tmp_path):
    with actstore.create(tmp_path / "run.acts", ["sums"], row="token") as recording:
        for step in (0, 10):
            net = Net()
            net.fingerprint = f"v{step}"
            recording.dump(net, {"train": loaded(texts())}, step=step, target="digit")
    with actstore.open(tmp_path / "run.acts") as store:
        assert list(store.steps) == [0, 10]
        np.testing.assert_array_equal(store.layers["sums", 0][:], store.layers["sums", 10][:])
        assert store.row_unit == "token"


def test_arrays_of_positions_without_a_mask(tmp_path):
    inputs = np.random.default_rng(2).normal(size=(5, 3, 4)).astype(np.float32)
    data = [SplitData("", from_object(inputs, "array"), {"digit": np.arange(5)})]
    settings = DumpSettings(("input", "double"), 2, row="token")

    def either_axis_could_be_another_length(x):
        return {"double": 2 * x}

    with pytest.raises(
        LayerError, match=r"'input' .*\(axis0, axis1\) per example, no axis that is known to hold"
    ):
        dump(either_axis_could_be_another_length, data, tmp_path / "no.acts", settings)

    def model(x):
        return {"double": x @ (2 * np.eye(4, dtype=np.float32))}

    with dump(model, data, tmp_path / "run.acts", settings) as store:
        np.testing.assert_array_equal(store.layers["input"][:], inputs.reshape(15, 4))
        np.testing.assert_array_equal(store.layers["double"][:], 2 * inputs.reshape(15, 4))
        assert store.ids.tolist()[:4] == ["0/0", "0/1", "0/2", "1/0"]
        assert store.targets["digit"].tolist() == np.repeat(np.arange(5), 3).tolist()


# Refused


def test_a_model_that_knows_no_words(tmp_path):
    with pytest.raises(DumpError, match="does not know which positions belong to which word"):
        dump(Net(), data_of(), tmp_path / "run.acts", replace(SETTINGS, row="word"))
    assert not (tmp_path / "run.acts").exists()


def test_a_layer_that_is_pooled_already(tmp_path):
    with pytest.raises(LayerError, match=r"'pooler' has the shape \(4,\) .* leave it out"):
        dump(Net(), data_of(), tmp_path / "run.acts", replace(SETTINGS, layers=("*", "pooler")))
    with dump(Net(), data_of(), tmp_path / "run.acts", replace(SETTINGS, layers=("*",))) as store:
        assert list(store.layers) == ["embedding", "sums"]
        assert store.provenance["passed_over"] == {"pooler": "no row per token: it has (feature)"}


def test_ranks_do_not_share_tokens(tmp_path):
    with pytest.raises(DumpError, match="ranks cannot share a dump with a row per token"):
        dump(Net(), data_of(), tmp_path / "run.acts", replace(SETTINGS, world_size=2))


def test_a_row_without_a_token_is_named_by_its_id(tmp_path):
    batches = loaded(texts(), 4)
    batches[1][0]["attention_mask"][2] = 0
    data = [SplitData("train", from_object(batches, "batches"))]
    with pytest.raises(DumpError, match="row 'train/6' has no real token"):
        dump(Net(), data, tmp_path / "run.acts", SETTINGS)


def test_a_unit_that_there_is_not():
    with pytest.raises(DumpError, match="row is 'letter'; expected one of example, token, word"):
        replace(SETTINGS, row="letter")


def test_append_takes_examples(tmp_path):
    recording = actstore.create(tmp_path / "run.acts", row="token")
    with pytest.raises(DumpError, match="append takes examples, but a row of this store is a token"):
        recording.append({"x": np.zeros((2, 3))})
