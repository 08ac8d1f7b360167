"""Training steps of one store, written from Python: the same rows, whole one after another."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.dumping.loop import SameWeightsWarning
from actstore.errors import DumpError, LayerError, StoreError
from actstore.sources import SplitData
from actstore.sources.python import from_object

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = np.arange(12) % 2
SPLITS = {"train": [(X[:8], Y[:8])], "test": [(X[8:], Y[8:])]}


class Net:
    """A model whose ``weight`` is what a step of training changes."""

    def __init__(self, weight):
        self.fingerprint = f"weight {weight}"
        self.weight = weight

    def __call__(self, batch):
        return {"scaled": self.weight * batch, "sum": self.weight * batch.sum(axis=1)}


class Broken(Net):
    """It describes its layers, runs one batch, and is interrupted."""

    calls = 0

    def __call__(self, batch):
        self.calls += 1
        if self.calls > 3:
            raise KeyboardInterrupt
        return super().__call__(batch)


def trained(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few iterations do not converge
        return MLPClassifier((4,), max_iter=2, random_state=seed).fit(X, Y)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run.acts"


def recorded(out, weights, **options):
    """A store with a step for each weight, numbered in hundreds."""
    with actstore.create(out, layers=["*"], **options) as recording:
        for number, weight in weights.items():
            recording.dump(Net(weight), SPLITS, step=number)
    return actstore.open(out)


def test_every_step_has_its_own_activations_of_the_same_rows(out):
    store = recorded(out, {500: 1.0, 0: 2.0, 1000: 3.0})
    assert store.steps == [0, 500, 1000]
    assert store.complete
    assert store.rows == 12
    for number, weight in ((500, 1.0), (0, 2.0), (1000, 3.0)):
        np.testing.assert_array_equal(store.layers["scaled", number][:], np.float32(weight) * X)
        alone = store.at(number)
        assert alone.steps == [number]
        np.testing.assert_array_equal(alone.layers["scaled"][:], store.layers["scaled", number][:])
        assert alone.provenance["model"]["fingerprint"] == f"weight {weight}"
    assert store.ids.tolist() == [*(f"train/{row}" for row in range(8)), *(f"test/{row}" for row in range(4))]
    assert store.targets["label"].tolist() == Y.tolist()
    with pytest.raises(
        LayerError, match=r"layers\['sum'\]: it does not say which step; write layers\['sum', step\]"
    ):
        store.layers["sum"]
    with pytest.raises(
        LayerError, match=r"layers\[\('sum', 7\)\]: there is no step 7; .* a step of 0, 500, 1000"
    ):
        store.layers["sum", 7]
    with pytest.raises(StoreError, match=r"run\.acts has no step 7; it has 0, 500, 1000"):
        store.at(7)


def test_appended_steps_are_told_apart(out):
    with actstore.create(out) as recording:
        for step in (1, 2):
            for rows in (slice(0, 5), slice(5, 12)):
                recording.append({"x": step * X[rows]}, targets={"y": Y[rows]}, splits="train", step=step)
    store = actstore.open(out)
    np.testing.assert_array_equal(store.layers["x", 2][:], 2 * X)
    assert store.ids.tolist() == [f"train/{row}" for row in range(12)]


def test_steps_are_added_to_a_store_that_is_there(out):
    recorded(out, {0: 1.0})
    with pytest.raises(
        StoreError, match=r"run\.acts already exists; pass overwrite=True .*, name a step \(--step\)"
    ):
        actstore.create(out, layers=["*"])
    store = recorded(out, {100: 2.0}, resume=True)
    assert store.steps == [0, 100]
    data = [SplitData(name, from_object(batches, "list")) for name, batches in SPLITS.items()]
    store = dump(Net(3.0), data, out, DumpSettings(("*",), step=200))
    assert store.steps == [0, 100, 200]
    with pytest.raises(StoreError, match=r"run\.acts already holds step 200; choose another step"):
        dump(Net(3.0), data, out, DumpSettings(("*",), step=200))


OTHER_ROWS = {
    "fewer": ({"train": [(X[:8], Y[:8])]}, r"step 1 has 8 rows where step 0 has 12; every step"),
    "more": (
        {**SPLITS, "val": X[:1]},
        "the ids of rows 12 to 12 are not those of step 0; every step of a store has",
    ),
    "other splits": (
        {"test": SPLITS["train"], "train": SPLITS["test"]},
        "the ids of rows 0 to 7 are not those",
    ),
    "other labels": (
        {"train": [(X[:8], 1 - Y[:8])], "test": SPLITS["test"]},
        r"the labels 'label' of rows 0 to 7 are not those of step 0; .*attach new labels with actstore label",
    ),
}


@pytest.mark.parametrize(("data", "message"), OTHER_ROWS.values(), ids=OTHER_ROWS.keys())
def test_a_step_of_other_rows_is_refused(out, data, message):
    def record():
        with actstore.create(out, layers=["*"]) as recording:
            recording.dump(Net(1.0), SPLITS, step=0)
            recording.dump(Net(2.0), data, step=1)

    with pytest.raises(StoreError, match=message):
        record()
    store = actstore.open(out).at(0)
    assert store.complete
    assert store.layers["scaled"].shape == (12, 3)


def test_other_layers_or_row_groups_are_refused(out):
    def record():
        with actstore.create(out) as recording:
            recording.append({"x": X}, step=0)
            recording.append({"y": X}, step=1)

    with pytest.raises(
        StoreError, match=r"run\.acts was begun differently: layers\.x is missing; layers\.y is new"
    ):
        record()
    assert actstore.open(out).steps == [0]


def test_a_step_needs_a_complete_one_to_be_compared_with(out, monkeypatch):
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (100, 100))

    def interrupted():
        with actstore.create(out) as recording:
            recording.append({"x": X}, step=0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(
        StoreError, match=r"run\.acts holds no complete step yet; finish step 0 first \(--resume\)"
    ):
        actstore.create(out, resume=True).append({"x": X}, step=1)


def test_a_single_file_has_no_steps(tmp_path):
    with pytest.raises(
        StoreError, match=r"run\.h5 is one file; steps and ranks need the folder of a store: name run\.acts"
    ):
        actstore.create(tmp_path / "run.h5").append({"x": X}, step=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [-1, 10**12])
def test_a_step_is_a_count(out, step):
    with pytest.raises(StoreError, match=f"step is {step}; expected 0 or more"):
        actstore.create(out).append({"x": X}, step=step)


def test_the_weights_stay_the_same_within_a_step(out):
    recording = actstore.create(out, layers=["scaled"])
    recording.dump(Net(1.0), {"train": SPLITS["train"]}, step=0)
    with pytest.raises(
        DumpError, match=r"the model is not the one this store was begun with .*; begin another step"
    ):
        recording.dump(Net(2.0), {"test": SPLITS["test"]}, step=0)
    recording.dump(Net(1.0), {"test": SPLITS["test"]}, step=0)
    recording.dump(Net(2.0), SPLITS, step=1)
    assert recording.close().steps == [0, 1]


def test_steps_of_the_same_weights_are_warned_of(out):
    first, second = trained(0), trained(1)
    with actstore.create(out, layers=["**"]) as recording:
        recording.dump(first, SPLITS, step=0)
        recording.dump(second, SPLITS, step=1)
        with pytest.warns(
            SameWeightsWarning, match="the weights are those of step 0 of the store: was the model"
        ):
            recording.dump(first, SPLITS, step=2)
        with pytest.warns(SameWeightsWarning, match="the weights are those of steps 0, 2 of the store"):
            recording.dump(first, SPLITS, step=3)
    assert actstore.open(out).steps == [0, 1, 2, 3]


def test_an_interrupted_step_is_resumed(out, monkeypatch):
    """What is whole is left out, what is not goes on; the model of every step comes as it came then."""
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (100, 100))
    whole = recorded(out.with_name("whole.acts"), {0: 1.0, 1: 2.0})

    def interrupted():
        with actstore.create(out, layers=["*"]) as recording:
            recording.dump(Net(1.0), SPLITS, step=0)
            recording.dump(Broken(2.0), SPLITS, step=1)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert actstore.open(out).at(0).complete
    assert not actstore.open(out).complete
    store = recorded(out, {0: 1.0, 1: 2.0}, resume=True)
    assert store.complete
    assert store.fingerprints == whole.fingerprints
