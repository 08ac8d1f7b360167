"""Labels that would take more memory than labels do are counted and refused before it is taken."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

from actstore.errors import LayerError, SourceError
from actstore.exchange import import_files
from actstore.labels import read_file
from actstore.rows.cells import labels_of
from actstore.rows.labels import plain_labels
from actstore.sources import read_labels

LONG = "has labels of up to 120,000 characters; 4,096 at most"


def header(dtype, shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def sparse_npy(path, dtype, rows):
    """A file that takes no room on the disk."""
    start = header(dtype, (rows,))
    path.write_bytes(start)
    with path.open("r+b") as file:
        file.truncate(len(start) + np.dtype(dtype).itemsize * rows)
    return str(path)


def sparse_hdf5(path, width, rows):
    with h5py.File(path, "w") as file:
        create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(width)
        h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((rows,)), create)
    return f"{path}:/x"


def bomb(path, width, rows):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header(f"|S{width}", (rows,)))
        for _ in range(rows):
            file.write(bytes(width))
    return f"{path}:x"


@pytest.fixture(autouse=True)
def _little_memory():
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda folder: sparse_npy(folder / "x.npy", "|S90000", 10**6),
            "has labels of up to 90,000 characters",
        ),
        (lambda folder: sparse_npy(folder / "x.npy", "<U5000", 10**3), "has labels of up to 5,000 characters"),
        (lambda folder: sparse_npy(folder / "x.npy", "<i8", 10**9), "would take 8,000,000,000 bytes of memory"),
        (
            lambda folder: sparse_npy(folder / "x.npy", "|S4000", 10**6),
            "would take 16,000,000,000 bytes of memory",
        ),
        (lambda folder: sparse_hdf5(folder / "x.h5", 90_000, 10**6), "has labels of up to 90,000 characters"),
        (lambda folder: bomb(folder / "x.npz", 90_000, 2000), "has labels of up to 90,000 characters"),
    ],
)
def test_a_file_that_declares_more_than_labels_take(tmp_path, write, message):
    spec = write(tmp_path)
    for read in (read_labels, read_file):
        with pytest.raises(SourceError, match=message):
            read(spec)


def test_one_long_cell_does_not_make_all_rows_as_long(tmp_path):
    cells = ["a", "x" * 120_000, "b"] * 100
    (tmp_path / "t.csv").write_text("id,label\n" + "".join(f"{row},{cell}\n" for row, cell in enumerate(cells)))
    (tmp_path / "t.jsonl").write_text("".join(f'{{"label": "{cell}"}}\n' for cell in cells))
    for read in (
        lambda: labels_of(cells),
        lambda: plain_labels(cells, "the labels"),
        lambda: read_file(f"{tmp_path}/t.csv"),
        lambda: read_labels(f"{tmp_path}/t.csv:label"),
        lambda: read_labels(f"{tmp_path}/t.jsonl:label"),
    ):
        with pytest.raises(SourceError, match=LONG):
            read()


def test_digits_without_end_are_no_number(tmp_path):
    """Python refuses to make a number of more than 4,300."""
    with pytest.raises(SourceError, match="has labels of up to 5,000 characters"):
        labels_of(["1", "9" * 5000])
    assert labels_of(["1", "9" * 4000]).dtype == np.dtype("U4000")
    assert labels_of(["1", str(2**64)]).tolist() == ["1", str(2**64)]
    assert labels_of(["1", str(2**64 - 1)]).tolist() == [1, 2**64 - 1]


def test_bytes_that_are_no_text_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([b"a", b"\xff"]))
    with pytest.raises(
        SourceError, match=r"x\.npy holds text that is not UTF-8 \(b'\\xff': .*\); write it as UTF-8"
    ):
        read_labels(f"{tmp_path}/x.npy")


@pytest.mark.parametrize("axes", [33, 41, 64])
def test_more_axes_than_hdf5_has_are_refused(tmp_path, axes):
    if axes > 32 and np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("NumPy has no more axes itself")
    np.save(tmp_path / "a.npy", np.zeros((2,) + (1,) * (axes - 1), "f4"))
    with pytest.raises(LayerError, match=f"layer 'a' has {axes} axes, .*HDF5 holds at most 32. Reshape it"):
        import_files([f"{tmp_path}/a.npy"], tmp_path / "out.acts")
    with pytest.raises(SourceError, match="expected one label per row"):
        read_labels(f"{tmp_path}/a.npy")
