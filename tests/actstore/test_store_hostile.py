"""What damage cannot do, malice can: checksums that fit, files outside the profile. Refused before it is read."""

from __future__ import annotations

import json

import h5py
import pytest

import actstore
from actstore import StoreError
from actstore.store.documents.documents import seal, unseal
from actstore.store.documents.folder import read_header
from actstore.store.documents.journal import Journal
from actstore.store.documents.rank import journal_start
from actstore.store.documents.records import Begin

RANK = "steps/0/rank-0000"


@pytest.fixture
def folder(write_store):
    return write_store("store.acts").path


def rewrite_journal(folder, change):
    """Change the record of the first shard, and give every record a checksum that fits."""
    start = journal_start(read_header(folder), 0, 0)
    (folder / "steps/0/COMPLETE").unlink()
    path = folder / RANK / "journal"
    records = [json.loads(line[17:]) for line in path.read_text().splitlines()]
    change(records[1])
    path.unlink()
    rewritten = Journal(path, start)
    for record in records:
        rewritten.append(record)


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
        r"rows/split/codes has shape \(3,\), for 21 rows",
    ),
    "no hashes": (lambda record: record["datasets"]["rows/id"].update(hashes=[]), "0 hashes of 1 blocks"),
    "a list": (lambda record: record.update(datasets=[]), "has no attribute|list"),
    "200 axes": (
        lambda record: record["datasets"]["rows/id"].update(shape=[1] * 200),
        "of 200 axes that no array",
    ),
    "no rows of 10^30": (
        lambda record: record["datasets"]["rows/id"].update(shape=[0, 10**30]),
        "of 2 axes that no array can have",
    ),
}


@pytest.mark.parametrize(("change", "message"), RECORDS.values(), ids=RECORDS.keys())
def test_a_record_that_can_not_be_is_refused(folder, change, message):
    rewrite_journal(folder, change)
    with pytest.raises(StoreError, match=rf"journal is damaged or was not written by actstore \(.*({message})"):
        actstore.open(folder)


@pytest.mark.parametrize("step", [-1, 10**12, 10**400, 1.0, True, "0", "../../x", None])
def test_a_step_that_can_not_be_is_refused(folder, step):
    journal = Journal(folder / "journal", read_header(folder).identity)
    journal.append({"step": step})
    with pytest.raises(
        StoreError, match=r"journal is damaged or was not written by actstore \(.*(count|lists a step)"
    ):
        actstore.open(folder)
    (damage,) = actstore.verify(folder).damages
    assert (damage.path, damage.place) == (folder / "journal", "record 1")


def test_codes_outside_their_vocabulary_are_refused(folder):
    path = folder / RANK / "shard-000000.h5"
    with h5py.File(path, "r+") as file:
        file["targets/digit/codes"][2] = 99
    with pytest.raises(StoreError, match=r"shard-000000\.h5 is damaged .*codes from 0 to 99 for 10 labels"):
        actstore.open(folder).targets["digit"]


LAYER = {"name": "a", "dtype": "int8", "shape": [], "axes": [], "order": 0}


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
        ({"layers": [LAYER | {"name": 1}]}, "1 is not a text"),
        (
            {"layers": [LAYER | {"shape": [-1], "axes": ["f"]}]},
            "-1 is not a count",
        ),
        (
            {"layers": [LAYER | {"shape": [1] * 32, "axes": ["f"] * 32}]},
            "layer 'a' has an impossible description",
        ),
    ],
)
def test_a_header_that_can_not_be_is_refused(folder, change, reason):
    document = unseal((folder / "store.json").read_bytes(), "")
    (folder / "steps/0/COMPLETE").unlink()
    (folder / "store.json").write_bytes(seal({**document, **change}))
    with pytest.raises(StoreError, match=rf"store\.json is damaged or was not written by actstore \({reason}"):
        actstore.open(folder)


@pytest.mark.parametrize("ranks", [2, 10**6, 10**18])
def test_ranks_that_are_declared_are_not_counted_through(folder, ranks):
    complete = folder / "steps/0/COMPLETE"
    complete.write_bytes(seal({**unseal(complete.read_bytes(), ""), "ranks": ranks}))
    with pytest.raises(StoreError, match="COMPLETE is damaged or was not written by actstore"):
        actstore.open(folder)


def test_a_journal_of_more_ranks_than_there_can_be_is_refused():
    entry = {"rank": 0, "world_size": 10**18, "first_row": 0, "rows": None, "provenance": {}}
    with pytest.raises(ValueError, match="it begins rank 0 of 1000000000000000000 in the folder of rank 0"):
        Begin.parse(entry, 0)
    assert Begin.parse({**entry, "world_size": 10**6}, 0).world_size == 10**6


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "[" * 100_000, '{"format": "actstore"}', "\xff"])
def test_json_that_is_no_document_is_refused(folder, text):
    (folder / "store.json").write_text(text, encoding="latin-1")
    (folder / "steps/0/COMPLETE").unlink()
    with pytest.raises(StoreError, match=r"store\.json is damaged or was not written by actstore"):
        actstore.open(folder)
