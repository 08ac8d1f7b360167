"""docs/format.md, held against what is written: by bare h5py, and by its sentences, with xxhash and json alone."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash

import actstore
from actstore import Captured, RowBatch, Writer
from actstore.store.format import DTYPES
from actstore.store.hdf5 import lay_out

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"
BLOCK_BYTES = 4 * 2**20
RANK = "steps/0/rank-0000"


@pytest.mark.parametrize("name", ["store.acts", "store.h5"])
def test_the_dozen_lines_of_the_document_read_a_store(write_store, arrays, name):
    store = write_store(name)
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    scope: dict[str, object] = {}
    exec(code, scope)
    for layer in ("conv1", "act/1", "norm"):
        activations, splits, labels = scope["read"](store.path, layer.replace("/", "%2F"), "digit")
        np.testing.assert_array_equal(activations, arrays(40)[layer], strict=True)
    np.testing.assert_array_equal(splits, store.splits)
    np.testing.assert_array_equal(labels, np.arange(40) % 10, strict=True)


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


# -- the document's sentences, followed without a line of the package


def check_document(path):
    data = path if isinstance(path, bytes) else path.read_bytes()
    document = json.loads(data)
    checksum = document.pop("checksum")
    assert list(document)[:2] == ["format", "version"]
    assert (document["format"], document["version"]) == ("actstore", 0)
    assert checksum == xxhash.xxh3_128_hexdigest(json.dumps(document, indent=1).encode())
    assert data.decode() == json.dumps({**document, "checksum": checksum}, indent=1) + "\n"
    return document


def check_journal(path, identity):
    records = []
    previous = identity
    for line in path.read_bytes().splitlines(keepends=True):
        assert line.endswith(b"\n")
        previous = xxhash.xxh3_64_hexdigest(previous.encode() + line[17:-1])
        assert line[:17].decode() == f"{previous} "
        records.append(json.loads(line[17:]))
    return records


def check_blocks(entry, data):
    itemsize = {"bfloat16": 2, "bool": 1}.get(entry["dtype"]) or np.dtype(entry["dtype"]).itemsize
    row_bytes = int(np.prod(entry["shape"][1:], dtype=int)) * itemsize
    rows = max(1, BLOCK_BYTES // max(1, row_bytes))
    length = entry["shape"][0]
    assert len(data) == length * row_bytes
    starts = range(0, length, rows)
    blocks = [data[start * row_bytes : min(start + rows, length) * row_bytes] for start in starts]
    assert entry["hashes"] == [xxhash.xxh3_64_hexdigest(block) for block in blocks]


def check_record(record, folder):
    data = (folder / record["shard"]).read_bytes()
    assert len(data) == record["file_bytes"]
    covered = np.zeros(len(data), bool)
    with h5py.File(folder / record["shard"]) as file:
        for path, entry in record["datasets"].items():
            dataset = file[path]
            size = dataset.id.get_storage_size()
            assert (dataset.id.get_offset() or 0, list(dataset.shape)) == (entry["offset"], entry["shape"])
            covered[entry["offset"] : entry["offset"] + size] = True
            check_blocks(entry, data[entry["offset"] : entry["offset"] + size])
    assert record["gaps"] == xxhash.xxh3_64_hexdigest(np.frombuffer(data, np.uint8)[~covered].tobytes())


def wide_store(path):
    """Layers with several hashed blocks, with none, and with nothing in them."""
    rng = np.random.default_rng(0)
    layers = {
        "wide": Captured(rng.normal(size=(300, 300, 40)).astype(np.float32), "float32", ("a", "b")),
        "huge row": Captured(rng.integers(0, 9, (300, 2**14)), "int64", ("f",)),
        "empty": Captured(np.empty((300, 0), np.float16), "float16", ("f",)),
        "bits": Captured(rng.integers(0, 2, 300).astype(bool), "bool", ()),
    }
    targets = {"none": np.ma.masked_all(300, int), "word": np.array(["a", "bb", "ccc"] * 100)}
    with Writer(path, shard_bytes=40 * 2**20, overwrite=True) as writer:
        writer.append(
            RowBatch(layers, [f"{row}" for row in range(300)], [""] * 300, targets, ["g"] * 300, range(300))
        )
    return actstore.open(path)


def test_a_folder_is_as_the_document_says(tmp_path):
    store = wide_store(tmp_path / "wide.acts")
    header = check_document(store.path / "store.json")
    identity = xxhash.xxh3_128_hexdigest((store.path / "store.json").read_bytes())
    assert [layer["name"] for layer in header["layers"]] == ["wide", "huge row", "empty", "bits"]
    assert check_journal(store.path / "journal", identity) == [{"step": 0}]
    assert check_document(store.path / "steps/0/step.json")["provenance"] == {}
    records = check_journal(store.path / RANK / "journal", identity)
    assert len(records) == 2
    fingerprint = xxhash.xxh3_128(identity.encode())
    rows = 0
    for record in records:
        check_record(record, store.path / RANK)
        assert record["first_row"] == rows
        rows += record["rows"]
        hashes = {
            path: entry["hashes"]
            for path, entry in record["datasets"].items()
            if re.match("layers/|rows/", path)
        }
        fingerprint.update(json.dumps([record["rows"], hashes]).encode())
    proof = check_document(store.path / "steps/0/COMPLETE")
    assert (proof["rows"], proof["shards"]) == (rows, 2)
    assert proof["fingerprint"] == fingerprint.hexdigest() == store.fingerprint
    for name, digest in proof["files"].items():
        assert digest == xxhash.xxh3_128_hexdigest((store.path / name).read_bytes())
    listed = {record["shard"] for record in records}
    assert {path.name for path in (store.path / RANK).iterdir()} == {*listed, "journal", "lock"}


def test_a_single_file_is_as_the_document_says(tmp_path):
    store = wide_store(tmp_path / "wide.h5")
    with h5py.File(store.path) as file:
        manifest = check_document(bytes(file["manifest"][()]))
        for path, entry in manifest["datasets"].items():
            offset, size = file[path].id.get_offset() or 0, file[path].id.get_storage_size()
            check_blocks(entry, store.path.read_bytes()[offset : offset + size])
    folder = wide_store(tmp_path / "wide.acts")
    header = check_document(folder.path / "store.json")
    assert manifest["store"] == header
    assert (manifest["rows"], manifest["fingerprint"]) == (300, folder.fingerprint)
    assert store.targets["none"].mask.all()
    assert store.layers["empty"][:].shape == (300, 0)
    assert store.layers["bits"].dtype == bool
