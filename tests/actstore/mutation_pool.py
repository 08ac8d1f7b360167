"""Run cases of damage in processes that may crash or hang, and count what came of them."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.actstore.mutation_stores import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tests.actstore.mutation_worker"]
HUNG_S = 20.0  # a case takes milliseconds
START_S = 60.0


@dataclass(frozen=True)
class Case:
    """One mutation and what came of it: found, missed, raised, strayed, crashed or hung."""

    number: int
    kind: str
    what: str
    outcome: str
    detail: str


def run(count: int, seed: int, workers: int = 2, module: str = "") -> list[Case]:
    """Cases 0 to ``count`` of a seed, in order: of stores, or of what another worker module damages."""
    command = [sys.executable, "-m", module] if module else COMMAND
    with TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        master = Path(folder) / "master"
        master.mkdir()
        if not module:
            build(master)
        shares = [range(first, count, workers) for first in range(workers)]
        homes = [Path(folder) / f"worker-{number}" for number in range(workers)]
        begin = [partial(_Worker, master, home, seed, command) for home in homes]
        done = pool.map(lambda worker, share: list(_run_share(worker, share)), begin, shares)
        return sorted((case for share in done for case in share), key=lambda case: case.number)


def _run_share(begin: Callable[[], _Worker], share: range) -> Iterator[Case]:
    worker: _Worker | None = None
    for number in share:
        worker = worker or begin()
        case = worker.run(number)
        yield case
        if case.outcome in ("crashed", "hung"):
            worker.stop()
            worker = None
    if worker:
        worker.stop()


class _Worker:
    """A process with a fresh copy of what is to be damaged."""

    def __init__(self, master: Path, home: Path, seed: int, command: Sequence[str]) -> None:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(master, home)
        self._process = subprocess.Popen(
            [*command, str(home), str(seed)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # a line waits in the pipe, where select sees it, and in no buffer of ours
        )
        if self._process.stdin is None or self._process.stdout is None:
            msg = "the worker has no pipes"
            raise RuntimeError(msg)
        self._input, self._output = self._process.stdin, self._process.stdout
        self._fresh = True

    def run(self, number: int) -> Case:
        kind, what = "?", ""
        try:
            self._input.write(b"%d\n" % number)
            begun = json.loads(self._line(START_S if self._fresh else HUNG_S))
            kind, what = begun["kind"], begun["what"]
            self._fresh = False
            ended = json.loads(self._line(HUNG_S))
        except TimeoutError:
            return Case(number, kind, what, "hung", f"no answer in {HUNG_S:.0f} s")
        except (EOFError, BrokenPipeError):
            return Case(number, kind, what, "crashed", f"exit code {self._process.wait()}")
        return Case(number, kind, what, ended["outcome"], ended["detail"])

    def _line(self, seconds: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise TimeoutError
        line = self._output.readline()
        if not line:
            raise EOFError
        return line

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def table(cases: list[Case]) -> str:
    """Mutations by kind, and what came of them."""
    outcomes = ("found", "missed", "raised", "strayed", "crashed", "hung")
    kinds = sorted({case.kind for case in cases})
    lines = [("mutation", "places", *outcomes)]
    for kind in [*kinds, "all"]:
        chosen = [case.outcome for case in cases if kind in (case.kind, "all")]
        lines.append((kind, str(len(chosen)), *(str(chosen.count(outcome)) for outcome in outcomes)))
    return "\n".join(f"{line[0]:<22}" + "".join(f"{cell:>9}" for cell in line[1:]) for line in lines)
