"""Verifying finds every changed byte, says what was there, and goes on."""

from __future__ import annotations

import errno
import os
import shutil

import h5py
import numpy as np
import pytest

import actstore
from actstore import Captured, RowBatch, StoreError, Writer
from actstore.store.disk import durable
from actstore.store.disk.locks import Lock
from actstore.store.documents.folder import read_header
from actstore.store.documents.rank import read_rank
from actstore.store.documents.write_place import WritePlace
from actstore.store.verifying import rehash
from tests.actstore.mutation_stores import build

RANK = "steps/0/rank-0000"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two ranks at two steps with an attached target; and a single file."""
    folder = tmp_path_factory.mktemp("built")
    build(folder)
    return folder


@pytest.fixture
def folder(built, tmp_path):
    """A copy, which is a store moved to another folder."""
    return shutil.copytree(built / "whole.acts", tmp_path / "moved.acts")


@pytest.fixture
def single(built, tmp_path):
    return shutil.copy(built / "single.h5", tmp_path / "moved.h5")


def flip(path, offset, bits=1):
    data = bytearray(path.read_bytes())
    data[offset] ^= bits
    path.write_bytes(data)


def places(report):
    return [(str(damage.path.relative_to(report.path)), damage.place) for damage in report.damages]


def extent_of(path, rank, number, dataset):
    """Where a dataset lies in a shard of a step's rank, by the journal."""
    step = int(path.parent.parent.name)
    record = read_rank(path.parents[3], read_header(path.parents[3]), step, rank).shards[number]
    return record.file.extents[dataset]


# -- a sound store


def test_a_sound_store_verifies_wherever_it_lies(folder, single):
    report = actstore.verify(folder)
    assert (report.damages, report.leftovers, report.complete, report.rows) == ([], [], True, 24)
    files = [path for path in folder.rglob("*") if path.is_file() and "lock" not in path.name]
    assert report.bytes == sum(path.stat().st_size for path in files)
    report = actstore.verify(single)
    assert (report.damages, report.leftovers, report.complete, report.rows) == ([], [], True, 24)
    assert report.bytes == single.stat().st_size


@pytest.mark.parametrize("workers", [1, 3])
def test_progress_ends_with_every_byte(folder, workers):
    seen = []
    actstore.verify(folder, seen.append, workers)
    done = [progress.done_bytes for progress in seen]
    total = sum(path.stat().st_size for path in folder.rglob("*.h5"))
    assert done == sorted(done)
    assert (done[-1], {progress.total_bytes for progress in seen}) == (total, {total})


def test_an_error_of_the_progress_is_passed_on(folder):
    def fail(progress):
        msg = f"stop at {progress.done_bytes > 0}"
        raise KeyError(msg)

    with pytest.raises(KeyError, match="stop at True"):
        actstore.verify(folder, fail)


@pytest.mark.parametrize("name", ["none.acts", "empty.acts"])
def test_what_is_no_store_is_an_error_not_damage(tmp_path, name):
    (tmp_path / "empty.acts").mkdir()
    with pytest.raises(StoreError, match=rf"{name} (cannot be opened|is no store).*a store is a NAME"):
        actstore.verify(tmp_path / name)


def test_fewer_workers_than_one_are_refused(folder):
    with pytest.raises(ValueError, match="workers is 0; expected 1 or more"):
        actstore.verify(folder, workers=0)


# -- rows


@pytest.mark.parametrize(
    ("dataset", "place"),
    [
        ("layers/conv1", "layer 'conv1', rows 16 to 19"),
        ("layers/block%2F0%25", "layer 'block/0%', rows 16 to 19"),
        ("layers/norm", "layer 'norm', rows 16 to 19"),
        ("rows/id", "ids, rows 16 to 19"),
        ("rows/split/codes", "splits, rows 16 to 19"),
        ("rows/split/values", "splits"),
        ("rows/group/codes", "groups, rows 16 to 19"),
        ("rows/position", "positions, rows 16 to 19"),
        ("targets/digit/codes", "target 'digit', rows 16 to 19"),
        ("targets/word%2Fé/values", "target 'word/é'"),
        ("layer_names", "the names of layers"),
        ("target_names", "the names of targets"),
    ],
)
@pytest.mark.parametrize("step", [0, 7])
def test_a_flipped_byte_is_named_by_layer_and_store_rows(folder, step, dataset, place):
    path = folder / f"steps/{step}/rank-0001/shard-000001.h5"  # rank 1 begins at row 12, in shards of four rows
    extent = extent_of(path, 1, 1, dataset)
    for offset in (extent.offset, extent.offset + extent.nbytes - 1):
        flip(path, offset)
        report = actstore.verify(folder)
        assert places(report) == [(f"steps/{step}/rank-0001/shard-000001.h5", place)]
        assert report.damages[0].reason == "these bytes are not those that were written"
        flip(path, offset)
    assert actstore.verify(folder).damages == []


def test_every_byte_outside_the_datasets_is_metadata(folder):
    path = folder / RANK / "shard-000000.h5"
    record = read_rank(folder, read_header(folder), 0, 0).shards[0]
    outside = np.ones(record.file.file_bytes, bool)
    for extent in record.file.extents.values():
        outside[extent.offset : extent.offset + extent.nbytes] = False
    for offset in np.flatnonzero(outside)[::211]:
        flip(path, int(offset), 128)
        assert places(actstore.verify(folder)) == [(f"{RANK}/shard-000000.h5", "metadata")]
        flip(path, int(offset), 128)


def test_blocks_of_a_large_layer_are_told_apart_and_neighbours_joined(tmp_path):
    """5,120 rows of 4 KiB are blocks of 1,024 rows."""
    rows = 5120
    data = np.random.default_rng(0).integers(0, 255, (rows, 4096), "u1")
    with Writer(tmp_path / "s.acts") as writer:
        writer.append(
            RowBatch({"fc1": Captured(data, "uint8", ("f",))}, [str(n) for n in range(rows)], [""] * rows, {})
        )
    extent = extent_of(tmp_path / "s.acts" / RANK / "shard-000000.h5", 0, 0, "layers/fc1")
    assert extent.block_rows == 1024
    for row in (1024, 4095, 5119):
        flip(tmp_path / "s.acts" / RANK / "shard-000000.h5", extent.offset + row * 4096)
    found = [place for _, place in places(actstore.verify(tmp_path / "s.acts"))]
    assert found == ["layer 'fc1', rows 1,024 to 2,047", "layer 'fc1', rows 3,072 to 5,119"]


def test_an_attached_target_is_named(folder):
    flip(folder / "targets/000000.h5", (folder / "targets/000000.h5").stat().st_size // 2)
    data = (folder / "targets/000000.h5").read_bytes()
    whole = shutil.copy(folder / "targets/000000.h5", folder.parent / "whole.h5")
    flip(whole, len(data) // 2)
    with h5py.File(whole) as file:
        offset = file["targets/late/codes"].id.get_offset()
    shutil.copy(whole, folder / "targets/000000.h5")
    flip(folder / "targets/000000.h5", offset)
    assert places(actstore.verify(folder)) == [("targets/000000.h5", "target 'late', rows 0 to 23")]


def test_the_search_goes_on_after_damage(folder):
    for rank, name in ((0, "shard-000000.h5"), (1, "shard-000002.h5")):
        path = folder / f"steps/7/rank-000{rank}" / name
        flip(path, extent_of(path, rank, int(name[11]), "layers/wide").offset)
        flip(path, extent_of(path, rank, int(name[11]), "rows/id").offset)
        flip(path, 3)
    (folder / RANK / "shard-000001.h5").unlink()
    flip(folder / "steps/0/step.json", 5)
    flip(folder / "targets/000000.h5", 3)
    found = places(actstore.verify(folder))
    assert sorted(found) == [
        ("steps/0/rank-0000/shard-000001.h5", "all it holds, rows 4 to 7"),
        ("steps/0/step.json", "document"),
        ("steps/7/rank-0000/shard-000000.h5", "ids, rows 0 to 3"),
        ("steps/7/rank-0000/shard-000000.h5", "layer 'wide', rows 0 to 3"),
        ("steps/7/rank-0000/shard-000000.h5", "metadata"),
        ("steps/7/rank-0001/shard-000002.h5", "ids, rows 20 to 23"),
        ("steps/7/rank-0001/shard-000002.h5", "layer 'wide', rows 20 to 23"),
        ("steps/7/rank-0001/shard-000002.h5", "metadata"),
        ("targets/000000.h5", "metadata"),
    ]


def test_a_truncated_shard_says_which_rows_are_gone(folder):
    path = folder / RANK / "shard-000002.h5"
    extent = extent_of(path, 0, 2, "layers/wide")
    path.write_bytes(path.read_bytes()[: extent.offset + 10])
    found = places(actstore.verify(folder))
    assert found[0] == (f"{RANK}/shard-000002.h5", "size")
    assert (f"{RANK}/shard-000002.h5", "layer 'wide', rows 8 to 11") in found
    assert (f"{RANK}/shard-000002.h5", "layer 'conv1', rows 8 to 11") not in found  # it lies before the end


def test_a_disk_that_can_not_read_is_damage_and_does_not_end_the_search(folder, monkeypatch):
    """EIO, as a bad sector gives."""
    extent = extent_of(folder / RANK / "shard-000001.h5", 0, 1, "layers/wide")
    read_at = durable.read_at

    def read(fd, buffer, offset):
        if os.readlink(f"/proc/self/fd/{fd}").endswith("rank-0000/shard-000001.h5") and offset == extent.offset:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_at(fd, buffer, offset)

    monkeypatch.setattr(durable, "read_at", read)
    found = actstore.verify(folder).damages
    assert {damage.place for damage in found} == {"layer 'wide', rows 4 to 7"}
    assert {damage.reason for damage in found} == {"cannot be read (Input/output error)"}
    assert {str(damage.path.parent.parent.name) for damage in found} == {"0", "7"}


@pytest.mark.parametrize("name", ["store.json", "journal", f"{RANK}/journal", f"{RANK}/shard-000000.h5"])
def test_a_pipe_in_place_of_a_file_does_not_hang(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    found = actstore.verify(folder).damages
    assert (folder / name) in {damage.path for damage in found}
    with pytest.raises(StoreError, match=r"it is no file|has 0 bytes where"):
        actstore.open(folder)


# -- HDF5


def test_hdf5_sees_a_file_only_once_its_hashes_agree(folder, single, monkeypatch):
    opened = []

    class Spy(rehash.HDF5File):
        def __init__(self, path):
            opened.append(path.name)
            super().__init__(path)

    monkeypatch.setattr(rehash, "HDF5File", Spy)
    flip(folder / RANK / "shard-000001.h5", 9)
    flip(single, 9)
    assert len(actstore.verify(folder).damages) == len(actstore.verify(single).damages) == 1
    assert sorted(opened) == sorted(
        path.name for path in folder.rglob("*.h5") if path != folder / RANK / "shard-000001.h5"
    )


def test_metadata_that_leads_elsewhere_than_the_record_is_found(folder, monkeypatch):
    """All hashes agree, but HDF5 would show other bytes."""
    monkeypatch.setattr(rehash.HDF5File, "offset", lambda *args: 12345)
    damage = actstore.verify(folder).damages[0]
    assert (damage.place, damage.path.name) == ("metadata", "shard-000000.h5")
    assert "HDF5 has dataset 'layer_names' at 12,345, the record at" in damage.reason


# -- journals and documents


@pytest.mark.parametrize("record", [0, 1, 2, 4])
def test_a_damaged_record_is_named_and_the_others_are_still_checked(folder, record):
    journal = folder / RANK / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5  # begin, three shards, end
    flip(journal, sum(map(len, lines[:record])) + 30)
    flip(folder / RANK / "shard-000002.h5", 3)
    found = places(actstore.verify(folder))
    lost = [(f"{RANK}/shard-00000{record - 1}.h5", "the whole file")] if record in (1, 2) else []
    assert found == [(f"{RANK}/journal", f"record {record}"), *lost, (f"{RANK}/shard-000002.h5", "metadata")]


def test_a_damaged_header_leaves_the_shards_checkable(folder):
    flip(folder / "store.json", 40)
    path = folder / "steps/0/rank-0001/shard-000000.h5"
    record = (folder / "steps/0/rank-0001/journal").read_bytes()
    assert b"layers/wide" in record
    flip(path, path.stat().st_size - 100)
    found = places(actstore.verify(folder))
    assert found[0] == ("store.json", "document")
    assert [name for name, _ in found[1:]] == ["steps/0/rank-0001/shard-000000.h5"]
    assert found[1][1].endswith("rows 12 to 15") or found[1][1] == "metadata"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("journal", "targets/000000.h5"),
        (f"{RANK}/journal", "document"),
        ("steps/7/rank-0001/journal", "document"),
    ],
)
def test_a_lost_last_record_of_a_complete_store_is_found(folder, name, place):
    """What is left is a sound journal: what it no longer lists gives it away, or COMPLETE does."""
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    (folder / name).write_bytes(b"".join(lines[:-1]))
    assert (name, place) in places(actstore.verify(folder))


def test_a_target_whose_record_is_damaged_can_not_be_checked(folder):
    journal = folder / "journal"
    flip(journal, len(journal.read_bytes()) - 20)
    assert places(actstore.verify(folder)) == [("journal", "record 2"), ("targets/000000.h5", "the whole file")]


def test_a_complete_step_that_the_store_does_not_list_is_found(folder):
    journal = folder / "journal"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    assert places(actstore.verify(folder))[:1] == [("journal", "step 7")]
    with pytest.raises(StoreError, match="journal is damaged: it does not list step 7, which is complete"):
        actstore.open(folder)


def test_exchanged_proofs_are_found(folder):
    one, other = (folder / f"steps/{step}/COMPLETE" for step in (0, 7))
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert places(actstore.verify(folder)) == [
        ("steps/0/COMPLETE", "document"),
        ("steps/7/COMPLETE", "document"),
    ]
    with pytest.raises(
        StoreError, match=r"COMPLETE is damaged or was not written by actstore \(it is of step 7"
    ):
        actstore.open(folder)


def test_a_missing_rank_is_found(folder):
    shutil.rmtree(folder / "steps/7/rank-0001")
    found = actstore.verify(folder).damages
    assert [(damage.place, damage.reason) for damage in found] == [("ranks", "1 of 2 ranks are there")]


def test_documents_that_were_being_written_are_left_over(folder):
    """Of the store and of a step: a process was killed before they had their names."""
    mark = "0" * 16
    half = [folder / f"steps/0/COMPLETE.{mark}.tmp", folder / f"store.json.{mark}.tmp"]
    for path in (*half, folder / "mine.tmp", folder / f"mine.{mark}.tmp"):
        path.write_bytes(b"{")
    report = actstore.verify(folder)
    assert (report.damages, report.leftovers, report.complete) == ([], half, True)


def test_a_shard_that_nothing_lists_is_damage_in_a_complete_store_only(folder):
    shutil.copy(folder / RANK / "shard-000000.h5", folder / RANK / "shard-000009.h5")
    (folder / RANK / "shard-000010.h5.tmp").touch()
    report = actstore.verify(folder)
    assert places(report) == [(f"{RANK}/shard-000009.h5", "the whole file")]
    assert report.leftovers == [folder / RANK / "shard-000010.h5.tmp"]
    (folder / "steps/0/COMPLETE").unlink()
    report = actstore.verify(folder)
    assert (report.damages, report.complete) == ([], False)
    assert report.leftovers == [folder / RANK / "shard-000009.h5", folder / RANK / "shard-000010.h5.tmp"]


def test_bytes_after_the_last_record_are_damage_unless_a_step_was_being_listed(folder):
    journal = folder / "journal"
    journal.write_bytes(journal.read_bytes() + b"0123456789abcdef {")
    assert places(actstore.verify(folder)) == [("journal", "the end")]
    (folder / "steps/8").mkdir()
    report = actstore.verify(folder)
    assert (report.damages, report.leftovers) == ([], [journal, folder / "steps/8"])


def test_a_kill_while_labels_are_listed_loses_nothing_and_says_so(folder):
    """Their file has its name, and half a record follows the last one: one thing, not a damaged journal beside it."""
    with actstore.open(folder) as store:
        before = (folder / "journal").read_bytes()
        store.attach("later", np.arange(store.rows))
    journal = folder / "journal"
    journal.write_bytes(journal.read_bytes()[: len(before) + 20])
    (damage,) = actstore.verify(folder).damages
    assert "a record of the journal is lost" in damage.reason  # no kill: the writer had ended
    file = max((folder / "targets").iterdir())
    lock = Lock(folder / "journal.lock")
    lock.note(f"targets/{file.name}")  # as a writer says before it writes
    lock.release()
    report = actstore.verify(folder)
    assert (report.damages, set(report.leftovers)) == ([], {file, journal})
    with actstore.open(folder) as store:
        store.attach("later", np.arange(store.rows))
    report = actstore.verify(folder)
    assert (report.damages, report.leftovers) == ([], [])


# -- unfinished stores


def test_an_unfinished_store_verifies_as_far_as_it_is_sealed(tmp_path, batch_of):
    path = tmp_path / "out.acts"
    writer = Writer(path, place=WritePlace(3, 0, 2, 0, 14), shard_bytes=1000)
    for first in (0, 7):
        writer.append(batch_of(7, first))
    writer.abandon()
    report = actstore.verify(path)
    assert (report.damages, report.complete) == ([], False)
    assert 0 < report.rows <= 14
    flip(path / "steps/3/rank-0000/shard-000000.h5", 3)
    assert places(actstore.verify(path)) == [("steps/3/rank-0000/shard-000000.h5", "metadata")]


def test_a_record_that_was_being_written_is_left_over(folder):
    (folder / "steps/0/COMPLETE").unlink()
    journal = folder / RANK / "journal"
    journal.write_bytes(journal.read_bytes()[:-5])
    report = actstore.verify(folder)
    assert (report.damages, report.leftovers) == ([], [journal])


# -- single files


@pytest.mark.parametrize("dataset", ["layers/conv1", "layers/wide", "targets/word%2Fé/codes", "rows/id"])
def test_a_flipped_byte_of_a_single_file_is_named(single, dataset):
    with h5py.File(single) as file:
        offset = file[dataset].id.get_offset()
    flip(single, offset)
    (damage,) = actstore.verify(single).damages
    name = {"layers/conv1": "layer 'conv1'", "layers/wide": "layer 'wide'", "rows/id": "ids"}
    assert damage.place == name.get(dataset, "target 'word/é'") + ", rows 0 to 23"
    assert damage.path == single


@pytest.mark.parametrize(("where", "place"), [(3, "manifest"), (30, "metadata"), (-10, "manifest")])
def test_the_rest_of_a_single_file_is_covered(single, where, place):
    flip(single, where)
    assert [damage.place for damage in actstore.verify(single).damages] == [place]


def test_the_manifest_of_a_single_file_is_covered(single):
    with h5py.File(single) as file:
        flip(single, file["manifest"].id.get_offset() + 1000)
    assert [damage.place for damage in actstore.verify(single).damages] == ["manifest"]
