"""What is not a whole, sound store is refused in one line that names the file."""

from __future__ import annotations

import json
import re
import shutil

import h5py
import numpy as np
import pytest

import actstore
from actstore import StoreError, documents
from actstore.documents import seal, unseal

RANK = "steps/0/rank-0000"


@pytest.fixture
def folder(write_store):
    return write_store("store.acts").path


@pytest.fixture
def single(write_store):
    return write_store("store.h5").path


# -- what is no store


def test_what_is_missing_is_named(tmp_path):
    message = r"none\.h5 can not be opened \(No such file or directory\); a store was expected: a NAME\.acts folder or"
    with pytest.raises(StoreError, match=message):
        actstore.open(tmp_path / "none.h5")


def test_an_unfinished_dump_is_pointed_to(tmp_path, batch_of):
    writer = actstore.Writer(tmp_path / "out.h5")
    writer.append(batch_of(3))
    with pytest.raises(
        StoreError, match=r"out\.h5 can not be opened .*out\.h5\.partial is an unfinished dump of it"
    ):
        actstore.open(tmp_path / "out.h5")
    writer.abandon()


def test_a_numpy_file_is_no_store(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(StoreError, match=r"x\.npy is not an HDF5 file; a store was expected"):
        actstore.open(tmp_path / "x.npy")


def test_another_hdf5_file_is_no_store(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(StoreError, match=r"other\.h5 is another HDF5 file; a store was expected"):
        actstore.open(tmp_path / "other.h5")


def test_a_shard_is_pointed_back_to_its_folder(folder):
    with pytest.raises(StoreError, match=r"shard-000001\.h5 is one shard of a store: open its folder"):
        actstore.open(folder / RANK / "shard-000001.h5")


def test_another_folder_is_no_store(tmp_path):
    with pytest.raises(StoreError, match=r"store\.json can not be read \(No such file or directory\)"):
        actstore.open(tmp_path)


# -- folders


@pytest.mark.parametrize("name", ["store.json", "journal", "steps/0/step.json", f"{RANK}/journal"])
@pytest.mark.parametrize("complete", [True, False])
def test_a_missing_document_is_named(folder, name, complete):
    if not complete:
        (folder / "steps/0/COMPLETE").unlink()
    (folder / name).unlink()
    with pytest.raises(StoreError, match=rf"{name} can not be read \(No such file"):
        actstore.open(folder)


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
    rng = np.random.default_rng(0)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"damaged|format version|is not what it was"):
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
    lines = journal.read_bytes().splitlines(keepends=True)
    for length in (0, 1, 20, len(lines[-1]) - 1):
        journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:length])
        store = actstore.open(folder)
        assert (store.complete, store.rows) == (False, 28)
        assert store.layers["conv1"][:].shape == (28, 3, 4)


def test_records_of_a_journal_can_not_be_dropped_moved_or_borrowed(folder, tmp_path, batch_of):
    journal = folder / RANK / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    (folder / "steps/0/COMPLETE").unlink()
    with actstore.Writer(tmp_path / "other.acts", row_unit="token") as writer:
        writer.append(batch_of(3))
    others = (tmp_path / "other.acts" / RANK / "journal").read_bytes()
    for records in (
        [lines[1], lines[2]],
        [lines[0], lines[2]],
        [lines[1], lines[0]],
        [others],
        [lines[0], lines[0]],
    ):
        journal.write_bytes(b"".join(records))
        with pytest.raises(StoreError, match=r"journal is damaged at record [01], whose checksum does not fit"):
            actstore.open(folder)


def test_a_store_without_rows_can_be_opened_while_it_is_written(tmp_path, batch_of):
    writer = actstore.Writer(tmp_path / "out.acts")
    writer.append(batch_of(3))
    store = actstore.open(tmp_path / "out.acts")
    assert (store.rows, store.complete, store.ids.tolist(), store.groups, dict(store.targets)) == (
        0,
        False,
        [],
        None,
        {},
    )
    assert store.layers["conv1"][:].shape == (0, 3, 4)
    assert store.layers["conv1"][[]].shape == (0, 3, 4)
    assert list(store.layers["conv1"].blocks(5)) == []
    writer.finish()


def test_a_missing_shard_is_an_error_never_zeros(folder):
    store = actstore.open(folder)
    (folder / RANK / "shard-000001.h5").unlink()
    with pytest.raises(StoreError, match=r"shard-000001\.h5 can not be read \(No such file"):
        store.layers["conv1"][:]
    with pytest.raises(StoreError, match=r"shard-000001\.h5 can not be read .*; 14 rows are missing"):
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


def rewrite_journal(folder, change):
    """Change the first record and give every record a checksum that fits: what damage can not do, malice can."""
    identity = documents.Header.parse(unseal((folder / "store.json").read_bytes(), "")).identity
    (folder / "steps/0/COMPLETE").unlink()
    path = folder / RANK / "journal"
    records = [json.loads(line[17:]) for line in path.read_text().splitlines()]
    change(records[0])
    path.unlink()
    journal = actstore.journal.Journal(path, identity)
    for record in records:
        journal.append(record)


RECORDS = {
    "a name that climbs out": (
        lambda record: record.update(shard="../../../etc/passwd"),
        "does not follow on row 0",
    ),
    "a first row": (lambda record: record.update(first_row=1), "does not follow on row 0"),
    "no rows": (lambda record: record.update(rows=0), "is float32 .*, not float32|of 0 rows"),
    "an offset outside": (lambda record: record["datasets"]["rows/id"].update(offset=10**9), "does not lie in"),
    "a negative offset": (lambda record: record["datasets"]["rows/id"].update(offset=-1), "-1 is not a count"),
    "an absurd shape": (lambda record: record["datasets"]["rows/id"].update(shape=[10**30]), "does not lie in"),
    "an object dtype": (lambda record: record["datasets"]["rows/id"].update(dtype="O"), "dtype 'O' is none of"),
    "another dtype": (
        lambda record: record["datasets"]["layers/conv1"].update(dtype="int32"),
        "layer 'conv1' is int32",
    ),
    "no layer": (lambda record: record["datasets"].pop("layers/conv1"), "no 'layers/conv1'"),
    "no ids": (lambda record: record["datasets"].pop("rows/id"), "no 'rows/id'"),
    "codes of another length": (
        lambda record: record["datasets"]["rows/split/codes"].update(shape=[3]),
        r"rows/split/codes has shape \(3,\), for 14 rows",
    ),
    "no hashes": (lambda record: record["datasets"]["rows/id"].update(hashes=[]), "0 hashes of 1 blocks"),
    "a list": (lambda record: record.update(datasets=[]), "has no attribute|list"),
}


@pytest.mark.parametrize(("change", "message"), RECORDS.values(), ids=RECORDS.keys())
def test_a_record_that_can_not_be_is_refused(folder, change, message):
    rewrite_journal(folder, change)
    with pytest.raises(StoreError, match=rf"journal is damaged or was not written by actstore \(.*({message})"):
        actstore.open(folder)


def test_codes_outside_their_vocabulary_are_refused(folder):
    path = folder / RANK / "shard-000000.h5"
    with h5py.File(path, "r+") as file:
        file["targets/digit/codes"][2] = 99
    with pytest.raises(StoreError, match=r"shard-000000\.h5 is damaged .*codes from 0 to 99 for 10 labels"):
        actstore.open(folder).targets["digit"]


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


def replace(path, name, make):
    """Put another object where a dataset is."""
    with h5py.File(path, "r+") as file:
        data = file[name][:]
        del file[name]
        make(file, name, data)


OUTSIDE = {
    "a soft link": (
        lambda file, name, data: file.__setitem__(name, h5py.SoftLink("/rows/id")),
        "through a link",
    ),
    "an external link": (
        lambda file, name, data: file.__setitem__(name, h5py.ExternalLink("x.h5", "/y")),
        "a link",
    ),
    "a group": (lambda file, name, data: file.create_group(name), "is not a dataset"),
    "nothing": (lambda file, name, data: None, "can not be opened"),
    "chunks": (
        lambda file, name, data: file.create_dataset(name, data=data, chunks=True),
        "not stored in one piece",
    ),
    "a filter": (
        lambda file, name, data: file.create_dataset(name, data=data, compression="gzip"),
        "not stored in one",
    ),
    "external storage": (
        lambda file, name, data: file.create_dataset(
            name, data.shape, data.dtype, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
        ),
        "not stored in one piece",
    ),
    "another type": (
        lambda file, name, data: file.create_dataset(name, data=data.astype("f8")),
        "is not float32",
    ),
    "big endian": (
        lambda file, name, data: file.create_dataset(name, data=data.astype(">f4")),
        "is not float32",
    ),
    "another shape": (
        lambda file, name, data: file.create_dataset(name, data=data[1:]),
        r"is not float32 \(40, 3, 4\)",
    ),
    "variable length": (
        lambda file, name, data: file.create_dataset(name, data.shape, h5py.string_dtype()),
        "is not float32",
    ),
    "a virtual dataset": (
        lambda file, name, data: file.create_virtual_dataset(name, h5py.VirtualLayout(data.shape, data.dtype)),
        "not stored in one piece",
    ),
    "no storage": (
        lambda file, name, data: file.create_dataset(name, data.shape, "f4"),
        "does not lie inside the file",
    ),
}


@pytest.mark.parametrize(("make", "reason"), OUTSIDE.values(), ids=OUTSIDE.keys())
def test_what_is_outside_the_profile_is_refused_before_it_is_read(single, make, reason):
    replace(single, "layers/conv1", make)
    with pytest.raises(StoreError, match=rf"store\.h5: dataset 'layers/conv1' .*{reason}.*, so it is not read"):
        actstore.open(single)


def test_a_manifest_of_variable_length_is_refused(single):
    with h5py.File(single, "r+") as file:
        del file["manifest"]
        file["manifest"] = "{}"
    with pytest.raises(StoreError, match="dataset 'manifest' is not one fixed-width text"):
        actstore.open(single)


# -- versions


def newer(document):
    return seal({**document, "version": 1})


def test_a_newer_version_is_refused_by_name(folder, single):
    message = r"{} has format version 1; this actstore reads versions up to 0\. Update actstore"
    document = unseal((folder / "store.json").read_bytes(), "")
    (folder / "store.json").write_bytes(newer(document))
    with pytest.raises(StoreError, match=message.format(r"store\.json")):
        actstore.open(folder)
    data = single.read_bytes()
    single.write_bytes(re.sub(rb'(?s)("format": "actstore",\s+"version": )0', rb"\g<1>1", data))
    with pytest.raises(StoreError, match=message.format(r"store\.h5")):
        actstore.open(single)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers": []}, "its layers are not one or more"),
        ({"row_unit": "pixel"}, "its row unit 'pixel' is none of example, token, word"),
        ({"format": "other"}, "its format is 'other', not 'actstore'"),
        ({"version": "0"}, "'0' is not a count"),
        (
            {"layers": [{"name": "a", "dtype": "O", "shape": [], "axes": [], "order": 0}]},
            "layer 'a' has an impossible description",
        ),
        ({"layers": [{"name": 1, "dtype": "int8", "shape": [], "axes": [], "order": 0}]}, "1 is not a text"),
        (
            {"layers": [{"name": "a", "dtype": "int8", "shape": [-1], "axes": ["f"], "order": 0}]},
            "-1 is not a count",
        ),
    ],
)
def test_a_header_that_can_not_be_is_refused(folder, change, reason):
    document = unseal((folder / "store.json").read_bytes(), "")
    (folder / "steps/0/COMPLETE").unlink()
    (folder / "store.json").write_bytes(seal({**document, **change}))
    with pytest.raises(StoreError, match=rf"store\.json is damaged or was not written by actstore \({reason}"):
        actstore.open(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "[" * 100_000, '{"format": "actstore"}', "\xff"])
def test_json_that_is_no_document_is_refused(folder, text):
    (folder / "store.json").write_text(text, encoding="latin-1")
    (folder / "steps/0/COMPLETE").unlink()
    with pytest.raises(StoreError, match=r"store\.json is damaged or was not written by actstore"):
        actstore.open(folder)
