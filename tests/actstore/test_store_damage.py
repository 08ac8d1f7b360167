"""What is not a whole, sound store is refused in one line that names the file."""

from __future__ import annotations

import re
import shutil

import h5py
import numpy as np
import pytest

import actstore
from actstore import StoreError
from actstore.store.documents.documents import seal, unseal
from actstore.store.documents.write_place import WritePlace
from actstore.store.format import VERSION

RANK = "steps/0/rank-0000"


@pytest.fixture
def folder(write_store):
    return write_store("store.acts").path


@pytest.fixture
def single(write_store):
    return write_store("store.h5").path


# -- what is no store


def test_what_is_missing_is_named(tmp_path):
    message = r"none\.h5 cannot be opened \(No such file or directory\); a store is a NAME\.acts folder or"
    with pytest.raises(StoreError, match=message):
        actstore.open(tmp_path / "none.h5")


def test_an_unfinished_dump_is_pointed_to(tmp_path, batch_of):
    writer = actstore.Writer(tmp_path / "out.h5")
    writer.append(batch_of(3))
    with pytest.raises(
        StoreError, match=r"out\.h5 cannot be opened .*out\.h5\.partial is an unfinished dump of it"
    ):
        actstore.open(tmp_path / "out.h5")
    writer.abandon()


def test_a_numpy_file_is_no_store(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(StoreError, match=r"x\.npy is not an HDF5 file; a store is"):
        actstore.open(tmp_path / "x.npy")


def test_another_hdf5_file_is_no_store(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(StoreError, match=r"other\.h5 is another HDF5 file; a store is"):
        actstore.open(tmp_path / "other.h5")


def test_a_shard_is_pointed_back_to_its_folder(folder):
    with pytest.raises(StoreError, match=r"shard-000001\.h5 is one shard of a store: open its folder"):
        actstore.open(folder / RANK / "shard-000001.h5")


def test_another_folder_is_no_store(tmp_path):
    with pytest.raises(StoreError, match=r"is no store: there is no store\.json in it"):
        actstore.open(tmp_path)


# -- folders


@pytest.mark.parametrize(
    ("name", "complete", "message"),
    [
        ("store.json", True, r"store\.acts holds no rows yet: there is no store\.json in it"),
        ("store.json", False, r"store\.acts holds no rows yet: there is no store\.json in it"),
        ("journal", True, r"journal is damaged: it does not list step 0, which is complete"),
        ("journal", False, r"store\.acts has no rows yet"),
        ("steps/0/step.json", True, r"step\.json cannot be read \(No such file"),
        ("steps/0/step.json", False, r"step\.json cannot be read \(No such file"),
        (f"{RANK}/journal", True, r"rank-0000/journal cannot be read \(No such file"),
    ],
)
def test_a_missing_document_is_an_error(folder, name, complete, message):
    if not complete:
        (folder / "steps/0/COMPLETE").unlink()
    (folder / name).unlink()
    with pytest.raises(StoreError, match=message):
        actstore.open(folder)


def test_a_rank_without_a_journal_has_no_rows_yet(folder):
    (folder / "steps/0/COMPLETE").unlink()
    (folder / RANK / "journal").unlink()
    store = actstore.open(folder)
    assert (store.rows, store.complete) == (0, False)
    assert store.layers["conv1"][:].shape == (0, 3, 4)


@pytest.mark.parametrize(
    "name", ["store.json", "journal", "steps/0/step.json", f"{RANK}/journal", "steps/0/COMPLETE"]
)
@pytest.mark.parametrize("complete", [True, False])
def test_every_changed_byte_of_a_document_is_found(folder, name, complete):
    """All of the short ones; of the long ones every 37th byte, and the last 40."""
    if not complete:
        (folder / "steps/0/COMPLETE").rename(folder / "COMPLETE")
        if name == "steps/0/COMPLETE":
            return
    path = folder / name
    whole = path.read_bytes()
    places = {
        *range(0, len(whole), 37 if len(whole) > 2000 else 1),
        *range(max(0, len(whole) - 40), len(whole) - 1),
    }
    torn = (
        "has no rows yet" if name == "journal" and not complete else "$^"
    )  # its one record has lost its line end
    rng = np.random.default_rng(0)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"damaged|format version|is not what it was|{torn}"):
            actstore.open(folder)
    path.write_bytes(whole)
    assert actstore.open(folder).complete == complete


@pytest.mark.parametrize("name", ["store.json", "steps/0/step.json", f"{RANK}/journal", "steps/0/COMPLETE"])
def test_a_truncated_document_of_a_complete_store_is_found(folder, name):
    whole = (folder / name).read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(StoreError, match=rf"{name} is damaged|is not what it was"):
            actstore.open(folder)


def test_a_record_that_was_being_written_is_left_out(folder):
    """Killed while it appended: without COMPLETE, the rows are those of the records before."""
    (folder / "steps/0/COMPLETE").unlink()
    journal = folder / RANK / "journal"
    _, _, last, end = lines = journal.read_bytes().splitlines(keepends=True)
    for written, rows in ((lines[:-2], 21), (lines[:-1], 40)):
        torn = last if rows == 21 else end
        for length in (0, 1, 20, len(torn) - 1):
            journal.write_bytes(b"".join(written) + torn[:length])
            store = actstore.open(folder)
            assert (store.complete, store.rows) == (False, rows)
            assert store.layers["conv1"][:].shape == (rows, 3, 4)


def test_records_of_a_journal_can_not_be_dropped_moved_or_borrowed(folder, tmp_path, batch_of):
    journal = folder / RANK / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    (folder / "steps/0/COMPLETE").unlink()
    with actstore.Writer(tmp_path / "other.acts", row_unit="token") as writer:  # another unit: another store
        writer.append(batch_of(3))
    others = (tmp_path / "other.acts" / RANK / "journal").read_bytes()
    for records, place in (
        ([lines[1], lines[2]], 0),
        ([lines[0], lines[2]], 1),
        ([lines[1], lines[0]], 0),
        ([others], 0),
        ([lines[0], lines[1], lines[1]], 2),
    ):
        journal.write_bytes(b"".join(records))
        with pytest.raises(
            StoreError, match=rf"journal is damaged at record {place}, whose checksum does not fit"
        ):
            actstore.open(folder)


def test_a_journal_does_not_fit_another_rank_or_step(tmp_path, batch_of):
    path = tmp_path / "s.acts"
    for step in (0, 1):
        for rank in (0, 1):
            with actstore.Writer(path, place=WritePlace(step, rank, 2, 3 * rank, 3)) as writer:
                writer.append(batch_of(3, 3 * rank))
    ours = path / RANK / "journal"
    for other in ("steps/0/rank-0001", "steps/1/rank-0000"):
        (path / "steps/0/COMPLETE").unlink(missing_ok=True)
        ours.write_bytes((path / other / "journal").read_bytes())
        with pytest.raises(
            StoreError, match=r"rank-0000/journal is damaged at record 0, whose checksum does not"
        ):
            actstore.open(path)


def test_a_store_that_is_being_written_can_be_opened_from_the_first_sealed_rows_on(tmp_path, batch_of):
    writer = actstore.Writer(tmp_path / "out.acts", shard_bytes=10**9)
    writer.append(batch_of(3))
    with pytest.raises(StoreError, match=r"out\.acts holds no rows yet: there is no store\.json in it"):
        actstore.open(tmp_path / "out.acts")
    writer.finish()
    assert actstore.open(tmp_path / "out.acts").rows == 3


def test_a_missing_shard_is_an_error_never_zeros(folder):
    store = actstore.open(folder)
    (folder / RANK / "shard-000001.h5").unlink()
    with pytest.raises(StoreError, match=r"shard-000001\.h5 cannot be read \(No such file"):
        store.layers["conv1"][:]
    with pytest.raises(StoreError, match=r"shard-000001\.h5 cannot be read .*; what it holds is missing"):
        actstore.open(folder)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_shard_of_another_length_is_named(folder, change):
    path = folder / RANK / "shard-000001.h5"
    data = path.read_bytes()
    path.write_bytes(data[:change] if change < 0 else data + b"x")
    with pytest.raises(StoreError, match=r"shard-000001\.h5 has [0-9,]+ bytes where [0-9,]+ were written"):
        actstore.open(folder)


def test_a_shard_that_changes_under_an_open_store_is_noticed(folder):
    store = actstore.open(folder)
    path = folder / RANK / "shard-000001.h5"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"shard-000001\.h5 has changed since the store was opened"):
        store.layers["conv1"][:]


def test_a_shard_that_is_not_listed_is_not_read(folder):
    (folder / "steps/0/COMPLETE").unlink()
    shutil.copy(folder / RANK / "shard-000000.h5", folder / RANK / "shard-000003.h5")
    (folder / RANK / "shard-000004.h5.tmp").touch()
    assert actstore.open(folder).rows == 40


# -- single files


def test_a_truncated_single_file_is_refused(single):
    """Wherever it is cut. What is left may still be HDF5; it is never a store."""
    whole = single.read_bytes()
    for length in (0, 7, 8, 100, *range(200, len(whole), 701), len(whole) - 1):
        single.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"store\.h5 (is damaged|is not an HDF5 file)|store\.h5: dataset"):
            actstore.open(single)


def test_every_changed_byte_of_the_manifest_is_found(single):
    whole = single.read_bytes()
    with h5py.File(single) as file:
        start, size = file["manifest"].id.get_offset(), file["manifest"].id.get_storage_size()
    rng = np.random.default_rng(0)
    for place in range(start, start + size, 29):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        single.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"store\.h5 is damaged|format version"):
            actstore.open(single)


# -- versions


def test_a_newer_version_is_refused_by_name(folder, single):
    newer = VERSION + 1
    message = (
        rf"{{}} has format version {newer}; this actstore reads versions up to {VERSION}\. Update actstore"
    )
    document = unseal((folder / "store.json").read_bytes(), "")
    (folder / "store.json").write_bytes(seal({**document, "version": newer}))
    with pytest.raises(StoreError, match=message.format(r"store\.json")):
        actstore.open(folder)
    data = single.read_bytes()
    single.write_bytes(re.sub(rb'(?s)("format": "actstore",\s+"version": )[0-9]+', rb"\g<1>%d" % newer, data))
    with pytest.raises(StoreError, match=message.format(r"store\.h5")):
        actstore.open(single)
