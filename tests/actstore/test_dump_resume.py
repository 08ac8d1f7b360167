"""A dump that was interrupted goes on with the same model and data, and with nothing else."""

from __future__ import annotations

import errno
import os
import tempfile
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import DumpError, StoreError
from actstore.reductions import ReductionSettings
from actstore.sources import SplitData
from actstore.sources.python import from_object
from actstore.store.disk.locks import Lock

ROWS = {"train": 30, "test": 14}
# The models count how often they run, or stop after so many times.
SETTINGS = DumpSettings(("wide", "sum"), batch_size=4, selfcheck=False)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    """Two or three batches a shard."""
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (1000, 1000))


def inputs_of(split, rows=None):
    values = np.random.default_rng(len(split)).normal(size=(ROWS[split], 5)).astype(np.float32)
    return values[:rows]


def data_of(*, whole=True, train=None, labels=None):
    """Two items of data, as arrays or as batches that only reading counts; ``digit`` for the first, some masked."""
    train = inputs_of("train") if train is None else train
    digits = np.ma.MaskedArray(np.arange(len(train)) % 7, mask=np.arange(len(train)) % 5 == 0)
    digits = digits if labels is None else labels
    arrays = {"train": train, "test": inputs_of("test")}
    if whole:
        sources = {split: from_object(array, f"{split}.npy") for split, array in arrays.items()}
        return [SplitData("train", sources["train"], {"digit": digits}), SplitData("test", sources["test"])]
    batches = {split: [array[at : at + 4] for at in range(0, len(array), 4)] for split, array in arrays.items()}
    batches["train"] = [(part, digits[at * 4 : at * 4 + 4]) for at, part in enumerate(batches["train"])]
    return [
        SplitData(split, from_object(items, f"{split} batches", "digit")) for split, items in batches.items()
    ]


class Net:
    """A model that is interrupted when it has run ``batches`` batches, after the ``looks`` that come before them."""

    fingerprint = "v1"

    def __init__(self, batches=None, error=KeyboardInterrupt, looks=0):
        self.calls, self._stop, self._error = 0, batches, error
        self._looks = looks

    def __call__(self, batch):
        self.calls += 1
        if self._stop is not None and self.calls > self._stop + self._looks:
            raise self._error
        return {"wide": np.concatenate([batch, 2 * batch], axis=1), "sum": batch.sum(axis=1)}


class OtherNet(Net):
    fingerprint = "v2"


def looks_of(data, settings=SETTINGS):
    """How often a model runs before the first batch: to describe its layers, and to try the size of the last batch."""
    net, batches = Net(), []
    with tempfile.TemporaryDirectory() as folder:
        dump(net, data, f"{folder}/looks.acts", settings, batches.append).close()
    return net.calls - len(batches)


def interrupted(out, data, settings=SETTINGS, batches=7):
    looks = looks_of(data, replace(settings, step=None, resume=False))
    with pytest.raises(KeyboardInterrupt):
        dump(Net(batches, looks=looks), data, out, settings)


def contents(store):
    columns = {name: layer[:].tobytes() for name, layer in store.layers.items()}
    targets = {name: np.ma.asarray(labels).tolist() for name, labels in store.targets.items()}
    provenance = store.provenance
    provenance.pop("cast", None)  # what was lost is counted while it is lost
    provenance.pop("cast_seen_after_batch", None)
    return columns, targets, store.ids.tolist(), store.splits.tolist(), store.fingerprint, provenance


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


VARIANTS = {
    "plain": SETTINGS,
    "sampled": replace(SETTINGS, sample=0.9, limit=28),
    "reduced": replace(SETTINGS, reductions=ReductionSettings(random_features=3, dtype="float16", seed=5)),
}


@pytest.mark.parametrize("batches", [0, 1, 3, 6, 8])
@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("whole", [True, False], ids=["arrays", "batches"])
def test_a_resumed_dump_is_an_undisturbed_one(tmp_path, out, partial, settings, whole, batches):
    data = data_of(whole=whole)
    with dump(Net(), data, tmp_path / f"undisturbed{out.suffix}", settings) as store:
        expected = contents(store)
    with pytest.raises(KeyboardInterrupt):
        dump(Net(batches, looks=looks_of(data, settings)), data, out, settings)
    if batches < 2:
        assert not partial(out).exists()  # nothing was sealed
    if batches > 3:
        with pytest.raises(StoreError, match=r"is an unfinished dump; pass resume=True \(--resume\)"):
            dump(Net(), data, out, settings)
    with dump(Net(), data, out, replace(settings, resume=True)) as store:
        assert contents(store) == expected


def test_the_model_does_not_run_again_for_what_is_there(tmp_path, out):
    interrupted(out, data_of(), batches=7)
    net, seen = Net(), []
    dump(net, data_of(), out, replace(SETTINGS, resume=True), seen.append).close()
    batches = 8 + 4
    assert seen[-1].rows == seen[-1].total_rows == sum(ROWS.values())
    resumed_rows = seen[-1].resumed_rows
    assert resumed_rows in (16, 20, 24, 28)
    assert net.calls == 2 + batches - resumed_rows // 4
    assert seen[-1].bytes == (sum(ROWS.values()) - resumed_rows) * 11 * 4


REFUSALS = {
    "weights": (OtherNet(), {}, {}, 'model.fingerprint was "v1", now "v2"'),
    "a layer less": (Net(), {}, {"layers": ("wide",)}, r"layers\.sum is missing"),
    "batch size": (Net(), {}, {"batch_size": 5}, r"options\.batch_size was 4, now 5"),
    "limit": (Net(), {}, {"limit": 20}, r"options\.limit was null, now 20.*data\[0\]\.rows was 30, now 20"),
    "seed": (Net(), {}, {"reductions": ReductionSettings(seed=1)}, r"options\.seed was 0, now 1"),
    "dtype": (
        Net(),
        {},
        {"reductions": ReductionSettings(dtype="float16")},
        r'layers\.wide was "float32 .*", now "float16 .*layers\.sum was "float32',
    ),
    "fewer rows": (Net(), {"train": inputs_of("train", 20)}, {}, r"data\[0\]\.rows was 30, now 20"),
    "another order of the data": (
        Net(),
        {"train": inputs_of("train")[::-1]},
        {},
        "the inputs are not those of the interrupted dump: among its first [67] batches something changed, or is in",
    ),
    "labels": (
        Net(),
        {"labels": np.ma.MaskedArray(np.arange(30) % 7, mask=np.arange(30) == 3)},
        {},
        r"the labels \(--target\) are not those of the interrupted dump: among its first [67] batches",
    ),
}


@pytest.mark.parametrize(("net", "other", "changes", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_differs_is_named_and_nothing_is_stored(out, partial, net, other, changes, message):
    interrupted(out, data_of())
    before = files_of(partial(out))
    with pytest.raises((StoreError, DumpError), match=message):
        dump(net, data_of(**other), out, replace(SETTINGS, resume=True, **changes))
    assert files_of(partial(out)) == before
    assert dump(Net(), data_of(), out, replace(SETTINGS, resume=True)).complete


def test_every_difference_is_named_at_once(out):
    interrupted(out, data_of())
    with pytest.raises(StoreError, match=r'options\.batch_size was 4, now 2.*model\.fingerprint was "v1", now "v2"|model\.fingerprint was "v1", now "v2".*options\.batch_size was 4, now 2'):  # fmt: skip # noqa: E501
        dump(OtherNet(), data_of(), out, replace(SETTINGS, resume=True, batch_size=2))


def test_other_random_features_are_refused(out):
    features = replace(SETTINGS, reductions=ReductionSettings(random_features=3))
    interrupted(out, data_of(), features, batches=9)
    other = ReductionSettings(random_features=3, seed=1)
    with pytest.raises(StoreError, match=r"options\.seed was 0, now 1; reductions\."):
        dump(Net(), data_of(), out, replace(features, resume=True, reductions=other))


def test_data_that_ended_early_is_refused(out, partial):
    """Batches that only reading counts: what is missing shows at their end."""
    interrupted(out, data_of(whole=False))
    before = files_of(partial(out))
    short = data_of(whole=False, train=inputs_of("train", 8))[:1]
    full = [SplitData("train", short[0].source), data_of(whole=False)[1]]
    with pytest.raises(DumpError, match="not those of the interrupted dump"):
        dump(Net(), full, out, replace(SETTINGS, resume=True))
    assert files_of(partial(out)) == before
    one = data_of(whole=False)[:1]
    alone = partial(out).with_name("alone.acts")
    interrupted(alone, one)
    with pytest.raises(
        DumpError, match=r"the data ended after 2 batches, where the interrupted dump had [67]; resume"
    ):
        dump(Net(), short, alone, replace(SETTINGS, resume=True))
    assert not actstore.open(alone).complete


# -- what is whole


def test_a_whole_dump_is_opened(out):
    with dump(Net(), data_of(), out, SETTINGS) as store:
        expected = contents(store)
    net = Net()
    with dump(net, data_of(), out, replace(SETTINGS, resume=True)) as store:
        assert contents(store) == expected
    assert net.calls == 2  # which described the layers


def test_a_whole_dump_of_something_else_is_refused(out):
    dump(Net(), data_of(), out, SETTINGS).close()
    with pytest.raises(StoreError, match=r'was begun differently: .*model\.fingerprint was "v1", now "v2"'):
        dump(OtherNet(), data_of(), out, replace(SETTINGS, resume=True))
    with pytest.raises(StoreError, match=r"options\.batch_size was 4, now 3"):
        dump(Net(), data_of(), out, replace(SETTINGS, resume=True, batch_size=3))


@pytest.mark.parametrize(
    "noted",
    [
        {},
        {"data": None},
        {"data": "mine"},
        {"data": ["mine"]},
        {"data": [{"rows": 44}]},
        {"data": {"split": 1}},
    ],
    ids=["nothing", "null", "a text", "texts", "other keys", "an object"],
)
def test_a_whole_file_that_does_not_say_its_data_is_refused(tmp_path, write_store, noted):
    """Provenance is anybody's JSON: a file packed from ranks, made by hand, or by another writer."""
    write_store("out.h5", provenance=noted).close()
    before = files_of(tmp_path)
    with pytest.raises(StoreError, match=r"was begun differently: .*\bdata\b"):
        dump(Net(), data_of(), tmp_path / "out.h5", replace(SETTINGS, resume=True))
    assert files_of(tmp_path) == before


def test_other_rows_are_no_step_of_a_store_whether_or_not_the_step_is_named(tmp_path):
    """Without `--step` they went in as step 0, in place of nothing that could be resumed; so did the same rows."""
    out = tmp_path / "out.acts"
    dump(Net(), data_of(), out, replace(SETTINGS, step=5)).close()
    other = [SplitData("else", from_object(inputs_of("train"), "else.npy"))]
    unnamed, others = (
        "holds other steps; name the step",
        "are not those of step 5; every step of a store has the same rows",
    )
    for step, data, message in (
        (None, other, unnamed),
        (None, data_of(), unnamed),
        (0, other, others),
        (7, other, others),
    ):
        with pytest.raises(StoreError, match=message):
            dump(OtherNet(), data, out, replace(SETTINGS, step=step, resume=True))
    with actstore.open(out) as store:
        assert store.steps == [5]
    assert not actstore.verify(out).damages


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_other_inputs_are_not_what_a_whole_store_holds(tmp_path, name):
    """A whole single file was given out, whatever the data were: the numbers of the old ones, and exit code 0."""
    out = tmp_path / name
    same, other = (
        [SplitData("train", from_object(inputs_of("train") * factor, "train.npy"))] for factor in (1, 2)
    )
    dump(Net(), same, out, SETTINGS).close()
    before = files_of(tmp_path)
    with pytest.raises(DumpError, match="the inputs are not those of the"):
        dump(Net(), other, out, replace(SETTINGS, resume=True))
    assert files_of(tmp_path) == before
    with dump(Net(), same, out, replace(SETTINGS, resume=True)) as store:
        assert store.rows == len(inputs_of("train"))


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_other_labels_are_not_what_a_whole_store_holds(tmp_path, name):
    out, rows = tmp_path / name, inputs_of("train")
    same, other = (
        [SplitData("train", from_object(rows, "train.npy"), {"y": (np.arange(len(rows)) + shift) % 3})]
        for shift in (0, 1)
    )
    dump(Net(), same, out, SETTINGS).close()
    with pytest.raises(DumpError, match="the labels"):
        dump(Net(), other, out, replace(SETTINGS, resume=True))
    with dump(Net(), same, out, replace(SETTINGS, resume=True)) as store:
        assert store.targets["y"].tolist() == (np.arange(len(rows)) % 3).tolist()


def test_more_data_does_not_go_into_a_whole_folder(tmp_path):
    """Batches that only reading counts, and now there are more of them."""
    out = tmp_path / "out.acts"
    batches = [(inputs_of("train")[at : at + 4], list(range(at, min(at + 4, 30)))) for at in range(0, 30, 4)]
    more = [*batches, (np.ones((4, 5), np.float32), [7] * 4)]
    first, longer = ([SplitData("train", from_object(some, "batches", "n"))] for some in (batches, more))
    dump(Net(), first, out, SETTINGS).close()
    before = files_of(out)
    with pytest.raises(StoreError, match=r"out\.acts already has all 30 rows of step 0, and takes no more"):
        dump(Net(), longer, out, replace(SETTINGS, resume=True))
    assert files_of(out) == before


# -- ranks, and room


def test_ranks_dump_what_one_process_does(tmp_path):
    with dump(Net(), data_of(), tmp_path / "one.acts", SETTINGS) as store:
        columns, targets, ids, splits, *_ = contents(store)
    out = tmp_path / "out.acts"
    for rank in (2, 0, 1):
        shared = replace(SETTINGS, rank=rank, world_size=3)
        if rank == 0:
            with pytest.raises(KeyboardInterrupt):
                dump(Net(3, looks=2), data_of(), out, shared)
            shared = replace(shared, resume=True)
        store = dump(Net(), data_of(), out, shared)
        assert store.complete == (rank == 1)
    assert contents(store)[:4] == (columns, targets, ids, splits)
    with pytest.raises(StoreError, match=r"rank-0000 was begun differently: world_size was 3, now 2"):
        dump(Net(), data_of(), out, replace(SETTINGS, rank=0, world_size=2, resume=True))


def test_a_disk_that_is_too_small_is_seen_before_the_first_row(tmp_path, out, monkeypatch):
    monkeypatch.setattr("actstore.store.disk.output.shutil.disk_usage", lambda _: Usage(10**9, 10**9, 4000))
    net = Net()
    with pytest.raises(
        StoreError, match=r"needs [0-9,]+ bytes.*, and 4,000 are free there\. Make room, name fewer layers"
    ):
        dump(net, data_of(), out, SETTINGS)
    assert net.calls == 3  # which described the layers, and tried the last batch
    assert not list(tmp_path.iterdir())


@pytest.fixture
def read_only(monkeypatch):
    """A file system on which nobody can make, lock or change a file."""

    def refuse(*_args, **_more):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    able = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **more: not mode & os.W_OK and able(path, mode, **more)
    )
    monkeypatch.setattr("actstore.store.writing.claim.Lock", refuse)


@pytest.mark.parametrize(("name", "step"), [("run.acts", None), ("run.acts", 3), ("run.h5", None)])
def test_a_whole_store_that_nobody_can_write_to_is_whole(tmp_path, read_only, name, step):
    out = tmp_path / name
    with pytest.MonkeyPatch.context() as before:
        before.setattr("actstore.store.writing.claim.Lock", Lock)
        dump(Net(), data_of(), out, replace(SETTINGS, step=step)).close()
        if step is not None:
            dump(OtherNet(), data_of(), out, replace(SETTINGS, step=9)).close()
    with dump(Net(), data_of(), out, replace(SETTINGS, resume=True, step=step)) as store:
        assert (store.rows, store.complete) == (44, True)
    with pytest.raises(StoreError, match="was begun differently"):
        dump(OtherNet(), data_of(), out, replace(SETTINGS, resume=True, step=step))


def test_an_unfinished_store_that_nobody_can_write_to_is_refused(tmp_path, read_only):
    out = tmp_path / "run.acts"
    with pytest.MonkeyPatch.context() as before:
        before.setattr("actstore.store.writing.claim.Lock", Lock)
        with pytest.raises(DumpError):
            dump(Net(7, ValueError, looks_of(data_of())), data_of(), out, SETTINGS)
    with pytest.raises(StoreError, match="cannot be written: Read-only file system"):
        dump(Net(), data_of(), out, replace(SETTINGS, resume=True))
