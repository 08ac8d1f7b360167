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
FOOTER_BYTES = 64


def read_by_document():
    """The function that the document prints."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    scope: dict[str, object] = {}
    exec(code, scope)
    return scope["read"]


@pytest.mark.parametrize("name", ["store.acts", "store.h5"])
def test_the_dozen_lines_of_the_document_read_a_store(write_store, arrays, name):
    store = write_store(name)
    for layer in ("conv1", "act/1", "norm"):
        activations, splits, labels = read_by_document()(store.path, layer.replace("/", "%2F"), "digit")
        np.testing.assert_array_equal(activations, arrays(40)[layer], strict=True)
    np.testing.assert_array_equal(splits, store.splits)
    np.testing.assert_array_equal(labels, np.arange(40) % 10, strict=True)


def test_the_dozen_lines_read_one_step_of_several_ranks(tmp_path, write_shares, arrays):
    for step in (500, 1000):
        write_shares(tmp_path / "store.acts", [21, 7, 12], step=step)
    activations, _, labels = read_by_document()(tmp_path / "store.acts", "conv1", "digit", step=1000)
    np.testing.assert_array_equal(activations, arrays(40)["conv1"], strict=True)
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


def hash64(data):
    return xxhash.xxh3_64_hexdigest(data)


def hash128(data):
    return xxhash.xxh3_128_hexdigest(data)


def check_document(path, keys):
    data = path if isinstance(path, bytes) else path.read_bytes()
    document = json.loads(data)
    checksum = document.pop("checksum")
    assert list(document) == ["format", "version", *keys]
    assert (document["format"], document["version"]) == ("actstore", 1)
    assert checksum == hash128(json.dumps(document, indent=1).encode())
    assert data.decode() == json.dumps({**document, "checksum": checksum}, indent=1) + "\n"
    return document


def check_header(folder):
    document = check_document(folder / "store.json", ["row_unit", "layers"])
    for order, layer in enumerate(document["layers"]):
        assert list(layer) == ["name", "dtype", "shape", "axes", "order"]
        assert (layer["order"], len(layer["axes"])) == (order, len(layer["shape"]))
    return hash128((folder / "store.json").read_bytes()), document["layers"]


def check_journal(path, start):
    records = []
    previous = start
    for line in path.read_bytes().splitlines(keepends=True):
        assert line.endswith(b"\n")
        previous = hash64(previous.encode() + line[17:-1])
        assert line[:17].decode() == f"{previous} "
        records.append(json.loads(line[17:]))
    return records


def row_bytes(dtype, features):
    itemsize = {"bfloat16": 2, "bool": 1}.get(dtype) or np.dtype(dtype).itemsize
    return int(np.prod(features, dtype=int)) * itemsize


def block_rows(nbytes):
    return max(1, BLOCK_BYTES // max(1, nbytes))


def check_blocks(entry, data):
    assert list(entry) == ["dtype", "shape", "offset", "hashes"]
    size, length = row_bytes(entry["dtype"], entry["shape"][1:]), entry["shape"][0]
    assert len(data) == length * size
    blocks = [data[start * size :][: block_rows(size) * size] for start in range(0, length, block_rows(size))]
    assert entry["hashes"] == [hash64(block) for block in blocks]


def check_file(path, datasets, others=(), footer_bytes=0):
    """Every byte is a dataset's, a gap's or the footer's. Returns the hash of the gaps, and the datasets' bytes."""
    data = path.read_bytes()
    covered = np.zeros(len(data), bool)
    covered[len(data) - footer_bytes :] = True
    found = {}
    with h5py.File(path) as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert sorted(names) == sorted([*datasets, *others])
        for name in names:
            dataset = file[name]
            offset, size = dataset.id.get_offset() or 0, dataset.id.get_storage_size()
            assert not covered[offset : offset + size].any()
            covered[offset : offset + size] = True
            found[name] = data[offset : offset + size]
            if name in datasets:
                assert (offset, list(dataset.shape)) == (datasets[name]["offset"], datasets[name]["shape"])
                check_blocks(datasets[name], found[name])
    return hash64(np.frombuffer(data, np.uint8)[~covered].tobytes()), found


def check_record(record, folder, name):
    path = folder / record[name]
    assert path.stat().st_size == record["file_bytes"]
    gaps, found = check_file(path, record["datasets"])
    assert record["gaps"] == gaps
    return found


def layer_hash(data, nbytes, *, whole_only=False):
    """Of all bytes of a layer; or the state after the last whole segment."""
    state, segment = "", block_rows(nbytes) * nbytes
    for start in range(0, len(data), segment or 1):
        piece = data[start : start + segment]
        if len(piece) == segment or not whole_only:
            state = hash128(f"{state} {hash128(piece)}".encode())
    return state


SHARD_KEYS = [
    "shard", "first_row", "rows", "file_bytes", "gaps", "datasets", "nonfinite", "seen", "segments",
]  # fmt: skip


def check_rank(folder, identity, layers, place, before):
    """The journal of a rank whose first row is ``before``. Returns its rows, its hashes, and its ids."""
    step, rank, world_size = place
    path = folder / f"steps/{step}/rank-{rank:04d}"
    records = check_journal(path / "journal", hash128(f"{identity} step {step} rank {rank}".encode()))
    begin, *shards, end = records
    assert list(begin) == ["begin"]
    assert list(end) == ["end"]
    assert list(begin["begin"]) == ["rank", "world_size", "first_row", "rows", "provenance"]
    assert [begin["begin"][key] for key in ("rank", "world_size", "first_row")] == [rank, world_size, before]
    data = {layer["name"]: b"" for layer in layers}
    columns = {"ids": b"", "splits": b"", "groups": b"", "positions": b""}
    rows = 0
    for record in shards:
        assert list(record) == SHARD_KEYS
        assert record["first_row"] == rows
        rows += record["rows"]
        found = check_record(record, path, "shard")
        for layer in layers:
            name, nbytes = layer["name"], row_bytes(layer["dtype"], layer["shape"])
            data[name] += found[f"layers/{name.replace('/', '%2F')}"]
            assert record["segments"][name] == layer_hash(data[name], nbytes, whole_only=True)
        assert list(record["seen"]) == ["batches", "inputs", "targets"]
        with h5py.File(path / record["shard"]) as file:
            ids = file["rows/id"].asstr()[:]
            columns["ids"] += "".join(f"{row_id}\0" for row_id in ids).encode()
            for name, column in (("splits", "split"), ("groups", "group")):
                if column in file["rows"]:
                    texts = file[f"rows/{column}/values"].asstr()[:][file[f"rows/{column}/codes"][:]]
                    columns[name] += "".join(f"{text}\0" for text in texts).encode()
        columns["positions"] += found.get("rows/position", b"")
    hashes = {"": hash128(" ".join(map(hash128, columns.values())).encode())}
    hashes |= {
        layer["name"]: layer_hash(data[layer["name"]], row_bytes(layer["dtype"], layer["shape"]))
        for layer in layers
    }
    assert list(end["end"]) == ["rows", "hashes", "provenance"]
    assert (end["end"]["rows"], end["end"]["hashes"]) == (rows, hashes)
    listed = {record["shard"] for record in shards}
    assert {one.name for one in path.iterdir()} == {*listed, "journal", "lock"}
    return rows, hashes


def check_step(folder, step, world_size):
    """A complete step. Returns its rows and its fingerprint."""
    identity, layers = check_header(folder)
    assert check_document(folder / f"steps/{step}/step.json", ["step", "provenance"])["step"] == step
    ranks = []
    for rank in range(world_size):
        place = step, rank, world_size
        ranks.append(check_rank(folder, identity, layers, place, sum(rows for rows, _ in ranks)))
    proof = check_document(folder / f"steps/{step}/COMPLETE", ["step", "rows", "ranks", "fingerprint", "files"])
    rows = sum(rows for rows, _ in ranks)
    assert [proof[key] for key in ("step", "rows", "ranks")] == [step, rows, world_size]
    assert proof["fingerprint"] == hash128(f"{identity} {json.dumps(ranks, sort_keys=True)}".encode())
    journals = [f"steps/{step}/rank-{rank:04d}/journal" for rank in range(world_size)]
    assert list(proof["files"]) == ["store.json", f"steps/{step}/step.json", *journals]
    assert all(mark == hash128((folder / name).read_bytes()) for name, mark in proof["files"].items())
    return rows, proof["fingerprint"]


def wide_store(path):
    """Layers with several hashed blocks, with none, and with nothing in them; cut within their segments."""
    rng = np.random.default_rng(0)
    layers = {
        "wide": Captured(rng.normal(size=(300, 300, 40)).astype(np.float32), "float32", ("a", "b")),
        "huge/row": Captured(rng.integers(0, 9, (300, 2**14)), "int64", ("f",)),
        "empty": Captured(np.empty((300, 0), np.float16), "float16", ("f",)),
        "bits": Captured(rng.integers(0, 2, 300).astype(bool), "bool", ()),
    }
    targets = {"none": np.ma.masked_all(300, int), "word": np.array(["a", "bb", "ccc"] * 100)}
    groups, positions = ["g"] * 150 + ["été"] * 150, [*range(150)] * 2
    with Writer(path, shard_bytes=30 * 2**20, overwrite=True) as writer:
        for start in range(0, 300, 100):
            rows = slice(start, start + 100)
            writer.append(
                RowBatch(
                    {name: Captured(one.array[rows], one.dtype, one.axes) for name, one in layers.items()},
                    [f"{row}" for row in range(300)[rows]],
                    [""] * 100,
                    {name: values[rows] for name, values in targets.items()},
                    groups[rows],
                    positions[rows],
                )
            )
    return actstore.open(path)


def test_a_folder_is_as_the_document_says(tmp_path):
    store = wide_store(tmp_path / "wide.acts")
    identity, layers = check_header(store.path)
    assert [layer["name"] for layer in layers] == ["wide", "huge/row", "empty", "bits"]
    assert check_journal(store.path / "journal", identity) == [{"step": 0}]
    assert len(list((store.path / RANK).glob("shard-*.h5"))) == 2
    assert check_step(store.path, 0, 1) == (300, store.fingerprint)
    assert {path.name for path in store.path.iterdir()} == {"store.json", "journal", "journal.lock", "steps"}


def test_steps_and_ranks_are_as_the_document_says(tmp_path, write_shares):
    for step in (20, 3):
        store = write_shares(tmp_path / "store.acts", [14, 26], step=step)
    identity, _ = check_header(store.path)
    assert check_journal(store.path / "journal", identity) == [{"step": 20}, {"step": 3}]
    assert store.fingerprints == {step: check_step(store.path, step, 2)[1] for step in (3, 20)}
    assert store.rows == 40


def test_a_single_file_is_as_the_document_says(tmp_path):
    store = wide_store(tmp_path / "wide.h5")
    data = store.path.read_bytes()
    footer = data[-FOOTER_BYTES:]
    name, version, offset, length, checksum = footer.split()
    assert (name, version, footer[-1:]) == (b"actstore", b"1", b"\n")
    assert footer[:-1].rstrip(b" ").endswith(checksum)
    assert checksum.decode() == hash64(footer[: footer.index(checksum)])
    assert int.from_bytes(data[28:36], "little") == len(data) - FOOTER_BYTES  # the superblock's end of file
    keys = ["store", "step", "rows", "fingerprint", "provenance", "nonfinite", "gaps", "datasets"]
    manifest = check_document(data[int(offset) : int(offset) + int(length)], keys)
    gaps, found = check_file(store.path, manifest["datasets"], ["manifest"], FOOTER_BYTES)
    assert manifest["gaps"] == gaps
    assert found["manifest"] == data[int(offset) : int(offset) + int(length)]
    folder = wide_store(tmp_path / "wide.acts")
    assert manifest["store"] == check_document(folder.path / "store.json", ["row_unit", "layers"])
    assert (manifest["rows"], manifest["fingerprint"]) == (300, folder.fingerprint)
    assert (manifest["step"], manifest["nonfinite"]["wide"]) == (0, 0)
    assert store.targets["none"].mask.all()
    assert store.layers["empty"][:].shape == (300, 0)
    assert store.layers["bits"].dtype == bool
