"""A writer that was interrupted is resumed: what comes of it is what an undisturbed one writes, byte for byte."""

from __future__ import annotations

import shutil
from collections import namedtuple

import numpy as np
import pytest

import actstore
from actstore import StoreError, Writer
from actstore.store.documents.records import Seen
from actstore.store.documents.write_place import WritePlace

ROWS, BATCH = 40, 6
SMALL = 1500  # bytes: two batches a shard
NOTED = {"options": {"batch_size": 6}, "model": {"weights": "abc"}}
Usage = namedtuple("Usage", "total used free")


def files_of(path):
    """Every file below ``path`` with its bytes."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def undisturbed(tmp_path, out, batches, layers, write):
    """What the same rows give in one go."""
    path = tmp_path / "undisturbed" / out.name
    path.parent.mkdir()
    write(path, batches, layers)
    return files_of(path)


# -- it goes on


@pytest.mark.parametrize("stops", [[0], [1], [2], [3], [4], [7], [2, 4], [1, 2, 3, 4, 5, 6]])
def test_a_resumed_store_has_the_bytes_of_an_undisturbed_one(out, batches, layers, undisturbed, stops, write):
    for stop in stops:
        write(out, batches, layers, stop=stop, resume=True)
    store = write(out, batches, layers, resume=True)
    assert files_of(out) == undisturbed
    assert [path.name for path in out.parent.iterdir() if path.name != "undisturbed"] == [out.name]
    for name, layer in store.layers.items():
        whole = np.concatenate([batch.activations[name].array for batch in batches])
        assert layer.raw[:].tobytes() == whole.tobytes()
    assert store.ids.tolist() == [row_id for batch in batches for row_id in batch.ids]
    assert store.splits.tolist() == [split for batch in batches for split in batch.splits]
    assert store.groups.tolist() == [group for batch in batches for group in batch.groups]
    assert store.positions.tolist() == [position for batch in batches for position in batch.positions]
    assert store.targets["digit"].tolist() == [n % 10 if n % 4 else None for n in range(ROWS)]
    assert store.targets["word"].tolist() == [None] * 24 + [f"w{n % 5}" for n in range(24, ROWS)]


def test_what_is_there_is_said(out, batches, layers, partial, write):
    assert write(out, batches, layers, stop=5) == (
        f"{partial(out)} keeps the 24 rows that were sealed, as an unfinished store; --resume continues it"
    )
    writer = Writer(out, shard_bytes=SMALL, provenance=NOTED, resume=True)
    assert not writer.whole
    assert writer.begin(layers) == Seen(4, "inputs 4", "labels 4")
    assert actstore.open(partial(out)).rows == 24
    writer.abandon()
    assert actstore.open(partial(out)).rows == 24


def test_what_an_interrupted_writer_left_beside_its_shards_is_removed(
    out, batches, layers, undisturbed, partial, write
):
    write(out, batches, layers, stop=3)
    rank = partial(out) / "steps/0/rank-0000"
    (rank / "shard-000001.h5").write_bytes(b"renamed, but never listed")
    (rank / "shard-000002.h5.tmp").write_bytes(b"half")
    with (rank / "journal").open("ab") as journal:
        journal.write(b'0123456789abcdef {"shard":"sha')
    assert actstore.open(partial(out)).rows == 12
    write(out, batches, layers, resume=True)
    assert files_of(out) == undisturbed


def test_a_step_that_was_never_listed_is_listed_when_it_is_resumed(tmp_path, batches, layers, write):
    """The process died between the record of its first shard and that of the step."""
    out = tmp_path / "out.acts"
    write(out, batches, layers, stop=3)
    (out / "journal").unlink()
    with pytest.raises(StoreError, match=r"out\.acts has no rows yet: .* Dump again with --resume"):
        actstore.open(out)
    assert write(out, batches, layers, resume=True).rows == ROWS


def test_where_there_is_nothing_to_resume_a_store_is_begun(out, batches, layers, undisturbed, partial, write):
    rank = partial(out) / "steps/0/rank-0000"
    for claimed in (False, True):
        if claimed:
            rank.mkdir(parents=True)
            (rank / "lock").touch()
        write(out, batches, layers, resume=True)
        assert files_of(out) == undisturbed
        shutil.rmtree(out) if out.is_dir() else out.unlink()


def test_a_claimed_folder_is_taken_over_unasked(out, batches, layers, undisturbed, partial, write):
    """Its writer died before the first rows were sealed: there is nothing to lose."""
    rank = partial(out) / "steps/0/rank-0000"
    rank.mkdir(parents=True)
    (rank / "lock").touch()
    write(out, batches, layers)
    assert files_of(out) == undisturbed


def test_what_another_claimed_to_replace_it_is_removed_when_a_store_is_resumed(
    tmp_path, batches, layers, write
):
    """A dump that was to replace it died before the first rows were sealed."""
    out = tmp_path / "out.acts"
    write(out, batches, layers)
    claimed = tmp_path / "out.acts.partial/steps/0/rank-0000"
    claimed.mkdir(parents=True)
    (claimed / "lock").touch()
    assert write(out, batches, layers, resume=True).rows == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["out.acts"]


def test_a_whole_store_has_nothing_to_resume(out, batches, layers, undisturbed, write):
    write(out, batches, layers)
    if out.suffix == ".h5":
        writer = Writer(out, provenance=NOTED, resume=True)
        assert writer.whole
        assert writer.open_whole(layers).rows == ROWS
    else:
        assert write(out, batches, layers, resume=True).rows == ROWS
    assert files_of(out) == undisturbed


def test_a_whole_store_takes_no_more_rows(tmp_path, batches, layers, batch_of, write):
    out = tmp_path / "out.acts"
    write(out, batches, layers)
    before = files_of(out)
    more = batch_of(3, ROWS, groups=["g"] * 3, positions=[0, 1, 2])
    with pytest.raises(StoreError, match=r"out\.acts already has all 40 rows of step 0, and takes no more"):
        write(out, [*batches, more], layers, resume=True)
    assert files_of(out) == before
    assert actstore.open(out).rows == ROWS


def test_an_interrupted_replacement_is_resumed(out, batches, layers, undisturbed, write_store, write):
    """The old store stays until the new one is whole, across interruptions."""
    old = write_store(out.name, 10).fingerprint
    write(out, batches, layers, stop=4, overwrite=True)
    assert actstore.open(out).fingerprint == old
    write(out, batches, layers, resume=True)
    assert files_of(out) == undisturbed


def test_a_step_is_resumed_beside_another(tmp_path, batches, layers, write):
    out = tmp_path / "out.acts"
    write(out, batches, layers, place=WritePlace(0))
    write(out, batches, layers, place=WritePlace(10), stop=4)
    with pytest.raises(StoreError, match=r"out\.acts holds an unfinished step 10; pass resume=True"):
        Writer(out, place=WritePlace(10))
    store = write(out, batches, layers, place=WritePlace(10), resume=True)
    assert (store.steps, store.complete) == ([0, 10], True)
    assert len(set(store.fingerprints.values())) == 1
    with pytest.raises(StoreError, match=r"out\.acts already holds step 10; choose another step"):
        Writer(out, place=WritePlace(10))


def test_a_rank_is_resumed_beside_another(tmp_path, batches, layers, write):
    whole = write(tmp_path / "whole.acts", batches, layers)
    out = tmp_path / "out.acts"
    first, second = WritePlace(None, 0, 2, 0, 24), WritePlace(None, 1, 2, 24, 16)
    write(out, batches[4:], layers, place=second, stop=2)
    assert not write(out, batches[:4], layers, place=first).complete
    with pytest.raises(StoreError, match="holds an unfinished step 0, rank 1 of 2; pass resume=True"):
        Writer(out, place=second)
    store = write(out, batches[4:], layers, place=second, resume=True)
    assert store.complete
    assert store.ids.tolist() == whole.ids.tolist()
    for name, layer in store.layers.items():
        assert layer.raw[:].tobytes() == whole.layers[name].raw[:].tobytes()
