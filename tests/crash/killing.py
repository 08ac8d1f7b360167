"""Processes that die: at a certain file operation by their own hand, or at any moment by ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.store.writing.sealing import RankWriter
from crash.operations import Operation, intercepted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crash.checks import Promises
    from crash.scenarios import Job, Scenario

HERE = Path(__file__).resolve().parents[1]
WAIT_S = 60.0
ENDED = b"ended\n"

_pwrite = os.pwrite


@dataclass(frozen=True)
class Child:
    """A process that dumps, and the pipe through which it tells what is sealed."""

    pid: int
    pipe: int

    def kill(self) -> None:
        """SIGKILL. A process that has ended stays to be waited for."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[bool, int | None]:
        """Whether it was killed; how many rows it said were sealed, None where it ended. Errors of its own are ours."""
        with os.fdopen(self.pipe, "rb") as pipe:
            said = pipe.read().splitlines(keepends=True)
        _, status = os.waitpid(self.pid, 0)
        killed = os.WIFSIGNALED(status)
        if not killed and status:
            raise RuntimeError("a dump that was to be killed failed by itself; see above")
        said = [line for line in said if line.endswith(b"\n")]
        return killed, None if ENDED in said else max(map(int, said), default=0)


def fork(work: Callable[[], None]) -> Child:
    """Do ``work`` in a forked process, which tells what it seals."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    status = 1
    try:
        os.close(reading)
        with telling(writing):
            work()
        os.write(writing, ENDED)
        status = 0
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent's frames
        traceback.print_exc()
    finally:
        os._exit(status)


@contextmanager
def telling(pipe: int) -> Iterator[None]:
    """Each shard that is sealed is told at once, by the number of rows so far."""
    seal = RankWriter.seal

    def told(rank: RankWriter, shard: Any) -> None:
        seal(rank, shard)
        os.write(pipe, b"%d\n" % (shard.record.first_row + shard.record.rows))

    RankWriter.seal = told
    try:
        yield
    finally:
        RankWriter.seal = seal


def dying_at(folder: Path, work: Callable[[], None], call: int) -> Callable[[], None]:
    """``work`` that kills its own process at this one of its file operations, where a write is half done."""
    left = [call]

    def handler(operation: Operation) -> Any:
        left[0] -= 1
        if left[0] < 0:
            if operation.name == "pwrite":
                fd, whole, offset = operation.arguments
                _pwrite(fd, memoryview(whole)[: len(whole) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return operation.real()

    def dying() -> None:
        with intercepted(str(folder), handler):
            work()

    return dying


def count_operations(folder: Path, work: Callable[[], None]) -> int:
    """How many file operations ``work`` takes."""
    calls = []
    with intercepted(str(folder), lambda operation: (calls.append(operation.name), operation.real())[1]):
        work()
    return len(calls)


def kill_at(scenario: Scenario, folder: Path, calls: list[int]) -> tuple[int, Promises]:
    """Run all jobs at once, each until that call. Returns how many were killed, and what was promised."""
    out = scenario.fresh(folder)
    children = [
        (job, fork(dying_at(folder, lambda job=job: job.run(out), call)))
        for job, call in zip(scenario.jobs, calls, strict=True)
    ]
    return _outcome(children)


def kill_after(scenario: Scenario, folder: Path, seconds: list[float]) -> tuple[int, Promises]:
    """Run all jobs at once, each for so long."""
    out = scenario.fresh(folder)
    begun = time.monotonic()
    children = [(job, fork(lambda job=job: job.run(out))) for job in scenario.jobs]
    for place in np.argsort(seconds).tolist():
        time.sleep(max(0.0, begun + seconds[place] - time.monotonic()))
        children[place][1].kill()
    return _outcome(children)


def kill_program(scenario: Scenario, folder: Path, seconds: list[float]) -> tuple[int, Promises]:
    """As ``kill_after``, in processes of their own interpreter; the time counts once it is ready to dump."""
    scenario.fresh(folder)
    children = []
    for number in range(len(scenario.jobs)):
        command = [sys.executable, "-m", "crash.program", scenario.name, str(number), str(folder)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
        children.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=HERE.parent
            )
        )
    for child in children:
        child.stdout.readline()  # it is ready
    for child in children:
        child.stdin.close()
    begun = time.monotonic()
    for place in np.argsort(seconds).tolist():
        time.sleep(max(0.0, begun + seconds[place] - time.monotonic()))
        children[place].kill()
    killed, promised = 0, {}
    for job, child in zip(scenario.jobs, children, strict=True):
        said = child.stdout.read().splitlines(keepends=True)
        killed += child.wait(WAIT_S) == -signal.SIGKILL
        child.stdout.close()
        said = [line for line in said if line.endswith(b"\n")]
        promised[job] = None if ENDED in said else max(map(int, said), default=0)
    return killed, promised


def _outcome(children: list[tuple[Job, Child]]) -> tuple[int, Promises]:
    ends = {job: child.wait() for job, child in children}
    return sum(killed for killed, _ in ends.values()), {job: rows for job, (_, rows) in ends.items()}
