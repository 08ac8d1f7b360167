"""A store in one file: its end, its manifest, what another program makes of it, and packing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import namedtuple

import h5py
import numpy as np
import pytest
import xxhash

import actstore
from actstore import Captured, RowBatch, StoreError, Writer
from actstore.store.disk import durable
from actstore.store.disk.hdf5 import HDF5File
from actstore.store.disk.output import WholeFile
from actstore.store.documents.documents import seal
from actstore.store.format import VERSION
from actstore.store.reading.columns import StoredColumns
from actstore.store.reading.single_file import FOOTER_BYTES, examine, footer, read_packed
from actstore.store.writing.pack import pack


@pytest.fixture
def single(write_store):
    return write_store("store.h5").path


def manifest_of(path):
    """The manifest as the document says it is found: the footer, then its bytes."""
    data = path.read_bytes()
    name, version, offset, nbytes, checksum = data[-64:].split()
    words = data[-64 : data.rindex(checksum)]
    assert (name, int(version)) == (b"actstore", VERSION)
    assert (xxhash.xxh3_64_hexdigest(words).encode(), data[-1:]) == (checksum, b"\n")
    return int(offset), data[int(offset) : int(offset) + int(nbytes)]


def rewrite(path, change):
    """Change the manifest, with a checksum and a footer that fit."""
    _, manifest = manifest_of(path)
    document = json.loads(manifest)
    del document["checksum"]
    change(document)
    sealed = seal(document)
    end = path.stat().st_size - FOOTER_BYTES
    path.write_bytes(path.read_bytes()[:end] + sealed + footer(end, len(sealed)))


# -- how it ends


def test_h5py_sees_the_whole_file_and_not_its_last_bytes(single):
    offset, manifest = manifest_of(single)
    with h5py.File(single) as file:
        assert bytes(file["manifest"][()]) == manifest
        assert file["manifest"].id.get_offset() == offset
        assert file.id.get_filesize() == single.stat().st_size
        datasets = json.loads(manifest)["datasets"]
        for name, entry in datasets.items():
            assert entry["offset"] == (file[name].id.get_offset() or 0)
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    assert {*datasets, "manifest"} == set(names)
    end = int.from_bytes(single.read_bytes()[28:36], "little")
    assert end == single.stat().st_size - FOOTER_BYTES  # what HDF5's own superblock says


def test_datasets_gaps_manifest_and_footer_are_every_byte_of_the_file(single):
    packed = examine(single)
    data = np.frombuffer(single.read_bytes(), np.uint8)
    gap = np.ones(len(data), bool)
    gap[-FOOTER_BYTES:] = False
    (part,) = packed.contents.parts
    for extent in [*part.extents.values(), packed.manifest]:
        assert gap[extent.offset : extent.offset + extent.nbytes].all()
        gap[extent.offset : extent.offset + extent.nbytes] = False
    assert packed.gaps == xxhash.xxh3_64_hexdigest(data[gap].tobytes())
    for extent in part.extents.values():
        stored = data[extent.offset : extent.offset + extent.nbytes].tobytes()
        assert extent.hashes == (xxhash.xxh3_64_hexdigest(stored),)  # each is shorter than a block


def test_a_store_is_read_without_the_hdf5_library(single, arrays, monkeypatch):
    monkeypatch.setattr(h5py.h5f, "open", None)
    monkeypatch.setattr(h5py, "File", None)
    store = actstore.open(single)
    for name, array in arrays(40).items():
        np.testing.assert_array_equal(store.layers[name].raw[:], array)


def test_every_changed_byte_of_the_footer_is_found(single):
    whole = single.read_bytes()
    rng = np.random.default_rng(0)
    for place in range(len(whole) - FOOTER_BYTES, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        single.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"store\.h5 (is damaged|has format version)"):
            actstore.open(single)


@pytest.mark.parametrize(
    ("offset", "nbytes"), [(10**15, 100), (0, 10**15), (0, 0), (10**30, 10**30), (10**6, 10**3)]
)
def test_a_footer_that_leads_out_of_the_file_is_refused(single, offset, nbytes):
    data = single.read_bytes()[:-FOOTER_BYTES]
    tail = f"actstore {VERSION} {offset} {nbytes} ".encode()
    tail += xxhash.xxh3_64_hexdigest(tail).encode()
    single.write_bytes(data + tail.ljust(63)[:63] + b"\n")
    with pytest.raises(StoreError, match=r"store\.h5 is damaged .*(last 64 bytes are not as|restore)"):
        actstore.open(single)


def test_a_newer_footer_is_refused_by_version(single):
    data = single.read_bytes()
    single.write_bytes(data[:-FOOTER_BYTES] + b"actstore 977 and other words".ljust(63) + b"\n")
    with pytest.raises(StoreError, match=r"store\.h5 is damaged"):  # no numbers: not a footer at all
        actstore.open(single)
    single.write_bytes(data[:-FOOTER_BYTES] + b"actstore 977 1 2 3 4".ljust(63) + b"\n")
    message = rf"store\.h5 has format version 977; this actstore reads versions up to {VERSION}\. Update"
    with pytest.raises(StoreError, match=message):
        actstore.open(single)


@pytest.mark.parametrize("change", ["a dataset", "an attribute", "a value"])
def test_a_file_that_h5py_changed_is_never_read_wrongly(single, change):
    """What the library writes behind our back takes the footer off, or is seen by the hashes."""
    before = examine(single)
    with h5py.File(single, "r+") as file:
        if change == "a dataset":
            file["mine"] = np.zeros(1000)
        elif change == "an attribute":
            file["layers"].attrs["mine"] = 1
        else:
            file["rows/position" if "rows/position" in file else "rows/split/codes"][0] = 1
    if change == "a value":
        (part,) = before.contents.parts
        data = single.read_bytes()
        extent = part.extents["rows/split/codes"]
        stored = data[extent.offset : extent.offset + extent.nbytes]
        assert extent.hashes != (xxhash.xxh3_64_hexdigest(stored),)
        return
    with pytest.raises(StoreError, match=r"store\.h5 is damaged: the end that actstore writes is missing"):
        actstore.open(single)


def test_a_shard_under_another_name_is_not_taken_for_a_store(write_store, tmp_path):
    folder = write_store("store.acts").path
    (shard, *_) = sorted(folder.rglob("shard-*.h5"))
    shutil.copy(shard, tmp_path / "copied.h5")
    with pytest.raises(StoreError, match=r"copied\.h5 is damaged: .* or it is one shard of a store: open its"):
        actstore.open(tmp_path / "copied.h5")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(StoreError, match=r"pipe\.h5 is not an HDF5 file"):
        actstore.open(tmp_path / "pipe.h5")


# -- manifests whose checksums fit


MANIFESTS = {
    "overlapping datasets": (
        lambda d: d["datasets"]["layers/conv1"].update(
            offset=d["datasets"]["rows/id"]["offset"],
        ),
        "datasets .* and .* overlap",
    ),
    "a dataset over the manifest": (
        lambda d: d["datasets"]["layers/norm"].update(offset=10**9),
        "does not lie in",
    ),
    "no gaps": (lambda d: d.pop("gaps"), "no 'gaps'"),
    "gaps that are none": (lambda d: d.update(gaps="0"), "'0' is not a hash"),
    "gaps of another kind": (lambda d: d.update(gaps=3), "3 is not a hash"),
    "no offset": (lambda d: d["datasets"]["rows/id"].pop("offset"), "no 'offset'"),
    "other rows": (lambda d: d.update(rows=39), "layer 'conv1' is float32"),
    "no ids": (lambda d: d["datasets"].pop("rows/id"), "no 'rows/id'"),
    "no hashes": (lambda d: d["datasets"]["rows/id"].update(hashes=[]), "0 hashes of 1 blocks"),
    "a list": (lambda d: d.update(datasets=[]), "has no attribute|list"),
    "an object dtype": (lambda d: d["datasets"]["rows/id"].update(dtype="O"), "dtype 'O' is none of"),
}


@pytest.mark.parametrize(("change", "message"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_can_not_be_is_refused(single, change, message):
    rewrite(single, change)
    with pytest.raises(
        StoreError, match=rf"store\.h5 is damaged or was not written by actstore \(.*({message})"
    ):
        actstore.open(single)


def test_a_manifest_may_lie_where_hdf5_knows_nothing(single):
    """The changes above are refused for what they are, not for where the changed manifest lies."""
    before = actstore.open(single).fingerprint
    rewrite(single, lambda d: None)
    assert actstore.open(single).fingerprint == before


# -- what the HDF5 library says of it, for `verify`


def test_hdf5_agrees_with_the_manifest(single):
    (part,) = read_packed(single).parts
    with HDF5File(single) as file:
        for name, extent in part.extents.items():
            assert file.offset(name, extent.dtype, extent.shape) == extent.offset


def replace(path, name, make):
    """Put another object where a dataset is."""
    with h5py.File(path, "r+") as file:
        data = file[name][:]
        del file[name]
        make(file, name, data)


def virtual(data):
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", data.shape)
    return layout


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
    "nothing": (lambda file, name, data: None, "cannot be opened"),
    "chunks": (
        lambda file, name, data: file.create_dataset(name, data=data, chunks=True),
        "in one piece",
    ),
    "a filter": (
        lambda file, name, data: file.create_dataset(name, data=data, compression="gzip"),
        "in one piece",
    ),
    "external storage": (
        lambda file, name, data: file.create_dataset(
            name, data.shape, data.dtype, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
        ),
        "in one piece",
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
        r"float32 \(40, 3, 4\)",
    ),
    "variable length": (
        lambda file, name, data: file.create_dataset(name, data.shape, h5py.string_dtype()),
        "is not float32",
    ),
    "a virtual dataset": (
        lambda file, name, data: file.create_virtual_dataset(name, virtual(data)),
        "in one piece",
    ),
    "no storage": (
        lambda file, name, data: file.create_dataset(name, data.shape, "f4"),
        "does not lie inside",
    ),
}


@pytest.mark.parametrize(("make", "reason"), OUTSIDE.values(), ids=OUTSIDE.keys())
def test_what_is_outside_the_profile_is_refused(single, make, reason):
    replace(single, "layers/conv1", make)
    message = rf"store\.h5: dataset 'layers/conv1' .*{reason}.*, so it is not read"
    with HDF5File(single) as file, pytest.raises(StoreError, match=message):
        file.offset("layers/conv1", "float32", (40, 3, 4))


def test_what_hdf5_can_not_open_is_damaged(single):
    single.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(StoreError, match=r"store\.h5 is damaged: HDF5 cannot open it"):
        HDF5File(single)


# -- packing


FLOATS = ["float16", "bfloat16", "float32", "float64"]


@pytest.fixture
def mixed(tmp_path):
    """A store of every float dtype and of ints; values that overflow, NaN and infinities; several blocks of some."""
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(300, 5000)) * 10.0 ** rng.integers(-12, 6, (300, 1))
    wide[3, 0], wide[4, 1:3], wide[5, 0] = np.nan, [np.inf, -np.inf], 1e39
    bits = rng.integers(0, 2**16, (300, 7)).astype(np.uint16)
    layers = {
        "double": Captured(wide, "float64", ("f",)),
        "single": Captured(np.clip(wide[:, :9], -3e38, 3e38).astype(np.float32), "float32", ("f",)),
        "half": Captured((wide[:, 3:6] % 100).astype(np.float16), "float16", ("f",)),
        "brain": Captured(bits, "bfloat16", ("f",)),
        "whole": Captured(np.arange(300), "int64", ()),
        "empty": Captured(np.empty((300, 0), np.float32), "float32", ("f",)),
    }
    targets = {"word": np.ma.masked_equal(np.arange(300) % 7, 3)}
    with Writer(tmp_path / "mixed.acts", shard_bytes=2**20, provenance={"command": "x"}) as writer:
        ids = [f"row {row}" for row in range(300)]
        writer.append(RowBatch(layers, ids, ["train"] * 300, targets, ["g"] * 300, range(300)))
        return writer.finish()


def packed(store, path, dtype=None):
    """The store packed, and what the casts lost."""
    casts = pack(store.catalog, WholeFile(path), dtype)
    assert not list(path.parent.glob("*.tmp"))
    return actstore.open(path), casts


def test_packing_changes_nothing_but_the_place(mixed, tmp_path):
    one, casts = packed(mixed, tmp_path / "one.h5")
    assert (one.fingerprint, one.provenance, casts) == (mixed.fingerprint, {"command": "x"}, {})
    assert one.nonfinite == mixed.nonfinite
    for name, layer in mixed.layers.items():
        np.testing.assert_array_equal(one.layers[name].raw[:], layer.raw[:], strict=True)
    for name in ("ids", "splits", "groups", "positions"):
        np.testing.assert_array_equal(getattr(one, name), getattr(mixed, name))
    np.testing.assert_array_equal(one.targets["word"].mask, mixed.targets["word"].mask)
    again, _ = packed(one, tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()
    assert again.fingerprint == one.fingerprint


def reference(values, dtype):
    """What a cast should give, as float64: bfloat16 by the definition, in Python's exact integers."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(dtype).astype(np.float64)
    out = []
    for value in values.reshape(-1).astype(np.float64).tolist():
        if value == 0 or not np.isfinite(value):
            out.append(value)
            continue
        exponent = (
            max(int(np.frexp(value)[1]) - 1, -126) - 7
        )  # of the last place: 7 fraction bits, subnormals alike
        steps = np.ldexp(value, -exponent)  # exact: a power of two
        out.append(float(np.ldexp(np.round(steps), exponent)))  # ties to even
        if abs(out[-1]) >= 2.0**128:
            out[-1] = np.copysign(np.inf, value)
    return np.array(out).reshape(values.shape)


@np.errstate(invalid="ignore")  # the bits have signalling NaNs
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_cast_rounds_to_the_nearest_and_says_what_it_lost(mixed, tmp_path, dtype):
    one, casts = packed(mixed, tmp_path / "cast.h5", dtype)
    assert set(casts) == {"double", "single", "half", "brain", "empty"} - {
        name for name, layer in mixed.layers.items() if layer.stored_dtype == dtype
    }
    assert one.provenance["cast"] == {name: cast.document() for name, cast in casts.items()}
    assert one.provenance["command"] == "x"
    assert one.fingerprint == xxhash.xxh3_128_hexdigest(json.dumps([mixed.fingerprint, dtype]).encode())
    np.testing.assert_array_equal(one.layers["whole"][:], np.arange(300), strict=True)
    for name, cast in casts.items():
        before, after = mixed.layers[name][:], one.layers[name][:]
        assert (one.layers[name].stored_dtype, cast.before) == (dtype, mixed.layers[name].stored_dtype)
        np.testing.assert_array_equal(after.astype(np.float64), reference(before, dtype))
        finite = np.isfinite(after)
        errors = np.abs(before.astype(np.float64) - after.astype(np.float64))[finite]
        assert cast.largest_error == max(errors, default=0.0)
        assert cast.overflows == np.count_nonzero(np.isfinite(before) & np.isinf(after))
        assert cast.nan == np.count_nonzero(np.isnan(before)) == np.count_nonzero(np.isnan(after))
        assert one.nonfinite[name] == np.count_nonzero(~finite.reshape(300, -1).all(axis=1))
    assert casts["double"].overflows > 0 if "double" in casts else dtype == "float64"


def test_a_cast_that_casts_nothing_changes_nothing(write_store, tmp_path, batch_of):
    with Writer(tmp_path / "ints.acts") as writer:
        writer.append(RowBatch({"a": Captured(np.arange(5), "int64", ())}, list("abcde"), [""] * 5))
        store = writer.finish()
    one, casts = packed(store, tmp_path / "cast.h5", "float16")
    assert (one.fingerprint, one.provenance, casts) == (store.fingerprint, {}, {})


def test_bfloat16_ties_go_to_even_also_from_float64():
    from actstore.store.documents.bfloat16 import narrowed

    tie = 1 + 2.0**-8  # halfway between 1 and the next bfloat16
    values = np.array([tie, tie + 2.0**-50, tie - 2.0**-50, -tie - 2.0**-50, 3.4e38, 3.39e38, 1e300, 5e-324])
    bits = narrowed(values)
    wide = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    expected = [1, 1 + 2.0**-7, 1, -1 - 2.0**-7, np.inf, 3.3895313892515355e38, np.inf, 0]
    assert wide.tolist() == expected


@pytest.mark.parametrize("dtype", ["int8", "S3", "float8", ""])
def test_a_cast_to_what_is_no_float_is_refused(mixed, tmp_path, dtype):
    with pytest.raises(StoreError, match=rf"dtype is '{dtype}'; expected one of float16, float32, .*"):
        packed(mixed, tmp_path / "cast.h5", dtype)


def test_an_unfinished_store_is_not_packed(tmp_path, batch_of):
    writer = Writer(tmp_path / "out.acts", shard_bytes=1000)
    writer.append(batch_of(20))
    writer.abandon()
    with pytest.raises(
        StoreError, match=r"out\.acts is unfinished; only a complete store can be packed\. Finish"
    ):
        packed(actstore.open(tmp_path / "out.acts"), tmp_path / "one.h5")


def test_a_disk_without_room_is_seen_before_anything_is_written(mixed, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    monkeypatch.setattr(os, "pwrite", None)
    with pytest.raises(
        StoreError, match=r"one\.h5 needs [0-9,]{9,} bytes, and 1,000 are free there\. Make room"
    ):
        packed(mixed, tmp_path / "one.h5")
    assert {path.name for path in tmp_path.iterdir()} == {"mixed.acts"}


@pytest.mark.parametrize("calls", [0, 3, 30])
def test_a_disk_that_fills_up_leaves_nothing(mixed, tmp_path, monkeypatch, calls):
    pwrite = os.pwrite
    done = []

    def filling(fd, data, offset):
        done.append(1)
        if len(done) > calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", filling)
    with pytest.raises(OSError, match="No space left on device"):
        packed(mixed, tmp_path / "one.h5")
    assert {path.name for path in tmp_path.iterdir()} == {"mixed.acts"}


def test_only_shards_that_are_removed_afterwards_leave_the_memory(tmp_path, write_store, batch_of, monkeypatch):
    told = []
    monkeypatch.setattr(
        durable, "let_go", lambda fd, offset, length: told.append((os.fstat(fd).st_ino, length))
    )
    folder = write_store("kept.acts")
    packed(folder, tmp_path / "one.h5")
    assert told == []
    writer = Writer(tmp_path / "out.h5", shard_bytes=2000)
    for first in range(0, 40, 10):
        writer.append(batch_of(10, first))
    writer.finish().close()
    layers = sum(layer.nbytes for layer in folder.layers.values())
    assert len({inode for inode, _ in told}) > 1
    assert sum(length for _, length in told) >= layers


def test_ids_that_are_no_text_are_not_packed(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(StoredColumns, "_read", lambda self, part, path: np.array([b"fine", b"\xff"]))
    with pytest.raises(StoreError, match=r"shard-000000\.h5 is damaged or was not written by actstore .*utf-8"):
        packed(mixed, tmp_path / "one.h5")
