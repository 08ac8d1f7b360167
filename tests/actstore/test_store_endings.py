"""However a dump ends, nothing half-written has a final name, and what was sealed is there."""

from __future__ import annotations

import errno
import subprocess
import sys

import numpy as np
import pytest

import actstore
from actstore import StoreError, Writer
from actstore.store.disk import durable
from actstore.store.writing.batch_checks import describe_layers

SMALL = 1000  # bytes: a handful of rows a shard


def interrupted_dump(out, batch_of, rows, error):
    with Writer(out, shard_bytes=SMALL) as writer:
        for first in range(0, rows, 5):
            writer.append(batch_of(5, first))
        raise error


@pytest.mark.parametrize("error", [RuntimeError("model"), KeyboardInterrupt("key")], ids=["error", "Ctrl-C"])
def test_a_block_that_raises_keeps_what_was_sealed(out, batch_of, partial, names_in, error):
    with pytest.raises(type(error), match=str(error)) as caught:
        interrupted_dump(out, batch_of, 90, error)
    assert names_in(out.parent) == [partial(out).name]
    store = actstore.open(partial(out))
    assert not store.complete
    assert 80 < store.rows <= 90  # the rest had not filled a shard
    rows = f"{partial(out)} keeps the {store.rows} rows that were sealed"
    message = f"{rows}, as an unfinished store; --resume continues it"
    assert caught.value.__notes__[-1] == message
    np.testing.assert_array_equal(store.layers["conv1"][:], batch_of(store.rows).activations["conv1"].array)


@pytest.mark.parametrize("error", [RuntimeError("model"), KeyboardInterrupt("key")], ids=["error", "Ctrl-C"])
def test_a_block_that_raises_before_a_shard_was_sealed_leaves_nothing(out, batch_of, names_in, error):
    with pytest.raises(type(error), match=str(error)) as caught:
        interrupted_dump(out, batch_of, 5, error)
    assert names_in(out.parent) == []
    assert caught.value.__notes__[-1] == f"nothing is left in {out}: no shard had been sealed"


def fail_after(calls, function, error):
    """``function`` until it was called so often, then ``error``: a full disk stays full, Ctrl-C is pressed once."""
    remaining = [calls]

    def failing(*arguments):
        remaining[0] -= 1
        if remaining[0] == -1 or (remaining[0] < 0 and isinstance(error, OSError)):
            raise error
        return function(*arguments)

    return failing


def dump(out, batch_of):
    with Writer(out, shard_bytes=SMALL, overwrite=True) as writer:
        for first in range(0, 30, 10):
            writer.append(batch_of(10, first))


def append_all(writer, batch_of, firsts):
    for first in firsts:
        writer.append(batch_of(10, first))


def begin_again(out, batch_of):
    """Resume, and give up before a row came: now readers know of the rows even where the full disk kept that back."""
    writer = Writer(out, resume=True)
    writer.begin(describe_layers(batch_of(1).activations))
    writer.abandon()


def count_calls(monkeypatch, name, run):
    calls = []
    function = getattr(durable, name)
    with monkeypatch.context() as patch:
        patch.setattr(durable, name, lambda *arguments: calls.append(1) or function(*arguments))
        run()
    return len(calls)


@pytest.mark.parametrize("name", ["write_at", "sync_file", "sync_data", "sync_folder", "rename", "publish"])
@pytest.mark.parametrize("full", [True, False], ids=["full disk", "Ctrl-C"])
def test_a_failure_at_any_file_operation_loses_nothing_that_was_sealed(out, batch_of, monkeypatch, name, full):
    """Each call (of many, every seventh) fails in turn: the old output stays or the new is whole; sealed rows stay."""
    dump(out, batch_of)
    whole = actstore.open(out).fingerprint
    calls = count_calls(monkeypatch, name, lambda: dump(out, batch_of))
    staged = out.with_name(out.name + ".partial")
    for call in range(0, calls, 7 if calls > 50 else 1):
        error = OSError(errno.ENOSPC, "No space left on device") if full else KeyboardInterrupt()
        with monkeypatch.context() as patch:
            patch.setattr(durable, name, fail_after(call, getattr(durable, name), error))
            with pytest.raises((StoreError, KeyboardInterrupt)) as caught:
                dump(out, batch_of)
        if full:
            assert "No space left on device. Make room there, or write elsewhere" in str(caught.value)
        assert actstore.open(out).fingerprint == whole
        (note,) = caught.value.__notes__
        if staged.exists():
            begin_again(out, batch_of)
            kept = actstore.open(staged)
            expected = batch_of(kept.rows).activations["conv1"].array
            assert (
                f"keeps the {kept.rows} rows that were sealed" in note or f"keeps all {kept.rows} rows" in note
            )
            np.testing.assert_array_equal(kept.layers["conv1"][:], expected)
            assert not list(staged.rglob("*.tmp"))
        else:
            nothing = (
                f"nothing is left of the new store: no shard had been sealed; {out} is as it was",
                f"{out} is as it was: nothing was written there",
            )
            assert note in nothing or "is whole" in note
    assert calls >= 2


def test_a_writer_that_was_interrupted_takes_nothing_more(out, batch_of, monkeypatch):
    writer = Writer(out, shard_bytes=SMALL)
    for first in (
        0,
        10,
        20,
    ):  # each waits for the one before to be written, and that for the one before it to be sealed
        writer.append(batch_of(10, first))
    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_at", fail_after(1, durable.write_at, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):  # in the background: it is told at one of the next calls
            append_all(writer, batch_of, range(30, 100, 10))
    for action in (lambda: writer.append(batch_of(10, 20)), writer.finish, lambda: writer.note(a=1)):
        with pytest.raises(StoreError, match="was interrupted while it wrote; abandon it"):
            action()
    assert "keeps the" in writer.abandon()
    with pytest.raises(StoreError, match="has ended; open another"):
        writer.append(batch_of(10, 20))


def test_the_end_is_told_again(out, batch_of):
    with Writer(out) as writer:
        writer.append(batch_of(3))
        writer.finish()
    assert writer.abandon() == f"{out} is whole"


@pytest.mark.parametrize(
    ("name", "shard_bytes", "left"),
    [
        ("out.acts", 400_000, "nothing is left in {folder}/out.acts: no shard had been sealed"),
        ("out.h5", 100_000, "{folder}/out.h5.partial keeps all 400 rows, as a whole store"),
    ],
)
def test_a_disk_that_refuses_for_real(tmp_path, names_in, name, shard_bytes, left):
    """A limit on the size of files, in a process of its own: here the system says no, and the process ends in order."""
    script = f"""
import resource, numpy as np
from actstore import Captured, RowBatch, StoreError, Writer
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    with Writer({str(tmp_path / name)!r}, shard_bytes={shard_bytes}) as writer:
        for first in range(0, 400, 100):
            rows = {{"a": Captured(np.ones((100, 100)), "float64", ("f",))}}
            writer.append(RowBatch(rows, [str(first + row) for row in range(100)], [""] * 100))
except StoreError as error:
    print(error, error.__notes__[0], sep="; ")
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    staging = tmp_path / (name if name == "out.acts" else "out.h5.partial")
    message = f"{staging} cannot be written: File too large. Raise the limit on the size of files (ulimit -f)"
    assert result.stdout.startswith(message)
    assert result.stdout.endswith(f"; {left.format(folder=tmp_path)}\n")
    assert names_in(tmp_path) == [staging.name] * (name == "out.h5")
