"""A writer is resumed with what it was begun with, or not at all: each difference is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from actstore import Captured, LayerError, StoreError, Writer
from actstore.store.documents.write_place import WritePlace
from actstore.store.format import StoredLayer

BATCH, ROWS = 6, 40
SMALL = 1500  # bytes: two batches a shard
NOTED = {"options": {"batch_size": BATCH}, "model": {"weights": "abc"}}


def files_of(path):
    """Every file below ``path`` with its bytes."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def without(layers, name):
    return [replace(layer, order=order) for order, layer in enumerate(x for x in layers if x.name != name)]


OTHER_LAYERS = {
    "a layer less": (lambda known: without(known, "norm"), "layers.norm is missing"),
    "a layer more": (
        lambda known: [*known, StoredLayer("fc2", "int8", (), (), 4)],
        "layers.fc2 is new",
    ),
    "dtype": (
        lambda known: [replace(known[0], dtype="float64"), *known[1:]],
        r'layers.conv1 was "float32 \(3, 4\) .*", now "float64 \(3, 4\)',
    ),
    "shape": (
        lambda known: [replace(known[0], shape=(3, 5)), *known[1:]],
        r'layers.conv1 was "float32 \(3, 4\) .*", now "float32 \(3, 5\)',
    ),
    "axes": (
        lambda known: [replace(known[0], axes=("x", "y")), *known[1:]],
        r"""layers.conv1 was .*\('a', 'b'\)", now .*\('x', 'y'\)""",
    ),
    "order": (
        lambda known: [replace(known[1], order=0), replace(known[0], order=1), *known[2:]],
        r'order\[0\] was "conv1", now "act/1"; order\[1\] was "act/1", now "conv1"',
    ),
}


@pytest.mark.parametrize(("change", "message"), OTHER_LAYERS.values(), ids=OTHER_LAYERS.keys())
def test_other_layers_are_refused(out, batches, layers, partial, change, message, write):
    write(out, batches, layers, stop=3)
    before = files_of(partial(out))
    writer = Writer(out, provenance=NOTED, resume=True)
    with pytest.raises(StoreError, match=rf"{partial(out).name} was begun differently: {message}"):
        writer.begin(change(layers))
    assert writer.abandon() == f"{out} is as it was: nothing was written there"
    assert files_of(partial(out)) == before


def test_every_difference_is_named(out, batches, layers, partial, write):
    write(out, batches, layers, stop=3)
    before = files_of(partial(out))
    other = {"options": {"batch_size": 7}, "model": {"weights": "abd"}, "seed": 1}
    with pytest.raises(
        StoreError,
        match=r'options\.batch_size was 6, now 7; model\.weights was "abc", now "abd"; seed is new\. Go on with what',
    ):
        write(out, batches, layers, provenance=other, resume=True)
    with pytest.raises(StoreError, match=r'row_unit was "example", now "token"; layers\.norm is missing'):
        write(out, batches, without(layers, "norm"), row_unit="token", resume=True)
    assert files_of(partial(out)) == before


def test_other_differences_of_a_whole_file_are_refused(tmp_path, batches, layers, write):
    out = tmp_path / "out.h5"
    write(out, batches, layers)
    other = {"options": {"batch_size": BATCH}, "model": {"weights": "abd"}}
    with pytest.raises(StoreError, match=r'out\.h5 was begun differently: model\.weights was "abc", now "abd"'):
        Writer(out, provenance=other, resume=True).open_whole(layers)
    with pytest.raises(StoreError, match=r"layers\.norm is missing"):
        Writer(out, provenance=NOTED, resume=True).open_whole(without(layers, "norm"))


def test_who_wrote_it_may_differ(out, batches, layers, write):
    """The command has --resume now; newer packages are asked about. What it began with stays on record."""
    noted = {**NOTED, "command": "dump", "versions": {"numpy": "1"}}
    write(out, batches, layers, stop=3, provenance=noted)
    again = {**NOTED, "command": "dump --resume", "versions": {"numpy": "2"}}
    with pytest.raises(StoreError, match=r'begun with other versions: versions\.numpy was "1", now "2"'):
        write(out, batches, layers, provenance=again, resume=True)
    store = write(out, batches, layers, provenance=again, resume=True, resume_anyway=True)
    resumed = store.provenance["resumed"]
    assert [one["versions"] for one in resumed] == [{"numpy": "2"}]
    assert {key: value for key, value in store.provenance.items() if key != "resumed"} == noted


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (WritePlace(None, 0, 3, 0, 24), "world_size was 2, now 3"),
        (WritePlace(None, 0, 2, 0, 18), "rows was 24, now 18"),
        (WritePlace(None, 0, 2, 0, None), "rows was 24, now null"),
    ],
)
def test_another_share_of_the_rows_is_refused(tmp_path, batches, layers, place, message, write):
    out = tmp_path / "out.acts"
    write(out, batches, layers, place=WritePlace(None, 0, 2, 0, 24), stop=3)
    with pytest.raises(StoreError, match=f"rank-0000 was begun differently: {message}"):
        Writer(out, place=place, provenance=NOTED, resume=True).begin(layers)


def test_a_share_that_gave_other_rows_than_it_said_does_not_end(tmp_path, batches, layers, write):
    place = WritePlace(None, 0, 2, 0, 24)
    with pytest.raises(StoreError, match="has 18 rows where 24 were announced: the data gave another number"):
        write(tmp_path / "out.acts", batches[:3], layers, place=place)


def test_rows_that_are_there_are_refused(out, batches, layers, batch_of, write):
    write(out, batches, layers, stop=4)
    writer = Writer(out, shard_bytes=SMALL, provenance=NOTED, resume=True)
    writer.begin(layers)
    with pytest.raises(StoreError, match="id 'row/18' appears twice, as did 5 others of its batch"):
        writer.append(batches[3])
    with pytest.raises(StoreError, match="a batch comes without groups, unlike the first one"):
        writer.append(batch_of(3, 24, positions=[0, 1, 2]))
    with pytest.raises(StoreError, match="target 'digit' is int64 and <U1"):
        writer.append(replace(batches[4], targets={"digit": np.array(["a"] * 6)}))
    other = {**batches[4].activations, "norm": Captured(np.zeros(6, np.int8), "int8", ())}
    with pytest.raises(LayerError, match="layer 'norm' is int8"):
        writer.append(replace(batches[4], activations=other))
    for batch in batches[4:]:
        writer.append(batch)
    assert writer.finish().rows == ROWS


def test_a_writer_at_work_is_not_resumed(out, batches, layers):
    writer = Writer(out, shard_bytes=SMALL, provenance=NOTED)
    writer.append(batches[0])
    with pytest.raises(StoreError, match="is being written by another process; wait for it"):
        Writer(out, provenance=NOTED, resume=True)
    writer.append(batches[1])
    assert writer.finish().rows == 2 * BATCH


def test_resuming_and_replacing_exclude_each_other(out):
    with pytest.raises(StoreError, match="overwrite and resume exclude each other: begin again, or go on"):
        Writer(out, overwrite=True, resume=True)


@pytest.mark.parametrize("name", ["journal", "shard-000000.h5"])
def test_a_damaged_store_is_not_resumed(out, batches, layers, partial, name, write):
    write(out, batches, layers, stop=3)
    path = partial(out) / "steps/0/rank-0000" / name
    data = bytearray(path.read_bytes())
    del data[len(data) // 2 : len(data) // 2 + 1]
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{name} (is damaged at record|has [\d,]+ bytes where)"):
        Writer(out, provenance=NOTED, resume=True).begin(layers)
    assert path.read_bytes() == data
