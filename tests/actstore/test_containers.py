"""Files of arrays, told by their first bytes: the same rows out of every kind, at every door, whatever the name."""

import gzip
import io
import pickle
import re
import shutil
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from actstore import open as open_store
from actstore.errors import SourceError
from actstore.exchange import import_files
from actstore.formats import safetensors
from actstore.formats.containers import looked_at
from actstore.formats.containers.kinds import kind_of
from actstore.sources import RowChoice, read_labels, split_data
from tests.actstore.torch_files import torch_bytes

X = np.random.default_rng(0).normal(size=(14, 3)).astype("f4")
Y = np.arange(14) % 4


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _tensors(x):
    return safetensors.write_header({"x": ("float32", x.shape)}, {}) + x.tobytes()


@pytest.fixture
def files(tmp_path):
    """X in a file of every kind."""
    (tmp_path / "x.npy").write_bytes(_npy(X))
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    (tmp_path / "x.safetensors").write_bytes(_tensors(X))
    (tmp_path / "x.pt").write_bytes(torch_bytes({"x": X, "y": Y}))
    (tmp_path / "alone.pth").write_bytes(torch_bytes(X))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = X
    group = zarr.open_group(tmp_path / "x.zarr", mode="w")
    group.create_array("x", shape=X.shape, chunks=(4, 3), dtype="f4")[:] = X
    pd.DataFrame({"x": list(X), "y": Y}).to_parquet(tmp_path / "x.parquet")
    pd.DataFrame({"x": list(X), "y": Y}).to_feather(tmp_path / "x.feather")
    frame = pd.DataFrame(X, columns=list("abc"))
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_csv(tmp_path / "x.tsv", sep="\t", index=False)
    frame.to_parquet(tmp_path / "wide.parquet")
    return tmp_path


SPECS = [
    *(
        "x.npy",
        "x.npz:x",
        "x.safetensors",
        "x.safetensors:x",
        "x.pt:x",
        "alone.pth",
        "x.h5",
        "x.h5:/x",
        "x.zarr",
    ),
    *(
        "x.zarr:/x",
        "x.parquet",
        "x.parquet:x",
        "x.feather",
        "wide.parquet",
        "wide.parquet:a,b,c",
        "x.csv",
        "x.tsv",
    ),
    "x.csv:*",
]


def rows_of(spec, **choice):
    (item,) = split_data([str(spec)], as_features=True)
    return np.concatenate([batch.inputs for batch in item.batches(4, RowChoice(**choice))])


@pytest.mark.parametrize("spec", SPECS)
def test_every_kind_gives_the_same_rows_to_a_model_a_fit_and_a_store(files, spec):
    np.testing.assert_array_equal(bits(rows_of(files / spec)), X)
    np.testing.assert_array_equal(bits(rows_of(files / spec, sample=0.5)), X[kept()])
    (item,) = split_data([str(files / spec)], as_features=True)
    with item.source.opened() as array:
        assert array.shape == (14, 3)
        np.testing.assert_array_equal(bits(array[3:9]), X[3:9])
        np.testing.assert_array_equal(bits(np.asarray(array[0:14])), X)
    with warnings.catch_warnings(action="ignore"), import_files([str(files / spec)], files / "out.h5") as store:
        (layer,) = store.layers.values()
        np.testing.assert_array_equal(bits(layer[:]), X)


def bits(values):
    """Tables of text hold the shortest decimals of what they were made of, and are read as float64."""
    assert values.dtype in ("f4", "f8")
    return values.astype("f4")


def kept():
    choice = RowChoice(sample=0.5)
    from actstore.rows.choice import KeptRows

    return KeptRows(choice, 0, "").among(14)


@pytest.mark.parametrize(
    "spec", ["x.npy", "x.npz:x", "x.safetensors", "x.pt:x", "x.h5", "x.parquet", "x.feather", "x.csv"]
)
def test_a_file_may_be_packed_by_gzip_and_is_named_as_it_was_given(files, spec):
    name, _, key = spec.partition(":")
    packed = files / f"{name}.gz"
    packed.write_bytes(gzip.compress((files / name).read_bytes(), mtime=0))
    spec = f"{packed}:{key}" if key else str(packed)
    np.testing.assert_array_equal(bits(rows_of(spec)), X)
    with warnings.catch_warnings(action="ignore"), import_files([spec], files / "out.h5") as store:
        (name,) = store.layers
        assert "actstore-" not in name
        np.testing.assert_array_equal(bits(store.layers[name][:]), X)
        assert store.provenance["import"][0]["file"] == spec


@pytest.mark.parametrize("name", ["x.npy", "x.parquet", "x.pt", "x.safetensors", "x.h5", "x.npz"])
@pytest.mark.parametrize("other", ["x.bin", "wrong.npy", "wrong.parquet", "wrong.csv", "name"])
def test_the_name_of_a_file_says_nothing(files, name, other):
    shutil.copy(files / name, files / f"copy-{other}")
    key = {"x.npz": ":x", "x.pt": ":x"}.get(name, "")
    np.testing.assert_array_equal(rows_of(f"{files}/copy-{other}{key}"), X)


@pytest.mark.parametrize("spec", ["x.npz:y", "x.pt:y", "x.parquet:y", "x.feather:y"])
def test_labels_come_out_of_every_kind(files, spec):
    assert read_labels(f"{files}/{spec}").tolist() == Y.tolist()


def test_bfloat16_is_float32_to_a_model_and_stays_what_it_is_in_a_store(tmp_path):
    bits = np.array([[0x3F80, 0xC000], [0x7F80, 0x0001]], np.uint16)
    header = safetensors.write_header({"x": ("bfloat16", (2, 2))}, {})
    (tmp_path / "b.safetensors").write_bytes(header + bits.tobytes())
    wide = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(rows_of(tmp_path / "b.safetensors"), wide)
    with import_files([str(tmp_path / "b.safetensors")], tmp_path / "o.h5") as store:
        assert store.layers["x"].stored_dtype == "bfloat16"
        np.testing.assert_array_equal(store.layers["x"][:], wide)


def test_of_several_arrays_one_has_to_be_named(files):
    with h5py.File(files / "two.h5", "w") as file:
        file["h/0"], file["h/1"] = X, X * 2
    with pytest.raises(
        SourceError, match=r"two.h5 does not say which array: .*two.h5:/PATH \(it holds 'h/0', 'h/1'\)"
    ):
        split_data([f"{files}/two.h5"])
    with import_files([f"{files}/two.h5"], files / "two.acts") as store:
        assert [*store.layers] == ["h/0", "h/1"]
        np.testing.assert_array_equal(store.layers["h/1"][:], X * 2)


class Trap:
    """Unpickling this would be noticed."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Trap()), r"is a pickle, .*\(Python objects are refused\)"),
        (b"BZh91AY&SY", "is packed by bzip2; unpack it first"),
        (b"\xfd7zXZ\0\0", "is packed by xz"),
        (b"\x28\xb5\x2f\xfd\0\0", "is packed by zstd"),
        (b"CDF\x01\0\0\0\0", "is netCDF of an old version, .*nccopy -k nc4"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", r"is a MATLAB file of an old version; .*-v7.3"),
        (b"FEA1....", "is a Feather file of version 1"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (b"PK\x03\x04broken", "is a damaged archive"),
        (
            gzip.compress(gzip.compress(b"x", mtime=0), mtime=0),
            "x.bin cannot be unpacked .gzip.: it is packed twice",
        ),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], "x.bin cannot be unpacked .gzip."),
        (b"anything else", "not understood; expected .*FILE.npy, .*FILE.parquet"),
        (b"", "not understood; expected .*FILE.npy"),
    ],
)
def test_what_is_not_read_is_named_in_one_line(tmp_path, content, message):
    (tmp_path / "x.bin").write_bytes(content)
    for read in (
        lambda spec: split_data([spec]),
        read_labels,
        lambda spec: import_files([spec], tmp_path / "o.h5"),
    ):
        with pytest.raises(
            SourceError, match=message.replace("not understood", "(not understood|cannot be imported)")
        ) as caught:
            read(f"{tmp_path}/x.bin")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "o.h5").exists()


def test_archives_that_hold_no_arrays_are_named(tmp_path):
    import zipfile

    for name, members, message in (
        ("a.xlsx", ["[Content_Types].xml"], "a document of an office program"),
        ("a.keras", ["config.json", "metadata.json"], "a Keras model"),
        ("a.zip", [], "an archive of nothing"),
        ("b.zip", ["readme"], "an archive without arrays"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, "")
        with pytest.raises(SourceError, match=message):
            kind_of(tmp_path / name)


@pytest.mark.parametrize(
    ("package", "spec", "extra"),
    [("pyarrow", "x.parquet", "files"), ("pyarrow", "x.feather", "files"), ("zarr", "x.zarr", "zarr")],
)
def test_a_package_that_is_not_there_is_named_with_the_extra_that_brings_it(files, package, spec, extra):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from actstore.sources import split_data\n"
        f"try: split_data([{str(files / spec)!r}])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("SourceError")
    assert f"pip install 'actstore[{extra}]'" in done.stdout
    assert done.stdout.count("\n") == 1


def test_the_packages_are_loaded_only_for_their_files(files):
    code = (
        "import sys\nfrom actstore.sources import split_data\n"
        f"split_data([{str(files / 'x.npy')!r}]); split_data([{str(files / 'x.pt') + ':x'!r}])\n"
        "print({'pyarrow', 'zarr', 'torch', 'pandas', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "x.npy")
    for read in (
        lambda spec: split_data([spec]),
        read_labels,
        lambda spec: import_files([spec], tmp_path / "o.h5"),
    ):
        with pytest.raises(SourceError, match="a pipe or a device"):
            read(f"{tmp_path}/x.npy")


def test_a_store_that_was_imported_is_hashed_by_its_folder(files):
    before = import_files([f"{files}/x.zarr"], files / "a.h5")
    chunk = next((files / "x.zarr").rglob("c/*/*"))
    group = zarr.open_group(files / "x.zarr", mode="a")
    group["x"][0, 0] = 9.0
    after = import_files([f"{files}/x.zarr"], files / "b.h5")
    assert chunk.exists()
    with before, after:
        hashes = [store.provenance["import"][0]["xxh3_128"] for store in (before, after)]
    assert hashes[0] != hashes[1]
    assert open_store(files / "b.h5").layers["x"][0][0] == 9.0


def test_a_crash_of_the_library_is_one_line(files, monkeypatch):
    monkeypatch.setattr(looked_at, "PROGRAM", "import os; os.abort()")
    monkeypatch.setattr(looked_at, "_sound", set())
    with pytest.raises(SourceError, match=r"x.parquet cannot be read: pyarrow crashed on it \(SIGABRT\)"):
        split_data([f"{files}/x.parquet"])


def test_what_a_file_claims_is_compared_with_its_size(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"x": pa.array(np.zeros(20_000_000))}), tmp_path / "x.parquet")
    with pytest.raises(
        SourceError, match=r"x.parquet cannot be read .*it declares 160,\d+,\d+ bytes in a file of"
    ):
        split_data([f"{tmp_path}/x.parquet"])
    group = zarr.open_group(tmp_path / "x.zarr", mode="w")
    group.create_array("x", shape=(4,), chunks=(4,), dtype="f8")[:] = 1
    document = tmp_path / "x.zarr" / "x" / "zarr.json"
    told = document.read_text()
    document.write_text(re.sub(r'("chunk_shape": \[\s*)4', r"\g<1>1000000000", told))
    assert document.read_text() != told
    with pytest.raises(SourceError, match=r"x.zarr:/x declares 8,000,000,000 bytes in files of"):
        split_data([f"{tmp_path}/x.zarr:/x"])
