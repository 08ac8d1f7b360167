"""Writers that look whether the ground is still theirs: a process that stood still destroys nothing when it goes on."""

from __future__ import annotations

import errno
import fcntl
import os
import threading

import pytest

import actstore
from actstore import StoreError, Writer
from actstore.store.disk import locks
from actstore.store.disk.held_file import STALE_S, held_path, look
from actstore.store.disk.locks import Lock, is_locked
from actstore.store.documents.journal import Journal
from actstore.store.format import COMPLETE
from actstore.store.verifying.verify import verify
from actstore.store.writing import pack as packing
from actstore.store.writing.claim import holding
from actstore.store.writing.pack import pack_store

SMALL = 1000  # bytes: a handful of rows a shard
RANK = "steps/0/rank-0000"


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that cannot lock (and was warned of)."""

    def flock(fd, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(locks, "warned", True)


def stopped(path):
    """The holder of a stand-in for a lock has stood still for so long that it is taken to be dead."""
    held = held_path(path)
    when = held.stat().st_mtime - 2 * STALE_S
    os.utime(held, (when, when))


def append(writer, batch_of, rows, first=0):
    for start in range(first, first + rows, 10):
        writer.append(batch_of(10, start))


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "lock" not in path.name
    }


# -- a writer that was stopped (SIGSTOP), whose store another one finished


@pytest.mark.parametrize("goes_on", ["append", "finish", "abandon"])
@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_a_writer_that_was_stopped_does_no_harm(tmp_path, batch_of, no_locks, sealed, name, goes_on):
    out = tmp_path / name
    late = Writer(out, shard_bytes=SMALL)
    append(late, batch_of, 20)
    sealed(late)
    staging = out if name == "out.acts" else out.with_name("out.h5.partial")
    stopped(staging / RANK / "lock")
    with Writer(out, resume=True, shard_bytes=SMALL) as other:
        append(other, batch_of, 20, 20)
    whole = actstore.open(out).fingerprint
    before = files(out) if out.is_dir() else out.read_bytes()

    def go_on():
        if goes_on == "append":
            append(late, batch_of, 30, 20)
        if goes_on != "abandon":
            late.finish()

    if goes_on != "abandon":
        with pytest.raises(
            StoreError, match=r"is not this process's any more: it stood still, and another process"
        ):
            go_on()
    assert "another process's now, and was left alone" in late.abandon()
    assert (files(out) if out.is_dir() else out.read_bytes()) == before
    assert (actstore.open(out).fingerprint, actstore.open(out).rows) == (whole, 40)
    assert not verify(out).damages
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_writer_that_was_stopped_while_another_one_is_still_writing(tmp_path, batch_of, no_locks, sealed):
    out = tmp_path / "out.acts"
    late = Writer(out, shard_bytes=SMALL)
    append(late, batch_of, 20)
    sealed(late)
    stopped(out / RANK / "lock")
    other = Writer(out, resume=True, shard_bytes=SMALL)
    append(other, batch_of, 10, 20)
    sealed(other)
    with pytest.raises(StoreError, match="is not this process's any more"):
        append(late, batch_of, 50, 20)
    late.abandon()
    assert is_locked(out / RANK / "lock")  # the other one's stand-in is still there
    append(other, batch_of, 10, 30)
    assert other.finish().rows == 40
    assert not verify(out).damages


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_a_store_that_was_removed_under_a_writer(tmp_path, batch_of, sealed, name):
    """`rm -rf`, and another dump to the same name: locks of the file system see that by the file."""
    out = tmp_path / name
    late = Writer(out, shard_bytes=SMALL)
    append(late, batch_of, 20)
    sealed(late)
    staging = out if name == "out.acts" else out.with_name("out.h5.partial")
    staging.rename(tmp_path / "moved")
    with Writer(out, shard_bytes=SMALL) as other:
        append(other, batch_of, 30)
    with pytest.raises(StoreError, match=r"not this process's any more"):
        append(late, batch_of, 50, 20)
    late.abandon()
    assert actstore.open(out).rows == 30
    assert not verify(out).damages


def test_a_lock_knows_whether_it_is_still_ours(tmp_path):
    lock = Lock(tmp_path / "lock")
    lock.check()
    (tmp_path / "lock").rename(tmp_path / "other")
    assert not lock.is_ours()
    (tmp_path / "lock").touch()
    with pytest.raises(StoreError, match="is not this process's any more"):
        lock.check()
    lock.release()
    assert not lock.is_ours()


def test_a_stand_in_knows_whether_it_is_still_ours(tmp_path, no_locks):
    lock = Lock(tmp_path / "lock")
    lock.check()
    stopped(tmp_path / "lock")
    lock.check()  # nobody took it over
    other = Lock(tmp_path / "lock")
    assert not lock.is_ours()
    lock.release()
    other.check()
    assert look(held_path(tmp_path / "lock")) is not None
    other.release()


def test_a_lock_is_no_link(tmp_path):
    """What the holder notes in it must not get into somebody's file."""
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(OSError, match="symbolic link"):
        Lock(tmp_path / "lock")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


# -- journals


@pytest.mark.parametrize("change", ["longer", "shorter", "replaced", "removed"])
def test_a_journal_that_another_process_changed_is_not_added_to(tmp_path, change):
    path = tmp_path / "journal"
    journal = Journal(path, "start")
    journal.append({"a": 1})
    if change == "longer":
        Journal(path, "start").append({"b": 2})
    elif change == "shorter":
        os.truncate(path, 0)
    elif change == "replaced":
        data = path.read_bytes()
        path.rename(tmp_path / "old")
        path.write_bytes(data)
    else:
        path.unlink()
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(
        StoreError, match=r"journal was written to, replaced or removed by another process since"
    ):
        journal.append({"c": 3})
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_journal_is_neither_a_pipe_nor_a_link(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((OSError, StoreError)):  # at once
        Journal(tmp_path / "pipe", "start")
    (tmp_path / "theirs").touch()
    (tmp_path / "journal").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic link"):
        Journal(tmp_path / "journal", "start")
    assert not (tmp_path / "theirs").read_bytes()


def test_labels_that_come_late_do_not_overwrite_those_of_another_process(write_store, no_locks, monkeypatch):
    """Stopped between the file of its labels and the record, and taken for dead."""
    store = write_store("s.acts")
    from actstore.store.writing import attach as attaching

    real = attaching.write_columns
    turn = []

    def late(*arguments):
        written = real(*arguments)
        if not turn:
            turn.append(1)
            stopped(store.path / "journal.lock")
            actstore.open(store.path).attach("theirs", ["b"] * 40)
        return written

    monkeypatch.setattr(attaching, "write_columns", late)
    with pytest.raises(StoreError, match="is not this process's any more"):
        store.attach("ours", ["a"] * 40)
    assert sorted(actstore.open(store.path).targets) == ["digit", "theirs"]
    assert actstore.open(store.path).targets["theirs"].tolist() == ["b"] * 40
    assert not verify(store.path).damages


# -- two packs at once


def pack_during(monkeypatch, act):
    """Do something once, when a file is packed and about to be named."""
    real = packing.commit_packed
    done = []

    def commit(*arguments):
        if not done:
            done.append(1)
            act()
        return real(*arguments)

    monkeypatch.setattr(packing, "commit_packed", commit)


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_packs_to_one_name_make_one_sound_file(tmp_path, write_store, monkeypatch, overwrite):
    first, second, third = (write_store(f"{rows}.acts", rows) for rows in (20, 30, 40))
    out = tmp_path / "out.h5"
    if overwrite:
        pack_store(third.path, out)
    pack_during(monkeypatch, lambda: pack_store(second.path, out, overwrite=overwrite))
    with pytest.raises(StoreError, match=r"out\.h5 has appeared or changed meanwhile"):
        pack_store(first.path, out, overwrite=overwrite)
    assert actstore.open(out).fingerprint == second.fingerprint
    assert not verify(out).damages
    assert not list(tmp_path.glob("*.tmp"))


def test_many_packs_to_one_name_at_once(tmp_path, write_store):
    stores = [write_store(f"{rows}.acts", rows) for rows in range(20, 28)]
    packed, refused = [], []
    ready = threading.Barrier(len(stores))

    def work(store):
        ready.wait()
        try:
            packed.append((pack_store(store.path, tmp_path / "out.h5").rows, store))
        except StoreError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((rows, store),) = packed
    assert (actstore.open(tmp_path / "out.h5").fingerprint, rows) == (store.fingerprint, store.rows)
    assert all("has appeared or changed meanwhile" in text or "already exists" in text for text in refused)
    assert not verify(tmp_path / "out.h5").damages


def test_a_dump_and_a_pack_to_one_name(tmp_path, write_store, batch_of):
    store = write_store("a.acts", 20)
    writer = Writer(tmp_path / "out.h5")
    append(writer, batch_of, 30)
    pack_store(store.path, tmp_path / "out.h5")
    with pytest.raises(StoreError, match=r"out\.h5 has appeared meanwhile; the dump is in"):
        writer.finish()
    assert actstore.open(tmp_path / "out.h5").fingerprint == store.fingerprint
    assert "keeps all 30 rows, as a whole store" in writer.abandon()


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_a_store_that_changed_since_it_was_to_be_replaced_is_kept(tmp_path, write_store, batch_of, name):
    """The question was whether that one may be replaced; this is another one."""
    write_store(name, 20)
    writer = Writer(tmp_path / name, overwrite=True)
    append(writer, batch_of, 30)
    other = write_store(f"other{(tmp_path / name).suffix}", 40)
    (tmp_path / name).rename(tmp_path / f"old{(tmp_path / name).suffix}")
    other.path.rename(tmp_path / name)
    with pytest.raises(StoreError, match="was not begun to replace it"):
        writer.finish()
    assert actstore.open(tmp_path / name).rows == 40
    writer.abandon()
    with pytest.raises(StoreError, match="was not begun to replace it"):
        Writer(tmp_path / name, resume=True)
    (tmp_path / name).rename(tmp_path / f"kept{(tmp_path / name).suffix}")
    with Writer(tmp_path / name, resume=True) as again:
        again.begin(writer._header.layers)
    assert actstore.open(tmp_path / name).rows == 30


# -- whoever replaces a store holds every lock of it


@pytest.mark.parametrize("lock", ["journal.lock", f"{RANK}/lock", "steps/5/rank-0001/lock"])
def test_a_store_somebody_writes_to_is_not_replaced(tmp_path, write_store, batch_of, lock):
    store = write_store("out.acts", 20)
    writer = Writer(store.path, overwrite=True)
    append(writer, batch_of, 30)
    (store.path / lock).parent.mkdir(parents=True, exist_ok=True)
    held = Lock(store.path / lock)
    with pytest.raises(StoreError, match=r"out\.acts is being written by another process"):
        writer.finish()
    held.release()
    assert actstore.open(store.path).fingerprint == store.fingerprint
    assert "as a whole store" in writer.abandon()


def test_while_a_store_is_replaced_nobody_writes_to_it(write_store):
    store = write_store("out.acts", 20)
    with holding(store.path):
        assert all(is_locked(store.path / name) for name in ("journal.lock", f"{RANK}/lock"))
    assert not is_locked(store.path / "journal.lock")


# -- ranks that never began


@pytest.mark.parametrize("torn", [None, b"", b'0123456789abcdef {"beg'], ids=["no journal", "empty", "torn"])
@pytest.mark.parametrize("begun", [False, True], ids=["no documents", "documents"])
def test_ranks_killed_before_their_first_record_and_fewer_that_dump_again(
    tmp_path, batch_of, write_store, torn, begun
):
    out = tmp_path / "out.acts"
    expected = write_store("expected.acts", provenance={"model": "m"})
    for rank in range(3):
        place = out / f"steps/0/rank-{rank:04d}"
        place.mkdir(parents=True)
        (place / "lock").touch()
        (place / "shard-000000.h5").write_bytes(b"half")
        (place / "shard-000001.h5.0123456789abcdef.tmp").write_bytes(b"half")
        if torn is not None:
            (place / "journal").write_bytes(torn)
    if begun:
        for name in ("store.json", "steps/0/step.json"):
            (out / name).write_bytes((expected.path / name).read_bytes())
    with Writer(out, resume=True, provenance={"model": "m"}) as writer:
        for first in range(0, 40, 10):
            writer.append(batch_of(10, first))
    with actstore.open(out) as store:
        assert (store.complete, store.rows) == (True, 40)
    report = verify(out)
    assert (list(report.damages), list(report.leftovers)) == ([], [])
    assert [path.name for path in (out / "steps/0").glob("rank-*")] == ["rank-0000"]


def test_a_rank_that_is_about_to_begin_is_left_alone(tmp_path, batch_of):
    """It holds its lock; it will be refused, not robbed."""
    place = tmp_path / "out.acts/steps/0/rank-0001"
    place.mkdir(parents=True)
    lock = Lock(place / "lock")
    with pytest.raises(StoreError, match="is being written by another process"):
        Writer(tmp_path / "out.acts")
    lock.release()


def test_leftovers_of_ranks_that_never_began_are_no_damage(write_store):
    store = write_store("s.acts")
    place = store.path / "steps/0/rank-0001"
    place.mkdir()
    (place / "lock").touch()
    assert actstore.open(store.path).complete
    report = verify(store.path)
    assert (list(report.damages), list(report.leftovers)) == ([], [place])


@pytest.mark.parametrize("left", [None, b"", b"0123"], ids=["removed", "empty", "cut off"])
def test_a_rank_without_its_journal_is_damage_where_it_was_proven(write_store, left):
    store = write_store("s.acts")
    journal = store.path / RANK / "journal"
    journal.unlink()
    if left is not None:
        journal.write_bytes(left)
    with pytest.raises(StoreError, match="journal"):
        actstore.open(store.path)
    assert journal in [damage.path for damage in verify(store.path).damages]
    assert (store.path / "steps/0" / COMPLETE).exists()


def test_a_store_of_thousands_of_ranks_is_replaced(write_store, monkeypatch):
    """More locks than a process may open files: those of complete steps are looked at."""
    from actstore.store.writing import claim

    monkeypatch.setattr(claim, "HELD", 2)
    store = write_store("s.acts")
    for step in range(1, 6):
        place = store.path / f"steps/{step}/rank-0000"
        place.mkdir(parents=True)
        (place / "lock").touch()
        if step < 4:
            (place.parent / COMPLETE).touch()
    names = [f"steps/{step}/rank-0000/lock" for step in range(6)]
    with holding(store.path):
        locked = [is_locked(store.path / name) for name in names]
        assert (sum(locked), locked[4:]) == (4, [True, True])
    for name in names:
        lock = Lock(store.path / name)
        with pytest.raises(StoreError, match="is being written by another process"), holding(store.path):
            pass
        lock.release()


def test_labels_for_a_store_that_cannot_be_written_are_told_in_one_line(write_store, monkeypatch):
    store = write_store("s.acts")
    real = os.open

    def read_only(path, flags, *more, **options):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(
        StoreError, match=r"s\.acts cannot be written: Read-only file system\. The store is as it was"
    ):
        store.attach("colour", ["red"] * 40)


def test_too_many_open_files_is_no_damage(write_store, monkeypatch):
    store = write_store("s.acts")

    def no_more(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_more)
        with pytest.raises(
            StoreError,
            match=r"Too many open files\); close files that this process has open, or raise its limit \(ulimit -n\)",
        ):
            store.layers["fc"].raw[:]
