"""Two writers are kept apart; the dead keep nobody out."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings

import pytest

from actstore.store.disk import held_file, locks
from actstore.store.disk.held_file import BEAT_S, STALE_S, HeldFile, held_path, is_held, look
from actstore.store.disk.locks import Lock, is_locked

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*multi-threaded:DeprecationWarning"
)  # these forks are on purpose

REFUSALS = ["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]


@pytest.fixture(params=["flock", "stand-in"])
def way(request, monkeypatch):
    """Both ways to lock. The second file system cannot; it was warned of already."""
    monkeypatch.setattr(locks, "warned", True)
    if request.param == "stand-in":
        monkeypatch.setattr(fcntl, "flock", refusing("ENOLCK"))
    return request.param


def refusing(name):
    number = getattr(errno, name)

    def flock(fd, operation):
        raise OSError(number, os.strerror(number))

    return flock


def forked(work):
    """Start ``work`` in a child that then sleeps; a byte in the pipe says that it is done. Returns process and pipe."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, work())
            time.sleep(60)
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 100)
    os.close(reading)
    return child, said


def killed(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def other_holder(path, token="abc", host="elsewhere", process=1, age_s=0.0):
    held = held_path(path)
    held.write_text(json.dumps({"host": host, "process": process, "token": token}))
    when = held.stat().st_mtime - age_s
    os.utime(held, (when, when))
    return held


def test_a_lock_excludes_until_it_is_released(tmp_path, way):
    path = tmp_path / "lock"
    assert not is_locked(path)
    lock = Lock(path)
    assert is_locked(path)
    with pytest.raises(BlockingIOError):
        Lock(path)  # in the same process, too
    assert is_locked(path)
    lock.release()
    lock.release()
    assert not is_locked(path)
    Lock(path).release()
    assert [name.name for name in tmp_path.iterdir()] == ["lock"]


def test_another_process_is_kept_out_and_its_death_lets_in(tmp_path, way):
    path = tmp_path / "lock"
    holding = []
    child, _ = forked(lambda: holding.append(Lock(path)) or b"x")
    try:
        assert is_locked(path)
        with pytest.raises(BlockingIOError):
            Lock(path)
    finally:
        killed(child)
    assert not is_locked(path)
    Lock(path).release()
    assert not is_locked(path)


def test_a_forked_child_neither_holds_nor_releases(tmp_path, way):
    """A data loader's worker outlives its parent's lock, and even its parent."""
    path = tmp_path / "lock"
    lock = Lock(path)
    child, _ = forked(lambda: lock.release() or b"x")
    assert is_locked(path)  # the child's release released nothing
    lock.release()
    assert not is_locked(path)
    killed(child)


def test_the_worker_of_a_killed_process_does_not_hold_its_lock(tmp_path, way):
    path = tmp_path / "lock"
    holding = []

    def parent():
        holding.append(Lock(path))
        worker, _ = forked(lambda: b"x")
        return b"%d" % worker

    child, worker = forked(parent)
    killed(child)
    try:
        os.kill(int(worker), 0)  # it lives
        assert not is_locked(path)
        Lock(path).release()
    finally:
        os.kill(int(worker), signal.SIGKILL)


def test_waiting_for_a_lock(tmp_path, way):
    path = tmp_path / "lock"
    lock = Lock(path)
    begun = time.monotonic()
    with pytest.raises(BlockingIOError):
        Lock(path, wait_s=0.05)
    assert time.monotonic() - begun >= 0.05
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom actstore.store.disk import locks\nimport fcntl\n"
        "def flock(fd, how): raise OSError(37, '')\n"
        f"if {way == 'stand-in'}: locks.warned = True; fcntl.flock = flock\n"
        "print('ready', flush=True)\nlocks.Lock(Path(sys.argv[1]), wait_s=30)\nprint('taken', flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    waiting = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert waiting.stdout.readline() == "ready\n"
    lock.release()
    assert waiting.stdout.readline() == "taken\n"
    waiting.stdout.close()
    assert waiting.wait() == 0


@pytest.mark.parametrize("name", REFUSALS)
def test_a_file_system_that_can_not_lock_is_warned_of_once(tmp_path, monkeypatch, name):
    monkeypatch.setattr(locks, "warned", False)
    monkeypatch.setattr(fcntl, "flock", refusing(name))
    with pytest.warns(
        UserWarning, match=r"lock: this file system cannot lock \(.*\); lock\.held beside it keeps"
    ):
        first = Lock(tmp_path / "lock")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = Lock(tmp_path / "other")
    assert (tmp_path / "lock.held").exists()
    for lock in (first, second):
        lock.release()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "other"]


def test_a_process_elsewhere_holds_until_it_is_silent_for_two_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "warned", True)
    path = tmp_path / "lock"
    path.touch()
    other_holder(path, age_s=STALE_S - 30)
    for flock in (fcntl.flock, refusing("ENOLCK")):  # a file system that can lock heeds it, too
        monkeypatch.setattr(fcntl, "flock", flock)
        assert is_locked(path)
        with pytest.raises(BlockingIOError):
            Lock(path)
    other_holder(path, age_s=STALE_S + 30)
    assert not is_locked(path)
    lock = Lock(path)
    assert look(held_path(path)).holder.process == os.getpid()
    lock.release()
    assert [name.name for name in tmp_path.iterdir()] == ["lock"]


def test_a_live_process_of_this_machine_holds_and_a_dead_one_does_not(tmp_path):
    path = tmp_path / "lock"
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    other_holder(path, host=socket.gethostname(), process=child)
    assert not is_held(path)
    other_holder(path, host=socket.gethostname(), process=os.getpid())
    assert is_held(path)
    other_holder(path, host=socket.gethostname(), process=1)
    assert is_held(path)


def test_what_is_no_holder_counts_by_its_age(tmp_path):
    path = tmp_path / "lock"
    held = other_holder(path)
    held.write_text("[]")
    assert is_held(path)
    os.utime(held, (0, 0))
    assert not is_held(path)


def test_of_many_that_take_over_one_wins(tmp_path, monkeypatch):
    """Twenty processes at once, five times."""
    monkeypatch.setattr(fcntl, "flock", refusing("ENOLCK"))
    monkeypatch.setattr(locks, "warned", True)
    path = tmp_path / "lock"
    for turn in range(5):
        other_holder(path, token=f"t{turn}", age_s=STALE_S * 2)
        start, go = os.pipe()
        results, tell = os.pipe()
        children = []
        for _ in range(20):
            child = os.fork()
            if not child:
                os.close(go)
                os.read(start, 1)  # until the parent closes its end
                try:
                    Lock(path)
                    os.write(tell, b"w")
                except BlockingIOError:
                    os.write(tell, b"-")
                time.sleep(0.3)  # the winner lives until all have tried
                os._exit(0)
            children.append(child)
        os.close(start)
        os.close(go)
        said = b"".join(os.read(results, 1) for _ in children)
        for child in children:
            os.waitpid(child, 0)
        os.close(results)
        os.close(tell)
        assert said.count(b"w") == 1
        held_path(path).unlink()
    assert [name.name for name in tmp_path.iterdir()] == ["lock"]


def test_a_process_that_died_while_it_took_over_blocks_for_two_minutes_at_most(tmp_path):
    path = tmp_path / "lock"
    held = other_holder(path, age_s=STALE_S * 2)
    right = tmp_path / "lock.held.abc.stale.tmp"
    right.touch()
    with pytest.raises(BlockingIOError):
        HeldFile(path)
    os.utime(right, (0, 0))
    with pytest.raises(BlockingIOError):  # it is removed; the next one may
        HeldFile(path)
    HeldFile(path).release()
    assert not held.exists()
    assert not right.exists()


def test_a_lock_that_was_taken_over_is_not_removed_by_its_first_holder(tmp_path):
    path = tmp_path / "lock"
    first = HeldFile(path)
    other_holder(path, token="theirs")
    first.release()
    assert look(held_path(path)).holder.token == "theirs"


def test_the_holder_touches_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(held_file, "BEAT_S", 0.01)
    path = tmp_path / "lock"
    held = HeldFile(path)
    os.utime(held_path(path), (0, 0))
    until = time.monotonic() + 10
    while look(held_path(path)).touched_s < 1 and time.monotonic() < until:
        time.sleep(0.01)
    assert look(held_path(path)).touched_s > 1
    held.release()
    assert not held_path(path).exists()
    assert BEAT_S * 3 < STALE_S  # a few beats may be missed
