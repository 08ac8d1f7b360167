"""Stores of frozen versions of the format stay readable, and those of versions to come are refused by name."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash

import actstore
from actstore import StoreError
from actstore.store.format import DTYPES
from actstore.store.verifying.verify import verify

FROZEN = Path(__file__).parent / "frozen"
FOLDER, FILE = FROZEN / "version_1" / "store.acts", FROZEN / "version_1" / "single.h5"
BYTES = "1ddd8f7a13dd6e3c5506c883f147c208"  # of version_1: it is never made again
HDF5 = "2.0.0"  # another one may lay out other bytes

_spec = importlib.util.spec_from_file_location("make_version_1", FROZEN / "make_version_1.py")
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_frozen_bytes_are_what_they_were():
    state = xxhash.xxh3_128()
    for name, data in sorted(files_of(FROZEN / "version_1").items()):
        state.update(f"{name}\0{len(data)}\0".encode() + data)
    assert state.hexdigest() == BYTES


def test_the_script_makes_the_same_bytes(tmp_path):
    """Writing is deterministic, and version 1 is still what it was."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        made.make(tmp_path / name)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")
    if h5py.version.hdf5_version != HDF5:
        pytest.skip(f"the frozen bytes were laid out by HDF5 {HDF5}")
    assert files_of(tmp_path / "first") == files_of(FROZEN / "version_1")


def test_every_dtype_is_in_the_frozen_store():
    assert {dtype for dtype, _ in made.LAYERS.values()} == {*DTYPES}


@pytest.fixture(params=[(FOLDER, 0), (FOLDER, 500), (FILE, 500)], ids=["step 0", "step 500", "file"])
def frozen(request):
    """A step of the frozen store, and which one."""
    path, step = request.param
    with actstore.open(path) as store:
        yield store.at(step), step


def test_every_activation_is_what_it_was(frozen):
    store, step = frozen
    assert list(store.layers) == list(made.LAYERS)
    assert all(store.header.layers[order].order == order for order in range(len(made.LAYERS)))
    for name, (dtype, shape) in made.LAYERS.items():
        layer, expected = store.layers[name], made.activations(name, step)
        assert (layer.stored_dtype, layer.shape) == (dtype, (made.ROWS, *shape))
        assert layer.axes == made.AXES[: len(shape)]
        read = layer.raw[:]
        assert read.dtype == expected.dtype
        assert read.tobytes() == np.ascontiguousarray(expected).tobytes(), name
        if dtype == "bfloat16":
            exact = (expected.astype(np.uint32) << 16).view(np.float32)
            assert layer[:].tobytes() == exact.tobytes()


def finite_rows(name, step):
    values = made.activations(name, step)
    if made.LAYERS[name][0] == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return np.isfinite(values.astype(np.float64)).reshape(made.ROWS, -1).all(axis=1)


def test_all_that_is_known_of_the_rows_is_what_it_was(frozen):
    store, step = frozen
    assert (store.rows, store.row_unit, store.complete) == (made.ROWS, "token", True)
    assert store.ids.tolist() == made.IDS
    assert store.splits.tolist() == made.SPLITS
    assert store.groups.tolist() == made.GROUPS
    assert store.positions.tolist() == made.POSITIONS
    labels = {"digit": made.DIGITS, "a/flag": made.FLAGS, "word": made.WORDS, "later": made.LATER}
    assert {name: values.tolist() for name, values in store.targets.items()} == labels
    assert store.targets["digit"].dtype == np.int64
    assert store.targets["a/flag"].dtype == bool
    with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
        nonfinite = {name: int((~finite_rows(name, step)).sum()) for name in made.LAYERS}
    assert store.nonfinite == nonfinite
    assert 0 < nonfinite["conv/1"] < made.ROWS
    shares = [{"data": [{"split": "train", "rows": sum(rows)}]} for rows in made.SHARDS]
    own = {key: made.PROVENANCE[key] for key in ("command", "versions")}
    assert store.provenance == {
        "model": made.PROVENANCE["model"],
        "ranks": [{**own, **share} for share in shares],
    }


def test_fingerprints_are_what_they_were():
    with actstore.open(FOLDER) as folder, actstore.open(FILE) as file:
        assert folder.steps == [0, 500]
        proofs = {step: json.loads((FOLDER / f"steps/{step}/COMPLETE").read_bytes()) for step in folder.steps}
        assert folder.fingerprints == {step: proof["fingerprint"] for step, proof in proofs.items()}
        assert file.fingerprints == {500: folder.fingerprints[500]}


@pytest.mark.parametrize("path", [FOLDER, FILE], ids=["folder", "file"])
def test_every_frozen_byte_verifies(path):
    report = verify(path)
    assert not report.damages
    assert report.rows == made.ROWS


# -- versions to come


def sealed(document):
    """The document's own words on checksums."""
    document = {key: value for key, value in document.items() if key != "checksum"}
    checksum = xxhash.xxh3_128_hexdigest(json.dumps(document, indent=1).encode())
    return (json.dumps({**document, "checksum": checksum}, indent=1) + "\n").encode()


def newer(data, **changes):
    """A document as a later version might write it."""
    return sealed({**json.loads(data), "version": 2, **changes})


def refused(path, name):
    message = rf"{re.escape(name)} has format version 2; this actstore reads versions up to 1\. Update actstore"
    with pytest.raises(StoreError, match=message):
        actstore.open(path)


@pytest.fixture
def copied(tmp_path):
    return Path(shutil.copytree(FROZEN / "version_1", tmp_path / "copy"))


@pytest.mark.parametrize("name", ["store.json", "steps/0/COMPLETE", "steps/500/COMPLETE"])
@pytest.mark.parametrize("changes", [{}, {"layers": 3, "rows": "many", "new": []}], ids=["as it is", "changed"])
def test_a_newer_document_is_refused_by_name(copied, name, changes):
    path = copied / "store.acts" / name
    path.write_bytes(newer(path.read_bytes(), **changes))
    assert json.loads(path.read_bytes())["version"] == 2
    refused(copied / "store.acts", name)


def test_a_newer_step_is_refused_by_name(copied):
    """COMPLETE has a hash of it, which a later version would have written too; an unfinished step has none."""
    (copied / "store.acts/steps/500/COMPLETE").unlink()
    path = copied / "store.acts/steps/500/step.json"
    path.write_bytes(newer(path.read_bytes()))
    assert json.loads(path.read_bytes())["version"] == 2
    refused(copied / "store.acts", "steps/500/step.json")


def test_a_newer_manifest_or_footer_is_refused_by_name(copied):
    path = copied / "single.h5"
    whole = path.read_bytes()
    _, version, offset, length, _ = whole[-64:].split()
    span = slice(int(offset), int(offset) + int(length))
    later = newer(whole[span])
    assert (version, len(later)) == (b"1", int(length))
    path.write_bytes(whole[: span.start] + later + whole[span.stop :])
    refused(path, "single.h5")
    words = b"actstore 2 %s %s " % (offset, length)
    for end in (words + xxhash.xxh3_64_hexdigest(words).encode(), words + b"whatever"):
        path.write_bytes(whole[:-64] + end.ljust(63) + b"\n")
        refused(path, "single.h5")


def test_the_draft_is_refused_by_name(copied):
    """Version 0 was never promised to stay."""
    path = copied / "store.acts/store.json"
    path.write_bytes(newer(path.read_bytes(), version=0))
    with pytest.raises(
        StoreError, match=r"store\.json has format version 0, a draft that is no longer read; dump it"
    ):
        actstore.open(copied / "store.acts")
