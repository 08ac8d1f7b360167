"""What is written, as bare h5py sees it; ``test_store_document`` follows docs/format.md."""

from __future__ import annotations

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest

import actstore
from actstore import Captured, RowBatch, Writer
from actstore.store.disk.hdf5 import lay_out
from actstore.store.format import DTYPES

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"
FROZEN = Path(__file__).parent / "frozen" / "version_1"
BLOCK_BYTES = 4 * 2**20
RANK = "steps/0/rank-0000"
FOOTER_BYTES = 64


def test_h5py_reads_bfloat16_as_its_values(tmp_path):
    """All 65,536 bit patterns; h5py keeps a NaN a NaN, if not its payload."""
    bits = np.arange(2**16, dtype=np.uint16).reshape(-1, 64)
    with Writer(tmp_path / "all.h5") as writer:
        ids = [str(row) for row in range(len(bits))]
        writer.append(RowBatch({"b": Captured(bits, "bfloat16", ("f",))}, ids, [""] * len(bits)))
    with h5py.File(tmp_path / "all.h5") as file:
        assert file["layers/b"].dtype == np.float32
        read = file["layers/b"][:]
    exact = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(read, exact)
    np.testing.assert_array_equal(np.signbit(read), np.signbit(exact))
    np.testing.assert_array_equal(
        actstore.open(tmp_path / "all.h5").layers["b"][:].view(np.uint32), exact.view(np.uint32)
    )


NAMES = ["", ".", "..", "a/b", "%2F", "/", "conv#1", "a.b.0", "日本語", "\u00e9", "e\u0301", "a b\n", "x" * 300]


@pytest.mark.parametrize("name", ["names.acts", "names.h5"])
def test_names_survive_whatever_they_contain(tmp_path, name):
    """The two é differ: one is a letter, the other a letter and an accent."""
    layers = {layer: Captured(np.full((3, 1), number), "int64", ("f",)) for number, layer in enumerate(NAMES)}
    targets = {target: np.full(3, number) for number, target in enumerate(NAMES)}
    with Writer(tmp_path / name) as writer:
        writer.append(RowBatch(layers, ["", "a/b", "日"], [""] * 3, targets))
    store = actstore.open(tmp_path / name)
    assert list(store.layers) == list(store.targets) == NAMES
    assert store.ids.tolist() == ["", "a/b", "日"]
    for number, layer in enumerate(NAMES):
        assert store.layers[layer][0].item() == store.targets[layer][0] == number
    (shard,) = [tmp_path / name] if name.endswith(".h5") else (tmp_path / name).glob(f"{RANK}/shard-*")
    with h5py.File(shard) as file:
        assert file["layer_names"].asstr()[:].tolist() == file["target_names"].asstr()[:].tolist() == NAMES
        assert len(file["layers"]) == len(file["targets"]) == len(NAMES)


def test_a_file_is_within_the_narrow_profile(write_store):
    """No attributes, links, filters, chunks or variable length; each dataset inside the file, and aligned."""
    for path in (write_store("store.h5").path, *write_store("store.acts").path.glob(f"{RANK}/shard-*")):
        spans = []

        def check(name, item, spans=spans):
            assert not item.attrs
            if isinstance(item, h5py.Dataset):
                assert item.chunks is None
                assert item.compression is None
                assert item.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
                assert h5py.check_vlen_dtype(item.dtype) is None
                assert item.id.get_offset() % 64 == 0
                spans.append((item.id.get_offset(), item.id.get_storage_size()))

        with h5py.File(path) as file:
            file.visititems(check)
            links = []
            file.visititems_links(lambda name, link, links=links: links.append(type(link)))
        assert set(links) == {h5py.HardLink}
        assert max(offset + size for offset, size in spans) <= path.stat().st_size
        spans.sort()
        assert all(start + size <= after for (start, size), (after, _) in itertools.pairwise(spans))


def test_the_same_rows_make_the_same_bytes(write_store):
    first, second = write_store("a.acts").path, write_store("b.acts").path
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 9
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert write_store("a.h5").path.read_bytes() == write_store("b.h5").path.read_bytes()


def test_the_library_plans_files_larger_than_memory(tmp_path):
    """Only metadata is ever in memory, whatever the sizes; h5py agrees with the plan."""
    datasets = {f"layers/{dtype}": (dtype, (10**9, 10)) for dtype in DTYPES} | {"manifest": ("S7", ())}
    layout = lay_out(datasets)
    assert sum(len(data) for _, data in layout.gaps) < 50_000
    with (tmp_path / "sparse.h5").open("wb") as file:
        for offset, data in layout.gaps:
            file.seek(offset)
            file.write(data)
    with h5py.File(tmp_path / "sparse.h5") as file:
        for name, offset in layout.offsets.items():
            assert file[name].id.get_offset() == offset
