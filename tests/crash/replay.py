"""A dump is recorded once; then every beginning of what it did to the disk is made, and looked at."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.store.writing.sealing import RankWriter
from crash.checks import LostError, check_crashed, check_refused, check_resumed
from crash.disk import Disk, points, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crash.disk import Event
    from crash.scenarios import Job, Scenario


class Recorded:
    """The file operations of one scenario, and what was promised in between."""

    def __init__(self, scenario: Scenario, base: Path) -> None:
        """Dump below ``base``, in a folder of its own."""
        self.scenario, self._base = scenario, base
        root = base / f"recorded {scenario.name}"
        out = scenario.fresh(root)
        self._start = Disk(root)
        self.events: list[Event] = []
        for job in scenario.jobs:
            with promising(job, self.events):
                record(root, lambda job=job: job.run(out), self.events)
            self.events.append(("promise", job, None))

    @property
    def points(self) -> list[int]:
        """Where a crash can come: after so many events."""
        return points(self.events)

    def crash(self, point: int, seed: int | None) -> None:
        """Crash after so many events; with a ``seed``, the power fails. LostError where that costs anything."""
        with tempfile.TemporaryDirectory(dir=self._base) as name, unsynced():
            folder = Path(name) / "crashed"
            promised = self._build(folder, point, seed)
            try:
                check_crashed(self.scenario, folder, promised)
                check_refused(self.scenario, folder)
                check_resumed(self.scenario, folder)
            except LostError as error:
                how = "" if seed is None else f", power loss {seed}"
                raise LostError(f"{self.scenario.name}, after event {point}{how}: {error}") from error

    def _build(self, folder: Path, point: int, seed: int | None) -> dict[Job, int | None]:
        disk = self._start.copy()
        promised: dict[Job, int | None] = {}
        for event in self.events[:point]:
            if event[0] == "promise":
                promised[event[1]] = event[2]
            else:
                disk.apply(event)
        disk.build(folder, None if seed is None else np.random.default_rng([seed, point]))
        return promised


@contextmanager
def promising(job: Job, events: list[Event]) -> Iterator[None]:
    """Add to ``events`` how many rows each sealed shard brings."""
    seal = RankWriter.seal

    def sealed(rank: RankWriter, shard: Any) -> None:
        seal(rank, shard)
        events.append(("promise", job, shard.record.first_row + shard.record.rows))

    RankWriter.seal = sealed
    try:
        yield
    finally:
        RankWriter.seal = seal


@contextmanager
def unsynced() -> Iterator[None]:
    """Nothing waits for the real disk: these folders are thrown away."""
    real = os.fsync, os.fdatasync
    os.fsync = os.fdatasync = lambda fd: None
    try:
        yield
    finally:
        os.fsync, os.fdatasync = real
