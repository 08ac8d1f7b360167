"""docs/format.md, held against what is written: its dozen lines, and its sentences, with xxhash and json alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash

import actstore
from actstore import Captured, RowBatch, Writer

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"
FROZEN = Path(__file__).parent / "frozen" / "version_1"
BLOCK_BYTES = 4 * 2**20
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


# -- the document's sentences, followed without a line of the package


hash64, hash128 = xxhash.xxh3_64_hexdigest, xxhash.xxh3_128_hexdigest


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


SHARD_KEYS = "shard first_row rows file_bytes gaps datasets nonfinite seen segments"


def link_name(name):
    return {"": "%", ".": "%2E", "..": "%2E%2E"}.get(name) or name.replace("%", "%25").replace("/", "%2F")


def check_rank(folder, identity, layers, place, before):
    """The journal of a rank whose first row is ``before``. Returns its rows, its hashes, and its ids."""
    step, rank, world_size = place
    path = folder / f"steps/{step}/rank-{rank:04d}"
    records = check_journal(path / "journal", hash128(f"{identity} step {step} rank {rank}".encode()))
    begin, *shards, end = records
    assert (list(begin), list(end)) == (["begin"], ["end"])
    assert list(begin["begin"]) == ["rank", "world_size", "first_row", "rows", "provenance"]
    assert [begin["begin"][key] for key in ("rank", "world_size", "first_row")] == [rank, world_size, before]
    data = {layer["name"]: b"" for layer in layers}
    columns = {"ids": b"", "splits": b"", "groups": b"", "positions": b""}
    rows = 0
    for record in shards:
        assert " ".join(record) == SHARD_KEYS
        assert record["first_row"] == rows
        rows += record["rows"]
        found = check_record(record, path, "shard")
        for layer in layers:
            name, nbytes = layer["name"], row_bytes(layer["dtype"], layer["shape"])
            data[name] += found[f"layers/{link_name(name)}"]
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
    assert {one.name for one in path.iterdir()} - {"lock"} == {*listed, "journal"}
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
    identity, _ = check_header(store.path)
    assert check_journal(store.path / "journal", identity) == [{"step": 0}]
    assert len(list(store.path.glob("steps/0/*/shard-*.h5"))) == 2
    assert check_step(store.path, 0, 1) == (300, store.fingerprint)
    assert {path.name for path in store.path.iterdir()} == {"store.json", "journal", "journal.lock", "steps"}


def test_steps_and_ranks_are_as_the_document_says(tmp_path, write_shares):
    for step in (20, 3):
        store = write_shares(tmp_path / "store.acts", [14, 26], step=step)
    identity, _ = check_header(store.path)
    assert check_journal(store.path / "journal", identity) == [{"step": 20}, {"step": 3}]
    assert store.fingerprints == {step: check_step(store.path, step, 2)[1] for step in (3, 20)}
    assert store.rows == 40


def test_the_frozen_store_is_as_the_document_says():
    """Written once: had the format moved since, with the document and these checks, it would show here."""
    folder = FROZEN / "store.acts"
    *steps, target = check_journal(folder / "journal", check_header(folder)[0])
    assert steps == [{"step": 0}, {"step": 500}]
    assert list(target) == ["target", "file", "rows", "file_bytes", "gaps", "datasets"]
    assert (target["target"], target["file"], target["rows"]) == ("later", "targets/000000.h5", 7)
    found = check_record(target, folder, "file")
    assert list(found) == ["target_names", "targets/later/codes", "targets/later/values"]
    assert found["target_names"] == b"later"
    assert np.frombuffer(found["targets/later/codes"], "<i4").tolist() == [0, -1, 1, 0, -1, -1, 2]
    for step in (0, 500):
        assert check_step(folder, step, 2)[0] == 7
    check_packed(FROZEN / "single.h5")
    for step in (0, 500):
        activations, splits, flags = read_by_document()(folder, "conv%2F1", "a%2Fflag", step=step)
        assert activations.shape == (7, 2, 3)
        assert (splits[2], flags.tolist()) == ("val", [True, False, True, True, False, False, True])


def check_packed(path):
    """A single file. Returns its manifest."""
    data = path.read_bytes()
    footer = data[-FOOTER_BYTES:]
    name, version, offset, length, checksum = footer.split()
    assert (name, version, footer[-1:]) == (b"actstore", b"1", b"\n")
    assert footer[:-1].rstrip(b" ").endswith(checksum)
    assert checksum.decode() == hash64(footer[: footer.index(checksum)])
    assert int.from_bytes(data[28:36], "little") == len(data) - FOOTER_BYTES  # the superblock's end of file
    keys = ["store", "step", "rows", "fingerprint", "provenance", "nonfinite", "gaps", "datasets"]
    manifest = check_document(data[int(offset) : int(offset) + int(length)], keys)
    gaps, found = check_file(path, manifest["datasets"], ["manifest"], FOOTER_BYTES)
    assert manifest["gaps"] == gaps
    assert found["manifest"] == data[int(offset) : int(offset) + int(length)]
    return manifest


def test_a_single_file_is_as_the_document_says(tmp_path):
    store = wide_store(tmp_path / "wide.h5")
    manifest = check_packed(store.path)
    folder = wide_store(tmp_path / "wide.acts")
    assert manifest["store"] == check_document(folder.path / "store.json", ["row_unit", "layers"])
    assert (manifest["rows"], manifest["fingerprint"]) == (300, folder.fingerprint)
    assert (manifest["step"], manifest["nonfinite"]["wide"]) == (0, 0)
    assert store.targets["none"].mask.all()
    assert (store.layers["empty"][:].shape, store.layers["bits"].dtype) == ((300, 0), bool)
