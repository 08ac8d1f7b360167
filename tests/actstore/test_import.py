"""Files of others into a store: what comes back is what was in them, or one line says why not."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple

import h5py
import numpy as np
import pytest
import xxhash

from actstore import StoreError
from actstore.errors import SourceError
from actstore.exchange import ImportSettings, import_files, run
from actstore.formats.safetensors import read_header, write_header

RNG = np.random.default_rng(0)
A = RNG.normal(size=(10, 3, 2)).astype(np.float32)
B = RNG.integers(0, 100, 10)
DTYPES = ["float16", "float32", "float64", "int8", "int64", "uint8", "uint32", "bool"]


def imported(folder, *specs, out="out.acts", **settings):
    """A store of the files in ``folder`` that the specs name."""
    import os

    before = os.getcwd()
    os.chdir(folder)
    try:
        return import_files(specs, folder / out, ImportSettings(**settings))
    finally:
        os.chdir(before)


def safetensors(path, **arrays):
    """A file as the safetensors package writes it; uint16 stands for bfloat16."""
    kinds = {
        name: ("bfloat16" if a.dtype == np.uint16 else a.dtype.name, a.shape) for name, a in arrays.items()
    }
    data = b"".join(a.tobytes() for a in arrays.values())
    path.write_bytes(write_header(kinds, {"format": "np"}) + data)


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "a.npy", A)
    np.save(tmp_path / "b.npy", B)
    shutil.copy(tmp_path / "a.npy", tmp_path / "again.npy")
    np.save(tmp_path / "short.npy", B[:4])
    np.savez(tmp_path / "ab.npz", a=A, b=B)
    np.savez_compressed(tmp_path / "packed.npz", a=A, b=B)
    safetensors(tmp_path / "ab.safetensors", a=A, b=B)
    with h5py.File(tmp_path / "ab.h5", "w") as file:
        file["deep/a"] = A
        file.create_dataset("b", data=B, chunks=(3,), compression="gzip")
    return tmp_path


# -- arrays


@pytest.mark.parametrize(
    "specs",
    [("a.npy", "b.npy"), ("ab.npz",), ("packed.npz",), ("ab.safetensors",), ("ab.npz:a", "ab.safetensors:b")],
)
@pytest.mark.parametrize("batch_bytes", [1, 100, 2**20])
def test_every_array_is_a_layer_with_its_own_bits(files, specs, batch_bytes, monkeypatch):
    monkeypatch.setattr(run, "BATCH_BYTES", batch_bytes)
    store = imported(files, *specs)
    assert (list(store.layers), store.row_unit, store.complete) == (["a", "b"], "example", True)
    np.testing.assert_array_equal(store.layers["a"][:], A, strict=True)
    np.testing.assert_array_equal(store.layers["b"][:], B, strict=True)
    assert store.ids.tolist() == [str(row) for row in range(10)]
    assert set(store.splits) == {""}


def test_one_dataset_of_an_hdf5_file_is_a_layer(files):
    store = imported(files, "ab.h5:/deep/a", "ab.h5:b")
    assert list(store.layers) == ["deep/a", "b"]
    np.testing.assert_array_equal(store.layers["deep/a"][:], A, strict=True)
    np.testing.assert_array_equal(store.layers["b"][:], B, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_dtypes_and_orders(tmp_path, dtype, order):
    array = np.asarray(RNG.integers(0, 2, (6, 3, 2)).astype(dtype), order=order)
    np.save(tmp_path / "n.npy", array)
    np.savez(tmp_path / "z.npz", z=array)
    safetensors(tmp_path / "s.safetensors", s=np.ascontiguousarray(array))
    with h5py.File(tmp_path / "h.h5", "w") as file:
        file["h"] = array
    store = imported(tmp_path, "n.npy", "z.npz", "s.safetensors", "h.h5:h")
    for layer in store.layers.values():
        np.testing.assert_array_equal(layer[:], array, strict=True)


def test_big_endian_arrays(tmp_path):
    np.save(tmp_path / "n.npy", A.astype(">f4"))
    np.savez(tmp_path / "z.npz", z=A.astype(">f4"))
    with h5py.File(tmp_path / "h.h5", "w") as file:
        file["h"] = A.astype(">f4")
    for layer in imported(tmp_path, "n.npy", "z.npz", "h.h5:h").layers.values():
        np.testing.assert_array_equal(layer[:], A, strict=True)


def test_bfloat16_keeps_its_bits(tmp_path):
    bits = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    safetensors(tmp_path / "s.safetensors", s=bits)
    layer = imported(tmp_path, "s.safetensors").layers["s"]
    assert layer.stored_dtype == "bfloat16"
    np.testing.assert_array_equal(layer.raw[:], bits, strict=True)


def test_files_of_several_splits(files):
    store = imported(files, "train=a.npy", "test=ab.npz:a", "again.npy", layer="x", split="val")
    assert list(store.layers) == ["x"]
    assert store.splits.tolist() == ["train"] * 10 + ["test"] * 10 + ["val"] * 10
    assert store.ids[[0, 10, 29]].tolist() == ["train/0", "test/0", "val/9"]
    np.testing.assert_array_equal(store.layers["x"][:], np.concatenate([A] * 3))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.npy", "a.npy"),
        ("train=a.npy", "test=a.npy"),
        ("a.npy", "./a.npy"),
        ("a.npy", "soft.npy"),
        ("a.npy", "hard.npy"),
        ("ab.npz", "ab.npz:a"),
        ("ab.safetensors:a", "ab.safetensors:a"),
        ("ab.h5:deep/a", "ab.h5:/deep//a"),
    ],
)
def test_a_file_that_comes_twice_is_refused(files, first, second):
    (files / "soft.npy").symlink_to("a.npy")
    (files / "hard.npy").hardlink_to(files / "a.npy")
    message = re.escape(f"{second} is what {first} is already, so its rows would come twice")
    with pytest.raises(SourceError, match=message):
        imported(files, first, second)
    assert not (files / "out.acts").exists()


def test_two_arrays_of_a_file_are_two_layers(files):
    assert list(imported(files, "ab.npz:a", "ab.npz:b").layers) == ["a", "b"]


def test_rows_follow_one_another_where_a_layer_came_before(files):
    specs = [
        "train=a.npy",
        "train=b.npy",
        "test=ab.npz",
        "train=packed.npz",
        "train=two/a.npy",
        "train=ab.h5:b",
    ]
    (files / "two").mkdir()
    shutil.copy(files / "a.npy", files / "two" / "a.npy")
    store = imported(files, *specs)
    assert store.rows == 40
    assert store.splits.tolist() == ["train"] * 30 + ["test"] * 10
    assert store.ids.tolist() == [f"train/{row}" for row in range(30)] + [f"test/{row}" for row in range(10)]
    for start in range(0, 40, 10):
        np.testing.assert_array_equal(store.layers["a"][start : start + 10], A)
        np.testing.assert_array_equal(store.layers["b"][start : start + 10], B)


def test_names_of_layers_and_of_rows(files):
    store = imported(files, "a.npy", layer="conv1", split="val", row_unit="word", command="actstore import x")
    assert (list(store.layers), store.row_unit) == (["conv1"], "word")
    assert store.splits.tolist() == ["val"] * 10
    assert store.provenance["command"] == "actstore import x"


def test_provenance_names_the_files(files):
    data = (files / "ab.npz").read_bytes()
    (entry,) = imported(files, "train=ab.npz").provenance["import"]
    expected = {"file": "train=ab.npz", "split": "train", "bytes": len(data)}
    assert entry == {**expected, "xxh3_128": xxhash.xxh3_128_hexdigest(data)}


def test_a_file_that_changes_meanwhile_is_noticed(files):
    def change(rows, total):
        np.save(files / "a.npy", A + 1)

    with pytest.raises(
        SourceError, match=r"a\.npy changed while it was imported; import it again once it is whole"
    ):
        import_files([str(files / "a.npy")], files / "out.acts", progress=change)
    assert not (files / "out.acts").exists()


def test_progress_is_told(files, monkeypatch):
    monkeypatch.setattr(run, "BATCH_BYTES", 4 * A[0].nbytes)
    seen = []
    import_files(
        [f"train={files}/a.npy", f"test={files}/again.npy"],
        files / "o.h5",
        ImportSettings(layer="a"),
        progress=lambda *p: seen.append(p),
    )
    assert seen == [(4, 20), (8, 20), (10, 20), (14, 20), (18, 20), (20, 20)]


@pytest.mark.parametrize(
    ("specs", "settings", "message"),
    [
        ([], {}, "there is no file to import; name some"),
        (["none.npy"], {}, "there is no file none.npy"),
        (["a.pt"], {}, "there is no file a.pt"),
        (["a.txt"], {}, r"'a.txt' cannot be imported; expected \[SPLIT=\] and one of FILE.npy, FILE.npz"),
        (["a.npy:x"], {}, "a.npy:x: a .npy file holds one array; write a.npy$"),
        (["ab.npz:c"], {}, "ab.npz holds no 'c'; it holds 'a', 'b'"),
        (["ab.safetensors:c"], {}, "ab.safetensors holds no 'c'; it holds 'a', 'b'"),
        (["ab.h5:/c"], {}, "ab.h5:/c: there is no dataset '/c'; there is '/b', '/deep/a'"),
        (
            ["a.npy", "short.npy"],
            {},
            r"short.npy has 4 rows where .*a.npy has 10; expected layers of the same rows",
        ),
        (
            ["train=a.npy", "test=b.npy"],
            {},
            r"split 'test' have 'b' int64 \(\) where those of split 'train' have 'a'",
        ),
        (
            ["train=a.npy", "test=b.npy"],
            {"layer": "x"},
            r"have 'x' int64 \(\) where those of split 'train' have 'x' f",
        ),
        (
            ["ab.npz"],
            {"layer": "x"},
            "ab.npz has 2 layers, so --layer cannot name them; import one with ab.npz:KEY",
        ),
        (["a.npy"], {"row_unit": "pixel"}, "row unit is 'pixel'; expected one of example, token, word"),
    ],
)
def test_what_can_not_be_imported_is_said_in_one_line(files, specs, settings, message):
    before = set(files.iterdir())
    with pytest.raises((SourceError, StoreError), match=message) as caught:
        imported(files, *specs, **settings)
    assert "\n" not in str(caught.value)
    assert set(files.iterdir()) == before


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.float32(1), "is a single float32; expected an array with rows"),
        (np.empty((0, 3)), "has no rows"),
        (np.array(["a", "b"]), "is of dtype str.*; a layer is one of float16"),
        (np.array([1j]), "is of dtype complex128; a layer is one of"),
        (np.zeros(2, "M8[s]"), r"is of dtype datetime64\[s\]; a layer is one of"),
    ],
)
@pytest.mark.parametrize("spec", ["x.npy", "x.npz", "x.npz:x"])
def test_arrays_that_are_no_layers(tmp_path, array, message, spec):
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", x=array)
    with pytest.raises(SourceError, match=f"x.np[yz](:x)? {message}"):
        imported(tmp_path, spec)


@pytest.mark.parametrize(("out", "nbytes"), [("out.acts", "240"), ("out.h5", "480")])
def test_a_disk_without_room_is_seen_before_anything_is_written(files, monkeypatch, out, nbytes):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 100))
    before = set(files.iterdir())
    with pytest.raises(StoreError, match=rf"{out} needs {nbytes} bytes, and 100 are free there\. Make room"):
        imported(files, "a.npy", out=out)
    assert set(files.iterdir()) == before


def test_a_damaged_dataset_is_named(files):
    with h5py.File(files / "ab.h5") as file:
        chunk = file["b"].id.get_chunk_info(1)
    data = bytearray((files / "ab.h5").read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    (files / "ab.h5").write_bytes(data)
    with pytest.raises(SourceError, match=r"ab\.h5:b cannot be read: "):
        imported(files, "ab.h5:b")
    assert not (files / "out.acts").exists()


# -- hostile archives


class Trap:
    """Unpickling this would be noticed."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


def test_nothing_is_unpickled(tmp_path):
    trapped = np.array([Trap(), None], dtype=object)
    np.save(tmp_path / "objects.npy", trapped, allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=trapped)
    np.savez(tmp_path / "ids.npz", x=B, ids=trapped)
    for name in ("pickle.npy", "pickle.npz", "pickle.safetensors", "pickle.h5"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(
            SourceError,
            match=r"cannot be read as an array of numbers or text|is not (a sound|an HDF5)|Python objects are refused",
        ):
            imported(tmp_path, path.name)


def member(path, header, data=b""):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}",
            "declares 4,000,000,000,000 bytes",
        ),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "declares|shape|negative"),
        (b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0,)}", "array 'x' of"),
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (0,)}", "array 'x' of object"),
        (b"[" * 5000, "EOF in multi-line statement"),
        (b"open('/etc/passwd')", "malformed node or string|Cannot parse header"),
    ],
)
def test_headers_of_arrays_that_can_not_be(tmp_path, header, message):
    member(tmp_path / "x.npz", header + b"\n")
    with pytest.raises(
        SourceError, match=rf"x\.npz cannot be read as an array of numbers or text .*({message})"
    ):
        imported(tmp_path, "x.npz")


def test_every_truncation_of_an_archive_is_refused(files):
    whole = (files / "packed.npz").read_bytes()
    for length in range(0, len(whole) - 1, 7):
        (files / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(
            SourceError,
            match=r"cut\.npz(:a|:b)? (cannot be read as an array of numbers|is a damaged archive)|cannot be imported",
        ):
            imported(files, "cut.npz")
    assert not (files / "out.acts").exists()


def test_a_damaged_archive_is_noticed(files):
    """zip has a checksum of every member."""
    whole = bytearray((files / "ab.npz").read_bytes())
    whole[whole.index(A.tobytes()) + 5] ^= 1
    (files / "bad.npz").write_bytes(whole)
    with pytest.raises(SourceError, match=r"bad\.npz(:a)? cannot be read .*Bad CRC-32"):
        imported(files, "bad.npz")
    assert not (files / "out.acts").exists()


# -- hostile safetensors


def tensors(header, data=b"12345678"):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def one(**changes):
    return tensors({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}})


TWO = {
    "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    "y": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
}
HOSTILE = {
    "nothing": (b"", "a header of 0 bytes in a file of 0"),
    "a long header": ((2**60).to_bytes(8, "little") + b"{}", "a header of 1,152,921,504,606,846,976 bytes in"),
    "a header past the end": ((100).to_bytes(8, "little") + b"{}", "a header of 100 bytes in a file of 10"),
    "no object": (tensors(b"[]"), "is not a JSON object"),
    "no JSON": (tensors(b"{...}"), "Expecting property name"),
    "deep JSON": (tensors(b'{"x":' + b"[" * 100_000), "recursion|Expecting|depth"),
    "no text": (tensors(b'{"\xff": 1}'), "codec can't decode"),
    "a name twice": (tensors(b'{"x": 1, "x": 2}'), "has a name twice"),
    "an odd entry": (tensors({"x": 3}), "not subscriptable"),
    "no offsets": (tensors({"x": {"dtype": "F32", "shape": [2]}}), "data_offsets"),
    "an unknown dtype": (one(dtype="O"), "tensor 'x' is of dtype 'O'; expected one of F64"),
    "eight bits": (one(dtype="F8_E4M3"), "tensor 'x' is of dtype 'F8_E4M3'; expected one of F64"),
    "a dtype that is none": (one(dtype=["F32"]), "unhashable|dtype"),
    "a negative side": (one(shape=[-2]), "'-2' is not a count"),
    "a fraction": (one(shape=[2.0]), "'2.0' is not a count"),
    "a truth": (one(shape=[True, 2]), "'True' is not a count"),
    "an absurd shape": (one(shape=[2**40, 2**40]), "has 8 bytes, not 4,835,703,278,458,516,698,824,704"),
    "an absurd number": (one(shape=[10**30]), "is not a count"),
    "another size": (one(shape=[3]), "has 8 bytes, not 12"),
    "offsets backwards": (one(data_offsets=[8, 0]), "has -8 bytes, not 8"),
    "offsets outside": (one(data_offsets=[8, 16]), "overlap, leave bytes out or reach out of the file"),
    "one offset": (one(data_offsets=[0]), "not enough values"),
    "overlap": (
        tensors({"x": TWO["x"], "y": {**TWO["x"]}}, b"1234"),
        "overlap, leave bytes out or reach out of the file",
    ),
    "a hole": (
        tensors({"x": TWO["x"], "y": {**TWO["y"], "data_offsets": [5, 9]}}, b"123456789"),
        "leave bytes out",
    ),
    "bytes behind": (tensors(TWO, b"123456789"), "overlap, leave bytes out"),
    "bytes missing": (tensors(TWO, b"1234567"), "reach out of the file"),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_safetensors_that_can_not_be(tmp_path, data, message):
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(
        SourceError, match=rf"x\.safetensors is not a sound safetensors file: .*({message})"
    ) as caught:
        read_header(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


def test_safetensors_that_can_be(tmp_path):
    header = {
        "__metadata__": {"a": "b"},
        "y": TWO["y"],
        "x": TWO["x"],
        "none": {**TWO["y"], "shape": [0], "data_offsets": [4, 4]},
    }
    (tmp_path / "x.safetensors").write_bytes(tensors(json.dumps(header).encode() + b"   "))
    found = read_header(tmp_path / "x.safetensors")
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in found] == [
        ("x", "float32", (1,)),
        ("none", "float32", (0,)),
        ("y", "float32", (1,)),
    ]


def test_empty_safetensors_and_scalars(tmp_path):
    safetensors(tmp_path / "none.safetensors")
    safetensors(tmp_path / "scalar.safetensors", x=np.float32(3).reshape(()))
    with pytest.raises(SourceError, match=r"none\.safetensors holds no tensors"):
        imported(tmp_path, "none.safetensors")
    with pytest.raises(
        SourceError, match=r"scalar\.safetensors:x is a single float32; expected an array with rows"
    ):
        imported(tmp_path, "scalar.safetensors")


# -- memory


GROWTH = """
import resource, sys
from actstore.exchange import import_files
import_files(sys.argv[2:], sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_bytes(folder, mebibytes):
    """Of an import of a compressed archive."""
    np.savez_compressed(folder / f"{mebibytes}.npz", x=np.zeros((64 * mebibytes, 4096), np.float32))
    command = [
        sys.executable,
        "-c",
        GROWTH,
        str(folder / f"{mebibytes}.acts"),
        str(folder / f"{mebibytes}.npz"),
    ]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_memory_does_not_grow_with_an_archive(tmp_path):
    """Both are larger than the two shards of 128 MiB that wait in memory where the disk is slow."""
    assert peak_bytes(tmp_path, 480) - peak_bytes(tmp_path, 300) < 40 * 2**20


def test_every_dataset_of_a_file_is_a_layer_and_flat_whole_numbers_are_a_target(files):
    with h5py.File(files / "ab.h5", "a") as file:
        file["deep/c"] = A * 2
    with imported(files, "ab.h5") as store:
        assert sorted(store.layers) == ["deep/a", "deep/c"]
        np.testing.assert_array_equal(store.layers["deep/a"][:], A)
        np.testing.assert_array_equal(store.layers["deep/c"][:], A * 2)
        np.testing.assert_array_equal(store.targets["b"], B)
