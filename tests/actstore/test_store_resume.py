"""A writer that was interrupted is resumed: what comes of it is what an undisturbed one writes, byte for byte."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest

import actstore
from actstore import Captured, LayerError, StoreError, Writer
from actstore.store.checks import describe_layers
from actstore.store.format import LayerInfo
from actstore.store.place import Place
from actstore.store.records import Seen

ROWS, BATCH = 40, 6
SMALL = 1500  # bytes: two batches a shard
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def batches(batch_of):
    """Batches of rows with groups and positions, and targets that lack labels, or are missing from some shards."""
    found = []
    for first in range(0, ROWS, BATCH):
        numbers = np.arange(first, min(first + BATCH, ROWS))
        targets = {"digit": np.ma.MaskedArray(numbers % 10, mask=numbers % 4 == 0)}
        if first > ROWS // 2:
            targets["word"] = np.array([f"w{number % 5}" for number in numbers])
        groups, positions = [f"g{number // 3}" for number in numbers], [int(number % 3) for number in numbers]
        found.append(batch_of(len(numbers), first, targets=targets, groups=groups, positions=positions))
    return found


@pytest.fixture
def layers(batches):
    return describe_layers(batches[0].activations)


NOTED = {"options": {"batch_size": BATCH}, "model": {"weights": "abc"}}


def write(out, batches, layers, *, stop=None, **options):
    """All batches, or ``stop`` of them and then the end of the process; those that are there are left out."""
    writer = Writer(out, **{"shard_bytes": SMALL, "provenance": NOTED, **options})
    try:
        there = writer.begin(layers).batches
        for number, batch in enumerate(batches[:stop], start=1):
            if number > there:
                writer.append(batch, Seen(number, f"inputs {number}", f"labels {number}"))
    except StoreError:
        writer.abandon()
        raise
    return writer.finish() if stop is None else writer.abandon()


def files_of(path):
    """Every file below ``path`` with its bytes."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def undisturbed(tmp_path, out, batches, layers):
    """What the same rows give in one go."""
    path = tmp_path / "undisturbed" / out.name
    path.parent.mkdir()
    write(path, batches, layers)
    return files_of(path)


# -- it goes on


@pytest.mark.parametrize("stops", [[0], [1], [2], [3], [4], [7], [2, 4], [1, 2, 3, 4, 5, 6]])
def test_a_resumed_store_has_the_bytes_of_an_undisturbed_one(out, batches, layers, undisturbed, stops):
    for stop in stops:
        write(out, batches, layers, stop=stop, resume=True)
    store = write(out, batches, layers, resume=True)
    assert files_of(out) == undisturbed
    assert [path.name for path in out.parent.iterdir() if path.name != "undisturbed"] == [out.name]
    for name, layer in store.layers.items():
        whole = np.concatenate([batch.activations[name].array for batch in batches])
        assert layer.raw[:].tobytes() == whole.tobytes()
    assert store.ids.tolist() == [row_id for batch in batches for row_id in batch.ids]
    assert store.splits.tolist() == [split for batch in batches for split in batch.splits]
    assert store.groups.tolist() == [group for batch in batches for group in batch.groups]
    assert store.positions.tolist() == [position for batch in batches for position in batch.positions]
    assert store.targets["digit"].tolist() == [n % 10 if n % 4 else None for n in range(ROWS)]
    assert store.targets["word"].tolist() == [None] * 24 + [f"w{n % 5}" for n in range(24, ROWS)]


def test_what_is_there_is_said(out, batches, layers, partial):
    assert write(out, batches, layers, stop=5) == (
        f"{partial(out)} keeps the 24 rows that were sealed, as an unfinished store; --resume continues it"
    )
    writer = Writer(out, shard_bytes=SMALL, provenance=NOTED, resume=True)
    assert not writer.whole
    assert writer.begin(layers) == Seen(4, "inputs 4", "labels 4")
    assert actstore.open(partial(out)).rows == 24
    writer.abandon()
    assert actstore.open(partial(out)).rows == 24


def test_what_an_interrupted_writer_left_beside_its_shards_is_removed(
    out, batches, layers, undisturbed, partial
):
    write(out, batches, layers, stop=3)
    rank = partial(out) / "steps/0/rank-0000"
    (rank / "shard-000001.h5").write_bytes(b"renamed, but never listed")
    (rank / "shard-000002.h5.tmp").write_bytes(b"half")
    with (rank / "journal").open("ab") as journal:
        journal.write(b'0123456789abcdef {"shard":"sha')
    assert actstore.open(partial(out)).rows == 12
    write(out, batches, layers, resume=True)
    assert files_of(out) == undisturbed


def test_a_step_that_was_never_listed_is_listed_when_it_is_resumed(tmp_path, batches, layers):
    """The process died between the record of its first shard and that of the step."""
    out = tmp_path / "out.acts"
    write(out, batches, layers, stop=3)
    (out / "journal").unlink()
    with pytest.raises(StoreError, match=r"out\.acts has no rows yet: .* Dump again with --resume"):
        actstore.open(out)
    assert write(out, batches, layers, resume=True).rows == ROWS


def test_where_there_is_nothing_to_resume_a_store_is_begun(out, batches, layers, undisturbed, partial):
    rank = partial(out) / "steps/0/rank-0000"
    for claimed in (False, True):
        if claimed:
            rank.mkdir(parents=True)
            (rank / "lock").touch()
        write(out, batches, layers, resume=True)
        assert files_of(out) == undisturbed
        shutil.rmtree(out) if out.is_dir() else out.unlink()


def test_a_claimed_folder_is_taken_over_unasked(out, batches, layers, undisturbed, partial):
    """Its writer died before the first rows were sealed: there is nothing to lose."""
    rank = partial(out) / "steps/0/rank-0000"
    rank.mkdir(parents=True)
    (rank / "lock").touch()
    write(out, batches, layers)
    assert files_of(out) == undisturbed


def test_a_whole_store_has_nothing_to_resume(out, batches, layers, undisturbed):
    write(out, batches, layers)
    if out.suffix == ".h5":
        writer = Writer(out, provenance=NOTED, resume=True)
        assert writer.whole
        assert writer.open_whole(layers).rows == ROWS
    else:
        assert write(out, batches, layers, resume=True).rows == ROWS
    assert files_of(out) == undisturbed


def test_a_whole_store_takes_no_more_rows(tmp_path, batches, layers, batch_of):
    out = tmp_path / "out.acts"
    write(out, batches, layers)
    before = files_of(out)
    more = batch_of(3, ROWS, groups=["g"] * 3, positions=[0, 1, 2])
    with pytest.raises(StoreError, match=r"out\.acts already has all 40 rows of step 0, and takes no more"):
        write(out, [*batches, more], layers, resume=True)
    assert files_of(out) == before
    assert actstore.open(out).rows == ROWS


def test_an_interrupted_replacement_is_resumed(out, batches, layers, undisturbed, write_store):
    """The old store stays until the new one is whole, across interruptions."""
    old = write_store(out.name, 10).fingerprint
    write(out, batches, layers, stop=4, overwrite=True)
    assert actstore.open(out).fingerprint == old
    write(out, batches, layers, resume=True)
    assert files_of(out) == undisturbed


def test_a_step_is_resumed_beside_another(tmp_path, batches, layers):
    out = tmp_path / "out.acts"
    write(out, batches, layers, place=Place(0))
    write(out, batches, layers, place=Place(10), stop=4)
    with pytest.raises(StoreError, match=r"out\.acts holds an unfinished step 10; pass resume=True"):
        Writer(out, place=Place(10))
    store = write(out, batches, layers, place=Place(10), resume=True)
    assert (store.steps, store.complete) == ([0, 10], True)
    assert len(set(store.fingerprints.values())) == 1
    with pytest.raises(StoreError, match=r"out\.acts already holds step 10; choose another step"):
        Writer(out, place=Place(10))


def test_a_rank_is_resumed_beside_another(tmp_path, batches, layers):
    whole = write(tmp_path / "whole.acts", batches, layers)
    out = tmp_path / "out.acts"
    first, second = Place(None, 0, 2, 0, 24), Place(None, 1, 2, 24, 16)
    write(out, batches[4:], layers, place=second, stop=2)
    assert not write(out, batches[:4], layers, place=first).complete
    with pytest.raises(StoreError, match="holds an unfinished step 0, rank 1 of 2; pass resume=True"):
        Writer(out, place=second)
    store = write(out, batches[4:], layers, place=second, resume=True)
    assert store.complete
    assert store.ids.tolist() == whole.ids.tolist()
    for name, layer in store.layers.items():
        assert layer.raw[:].tobytes() == whole.layers[name].raw[:].tobytes()


# -- it refuses


def without(layers, name):
    return [replace(layer, order=order) for order, layer in enumerate(x for x in layers if x.name != name)]


OTHER_LAYERS = {
    "a layer less": (lambda known: without(known, "norm"), "layers.norm is missing"),
    "a layer more": (
        lambda known: [*known, LayerInfo("fc2", "int8", (), (), 4)],
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
def test_other_layers_are_refused(out, batches, layers, partial, change, message):
    write(out, batches, layers, stop=3)
    before = files_of(partial(out))
    writer = Writer(out, provenance=NOTED, resume=True)
    with pytest.raises(StoreError, match=rf"{partial(out).name} was begun differently: {message}"):
        writer.begin(change(layers))
    assert writer.abandon() == f"{out} is as it was: nothing was written there"
    assert files_of(partial(out)) == before


def test_every_difference_is_named(out, batches, layers, partial):
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


def test_other_differences_of_a_whole_file_are_refused(tmp_path, batches, layers):
    out = tmp_path / "out.h5"
    write(out, batches, layers)
    other = {"options": {"batch_size": BATCH}, "model": {"weights": "abd"}}
    with pytest.raises(StoreError, match=r'out\.h5 was begun differently: model\.weights was "abc", now "abd"'):
        Writer(out, provenance=other, resume=True).open_whole(layers)
    with pytest.raises(StoreError, match=r"layers\.norm is missing"):
        Writer(out, provenance=NOTED, resume=True).open_whole(without(layers, "norm"))


def test_who_wrote_it_may_differ(out, batches, layers):
    """The command has --resume now, and the packages may be newer; what it began with stays on record."""
    noted = {**NOTED, "command": "dump", "versions": {"numpy": "1"}}
    write(out, batches, layers, stop=3, provenance=noted)
    again = {**NOTED, "command": "dump --resume", "versions": {"numpy": "2"}}
    store = write(out, batches, layers, provenance=again, resume=True)
    assert store.provenance == noted


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Place(None, 0, 3, 0, 24), "world_size was 2, now 3"),
        (Place(None, 0, 2, 0, 18), "rows was 24, now 18"),
        (Place(None, 0, 2, 0, None), "rows was 24, now null"),
    ],
)
def test_another_share_of_the_rows_is_refused(tmp_path, batches, layers, place, message):
    out = tmp_path / "out.acts"
    write(out, batches, layers, place=Place(None, 0, 2, 0, 24), stop=3)
    with pytest.raises(StoreError, match=f"rank-0000 was begun differently: {message}"):
        Writer(out, place=place, provenance=NOTED, resume=True).begin(layers)


def test_a_share_that_gave_other_rows_than_it_said_does_not_end(tmp_path, batches, layers):
    place = Place(None, 0, 2, 0, 24)
    with pytest.raises(StoreError, match="has 18 rows where 24 were announced: the data gave another number"):
        write(tmp_path / "out.acts", batches[:3], layers, place=place)


def test_rows_that_are_there_are_refused(out, batches, layers, batch_of):
    write(out, batches, layers, stop=4)
    writer = Writer(out, shard_bytes=SMALL, provenance=NOTED, resume=True)
    writer.begin(layers)
    with pytest.raises(StoreError, match="id 'row/18' came twice, as did 5 others of its batch"):
        writer.append(batches[3])
    with pytest.raises(StoreError, match="a batch came without groups, unlike the first one"):
        writer.append(batch_of(3, 24, positions=[0, 1, 2]))
    with pytest.raises(StoreError, match="target 'digit' came as int64 and <U1"):
        writer.append(replace(batches[4], targets={"digit": np.array(["a"] * 6)}))
    other = {**batches[4].activations, "norm": Captured(np.zeros(6, np.int8), "int8", ())}
    with pytest.raises(LayerError, match="layer 'norm' came as int8"):
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
def test_a_damaged_store_is_not_resumed(out, batches, layers, partial, name):
    write(out, batches, layers, stop=3)
    path = partial(out) / "steps/0/rank-0000" / name
    data = bytearray(path.read_bytes())
    del data[len(data) // 2 : len(data) // 2 + 1]
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{name} (is damaged at record|has [\d,]+ bytes where)"):
        Writer(out, provenance=NOTED, resume=True).begin(layers)
    assert path.read_bytes() == data


# -- when rows are sealed, and whether there is room


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told otherwise: ``clock[0] = seconds``."""
    now = [1000.0]
    monkeypatch.setattr("actstore.store.writer.time.monotonic", lambda: now[0])
    return now


def test_a_slow_dump_is_sealed_by_the_clock(out, batches, layers, partial, sealed, clock):
    """After 30 s; once it has taken longer than 300 s, after a tenth of the time taken."""

    def rows_after(seconds, batch):
        clock[0] = 1000 + seconds
        writer.append(batch)
        sealed(writer)
        return actstore.open(partial(out)).rows if (partial(out) / "journal").exists() else 0

    writer = Writer(out, provenance=NOTED)
    writer.begin(layers)
    seconds = [0, 30, 31, 60, 1031, 1131, 1135]
    assert [rows_after(*pair) for pair in zip(seconds, batches, strict=True)] == [0, 0, 18, 18, 30, 30, 40]
    assert writer.finish().rows == ROWS


def free(monkeypatch, free_bytes):
    monkeypatch.setattr("actstore.store.writer.shutil.disk_usage", lambda _: Usage(10**12, 0, free_bytes))


def row_bytes(layers):
    return sum(layer.row_bytes for layer in layers) + 64


def test_a_disk_that_is_too_small_is_seen_in_advance(out, layers, monkeypatch):
    copies = 2 if out.suffix == ".h5" else 1
    free(monkeypatch, 1000 * row_bytes(layers) * copies)
    writer = Writer(out)
    writer.begin(layers)
    writer.expect(1000)
    with pytest.raises(
        StoreError, match=r"needs 0\.00 GB.*, and the disk has 0\.00 GB free\. Make room, name fewer"
    ):
        writer.expect(1001)
    writer.abandon()
    assert not list(out.parent.iterdir())


def test_what_is_there_needs_no_more_room(out, batches, layers, monkeypatch):
    write(out, batches, layers, stop=4)  # 24 rows are sealed
    missing = ROWS - 24 + (ROWS if out.suffix == ".h5" else 0)
    writer = Writer(out, shard_bytes=SMALL, provenance=NOTED, resume=True)
    writer.begin(layers)
    free(monkeypatch, missing * row_bytes(layers))
    writer.expect(ROWS)
    writer.abandon()
    writer = Writer(out, shard_bytes=SMALL, provenance=NOTED, resume=True)
    writer.begin(layers)
    free(monkeypatch, missing * row_bytes(layers) - 1)
    with pytest.raises(StoreError, match=r"needs 0\.00 GB"):
        writer.expect(ROWS)
    writer.abandon()


@pytest.mark.parametrize(("rows", "shard_bytes"), [(10**3, 128 * 2**20), (10**10, None), (10**11, 2 * 2**30)])
def test_shards_are_a_thousandth_of_the_dump_within_limits(tmp_path, layers, monkeypatch, rows, shard_bytes):
    free(monkeypatch, 10**18)
    writer = Writer(tmp_path / "out.acts")
    writer.begin(layers)
    writer.expect(rows)
    assert writer._shard_bytes == (shard_bytes or rows * row_bytes(layers) // 1000)
    writer.abandon()
