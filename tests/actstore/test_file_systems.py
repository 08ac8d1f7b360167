"""File systems and limits that are not those of a developer's machine: the honest words, and nothing lost."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import actstore
from actstore import StoreError, Writer, verify
from actstore.activations import Captured, RowBatch
from actstore.store.disk import cures, durable
from actstore.store.disk.output import whole_file, write_new
from actstore.store.documents.journal import Journal
from actstore.store.format import numpy_dtype
from actstore.store.writing.batch_checks import describe_layers
from actstore.store.writing.pending import PendingRows

KILLED = 9


def oserror(number):
    return OSError(number, os.strerror(number))


# -- words


@pytest.mark.parametrize(
    ("number", "write", "read"),
    [
        (errno.ENOSPC, "Make room there", "restore it from a copy"),
        (errno.EDQUOT, "Make room there", "restore it from a copy"),
        (errno.EROFS, "Write elsewhere", "restore it from a copy"),
        (errno.EACCES, "Change the permissions", "change its permissions"),
        (errno.EFBIG, "Raise the limit on the size of files (ulimit -f)", "restore it from a copy"),
        (errno.EMFILE, "Close files that this process has open", "close files that this process has open"),
        (errno.ENFILE, "The machine has too many open files", "the machine has too many open files"),
        (errno.ENOMEM, "There is not enough memory", "there is not enough memory"),
        (errno.EIO, "The disk, or the way to it, fails", "the disk, or the way to it, fails: try again, or restore"),
        (errno.ENAMETOOLONG, "Choose a shorter name", "restore it from a copy"),
    ],
)  # fmt: skip
def test_what_to_do_is_what_helps(number, write, read):
    assert cures.to_write(oserror(number)).startswith(write)
    assert cures.to_read(oserror(number)).startswith(read)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EMFILE, errno.ENOMEM])
def test_nobody_is_told_to_make_room_where_that_does_not_help(tmp_path, batch_of, monkeypatch, number):
    def no(*_, **__):
        raise oserror(number)

    monkeypatch.setattr(durable, "create", no)
    with pytest.raises(StoreError) as caught, Writer(tmp_path / "out.acts") as writer:
        writer.append(batch_of(3))
    assert os.strerror(number) in str(caught.value)
    assert "ake room" not in str(caught.value)


def test_what_was_there_is_not_said_to_be_gone(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    path.write_text("before")
    monkeypatch.setattr(durable, "write_at", lambda *_: (_ for _ in ()).throw(oserror(errno.ENOSPC)))
    message = "Make room there, or write elsewhere; what is there is as it was"
    with pytest.raises(StoreError, match=message), whole_file(path, overwrite=True) as file:
        file.write(b"after")
    assert path.read_text() == "before"


# -- a disk that is full, of a store that is whole


def test_a_whole_store_is_resumed_on_a_full_disk(tmp_path, write_store, batch_of, monkeypatch):
    store = write_store("s.acts", 20)

    def full(*_, **__):
        raise oserror(errno.ENOSPC)

    monkeypatch.setattr(durable, "create", full)  # every new file
    with Writer(tmp_path / "s.acts", resume=True) as writer:
        writer.begin(describe_layers(batch_of(1).activations))
    assert actstore.open(tmp_path / "s.acts").fingerprint == store.fingerprint


def test_a_file_that_is_there_takes_no_room(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_bytes(b"1")
    monkeypatch.setattr(durable, "create", lambda *_: pytest.fail("a file was made"))
    assert write_new(tmp_path / "a.json", b"2") is False


# -- labels whose writer was killed between their file and the record of it


def attach_and_die(path, at):
    """Attach labels in a child that is killed right before (or after) the record is written."""
    child = os.fork()
    if not child:
        real = Journal.append

        def append(self, record):
            if at == "after":
                real(self, record)
            os._exit(KILLED)

        Journal.append = append
        store = actstore.open(path)
        store.attach("late", np.arange(store.rows) % 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


@pytest.mark.parametrize("at", ["before", "after"])
def test_labels_whose_writer_was_killed_are_no_damage(write_store, at):
    path = write_store("s.acts", 20).path
    attach_and_die(path, at)
    report = verify(path)
    assert not report.damages
    left = [path / "targets" / "000000.h5"] if at == "before" else []
    assert list(report.leftovers) == left
    assert ("late" in actstore.open(path).targets) == (at == "after")
    actstore.open(path).attach("late", np.arange(20) % 3, overwrite=True)
    report = verify(path)
    assert not report.damages
    assert not report.leftovers
    np.testing.assert_array_equal(actstore.open(path).targets["late"], np.arange(20) % 3)


def test_a_lost_record_of_labels_is_damage(write_store):
    store = write_store("s.acts", 20)
    store.attach("late", np.arange(20) % 2)
    journal = store.path / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    (damage,) = verify(store.path).damages
    assert "targets/000000.h5" in damage.place
    assert "a record of the journal is lost" in damage.reason


# -- limits of the process are no damage


@pytest.mark.parametrize("name", ["journal", "shard-000000.h5", "COMPLETE"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_what_was_not_read_for_a_limit_is_not_called_damaged(write_store, monkeypatch, name, number):
    path, real = write_store("s.acts", 20).path, os.open

    def failing(place, *more, **options):
        if Path(place).name == name:
            raise oserror(number)
        return real(place, *more, **options)

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(StoreError, match=os.strerror(number)) as caught:
        verify(path)
    assert "damage" not in str(caught.value)
    assert "copy" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_rows_that_cannot_be_mapped_are_copied(write_store, monkeypatch, number):
    """Each array of rows keeps its file open; a process may have a thousand of them."""
    store = write_store("s.h5", 40)
    expected = store.layers["conv1"][:].copy()
    monkeypatch.setattr("actstore.store.reading.open_files.COPIED_BYTES", 0)
    monkeypatch.setattr(mmap, "mmap", lambda *_, **__: (_ for _ in ()).throw(oserror(number)))
    again = actstore.open(store.path)
    found = again.layers["conv1"][5:30]
    np.testing.assert_array_equal(found, expected[5:30])
    found[:] = 0  # the reader's own
    np.testing.assert_array_equal(again.layers["conv1"][5:30], expected[5:30])
    file = again.layers["conv1"]._files.get(again.catalog.base.parts[0])
    view = file.view(again.catalog.base.parts[0].extents["layers/conv1"], 5, 30)
    np.testing.assert_array_equal(view, expected[5:30])
    assert not view.flags.writeable


def test_files_that_nobody_reads_are_closed_for_others(write_store, monkeypatch):
    store = write_store("s.acts", 200, batch_rows=10)
    assert len(store.catalog.base.parts) > 5
    expected = store.layers["norm"][:].copy()
    real, opened = os.open, set()

    def few(path, *more, **options):
        opened.intersection_update(int(name) for name in os.listdir("/proc/self/fd"))
        if str(path).endswith(".h5") and len(opened) >= 3:
            raise oserror(errno.EMFILE)
        fd = real(path, *more, **options)
        if str(path).endswith(".h5"):
            opened.add(fd)
        return fd

    again = actstore.open(store.path)
    monkeypatch.setattr(os, "open", few)
    np.testing.assert_array_equal(again.layers["norm"][:], expected)


# -- memory of rows that wait


def test_small_batches_take_the_memory_that_they_are_counted_as():
    """A thousand arrays of eight bytes took a hundred times what they hold; a slice kept all that it was cut from."""
    layer = describe_layers({"a": Captured(np.zeros(2, "float32"), "float32", ())})
    pending = PendingRows(layer)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1000, 2)).astype("float32")
    for number, rows in enumerate(values):
        whole = np.repeat(rows[:, None], 5000, axis=1)
        known = table_rows(number)
        pending.add({"a": Captured(whole[:, 0], "float32", ())}, known, pending.seen)
    pieces = pending._pieces["a"]
    assert len(pieces) < 100
    assert all(piece.base is None for piece in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces), values.reshape(-1))


def table_rows(number):
    from actstore.store.writing.batch_checks import check_rows

    activations = {"a": Captured(np.zeros(2, "float32"), "float32", ())}
    return check_rows(RowBatch(activations, [f"{number}a", f"{number}b"], ["", ""]))


def test_pieces_of_any_size_are_stored_in_order(tmp_path):
    rng = np.random.default_rng(1)
    sizes = [1, 1, 700, 1, *[2] * 70, 300, *[1] * 33]
    values = rng.normal(size=(sum(sizes), 4)).astype(numpy_dtype("float32"))
    with Writer(tmp_path / "s.acts") as writer:
        first = 0
        for size in sizes:
            ids = [str(first + row) for row in range(size)]
            rows = {"a": Captured(values[first : first + size], "float32", ("feature",))}
            writer.append(RowBatch(rows, ids, [""] * size))
            first += size
    store = actstore.open(tmp_path / "s.acts")
    np.testing.assert_array_equal(store.layers["a"][:], values)
    assert store.ids.tolist() == [str(row) for row in range(sum(sizes))]


# -- for real, where this machine can mount them


@pytest.fixture(params=["bindfs", "exfat"])
def mounted(request, tmp_path):
    """A file system through FUSE: bindfs keeps removed files that are open, exFAT has no hard links."""
    place = tmp_path / "mounted"
    place.mkdir()
    undo = _mount(request.param, tmp_path, place)
    yield place
    subprocess.run(["umount", place], check=False, capture_output=True)
    undo()


def _mount(kind, folder, place):
    program = {"bindfs": "bindfs", "exfat": "mount.exfat-fuse"}[kind]
    if shutil.which(program) is None or not os.access("/dev/fuse", os.W_OK):
        pytest.skip(f"{kind} cannot be mounted here: it needs {program}, and /dev/fuse that may be written to")
    if kind == "bindfs":
        (folder / "real").mkdir()
        return _mounted(["bindfs", folder / "real", place])
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    if shutil.which("mkfs.exfat") is None:
        pytest.skip("exFAT cannot be made here: it needs mkfs.exfat (exfatprogs)")
    subprocess.run(["mkfs.exfat", image], check=True, capture_output=True)
    loop = subprocess.run(["losetup", "-f", "--show", image], check=False, capture_output=True, text=True)
    if loop.returncode:
        pytest.skip(f"exFAT cannot be mounted here: {loop.stderr.strip()}")
    device = loop.stdout.strip()
    return _mounted([program, device, place], lambda: subprocess.run(["losetup", "-d", device], check=False))


def _mounted(command, undo=lambda: None):
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        undo()
        pytest.skip(f"{command[0]} cannot mount here: {done.stderr.strip()}")
    return undo


def test_a_store_on_another_file_system(mounted, batch_of):
    for name in ("out.acts", "out.h5"):
        for rows in (20, 30):
            with Writer(mounted / name, shard_bytes=2000, overwrite=rows == 30) as writer:
                for first in range(0, rows, 10):
                    writer.append(batch_of(10, first))
                if rows == 30 and name == "out.acts":
                    before = actstore.open(mounted / name)
                    held = before.layers["conv1"][:]  # files that are open while they are replaced
        assert not verify(mounted / name).damages
        assert actstore.open(mounted / name).rows == 30
    assert len(held) == 20
    store = actstore.open(mounted / "out.acts")
    store.attach("late", np.arange(30) % 2)
    actstore.pack(mounted / "out.acts", mounted / "packed.h5")
    actstore.unpack(mounted / "packed.h5", mounted / "unpacked.acts")
    unpacked = actstore.open(mounted / "unpacked.acts")
    np.testing.assert_array_equal(unpacked.targets["late"], np.arange(30) % 2)
    del before, held, store, unpacked
    with Writer(mounted / "out.acts", overwrite=True) as writer:  # and sweeps what was left
        writer.append(batch_of(5))
    names = {path.name for path in mounted.iterdir()}
    assert names == {"out.acts", "out.h5", "packed.h5", "unpacked.acts"}
    assert not list(mounted.rglob("*.tmp"))
