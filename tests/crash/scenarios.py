"""The dumps that are made to crash: a folder, a file, a second step, two ranks, over another store, resumed before."""

from __future__ import annotations

import shutil
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.dumping.loop import SameWeightsWarning
from actstore.sources import SplitData
from actstore.sources.arrays import ArraySource
from actstore.store.writing import pending
from crash.killing import dying_at, fork

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SHARD_BYTES = 400  # two or three batches
BATCH_ROWS = 3


class Model:
    """Layers of three dtypes; ``scale`` is all that it has learned."""

    def __init__(self, scale: int) -> None:
        self.fingerprint = f"scale {scale}"
        self._scale = scale

    def __call__(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        scaled = inputs * np.float32(self._scale)
        return {
            "scaled": scaled,
            "act/1": scaled[:, ::2].astype(np.float16),
            "norm": scaled.sum(1).astype(np.float64),
        }


def data() -> list[SplitData]:
    """Two splits, with labels."""
    rng = np.random.default_rng(0)
    return [
        SplitData(
            split,
            ArraySource(
                rng.normal(size=(rows, 6)).astype(np.float32), f"array {split}", {"digit": np.arange(rows) % 4}
            ),
        )
        for split, rows in (("train", 22), ("test", 8))
    ]


@dataclass(frozen=True)
class Job:
    """One process of a dump."""

    scale: int = 3
    step: int | None = None
    rank: int = 0
    world_size: int = 1
    overwrite: bool = False
    resume: bool = False

    @property
    def number(self) -> int:
        """The step as it is stored."""
        return self.step or 0

    def run(self, out: Path, **changes: bool) -> None:
        """Dump."""
        options = {"overwrite": self.overwrite, "resume": self.resume, **changes}
        settings = DumpSettings(
            ("**",), BATCH_ROWS, step=self.step, rank=self.rank, world_size=self.world_size, **options
        )
        with small_shards(), warnings.catch_warnings():
            warnings.simplefilter("ignore", SameWeightsWarning)
            dump(Model(self.scale), data(), out, settings).close()


@contextmanager
def small_shards(nbytes: int = SHARD_BYTES) -> Iterator[None]:
    """A dump of these few rows has several shards."""
    before, pending.SHARD_BYTES = pending.SHARD_BYTES, (nbytes, nbytes)
    try:
        yield
    finally:
        pending.SHARD_BYTES = before


Rows = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """What a store shows: by step its layers, ids, splits and targets, as arrays."""

    steps: Mapping[int, Rows]
    complete: bool
    fingerprint: str

    @classmethod
    def of(cls, path: Path) -> Shown:
        """All of it, read."""
        with actstore.open(path) as store:
            steps = {}
            for step in store.steps:
                one = store.at(step)
                steps[step] = {name: layer[:] for name, layer in one.layers.items()}
                steps[step] |= {"ids": one.ids, "splits": one.splits, **dict(one.targets)}
                one.close()
            return cls(steps, store.complete, store.fingerprint)

    @property
    def rows(self) -> int:
        """At the last of the steps."""
        return len(self.steps[max(self.steps)]["ids"])

    def begins(self, whole: Shown) -> bool:
        """Whether every row is ``whole``'s, in its place."""
        return all(
            len(rows) <= len(whole.steps[step][name])
            and np.array_equal(rows, whole.steps[step][name][: len(rows)])
            for step, columns in self.steps.items()
            for name, rows in columns.items()
        )

    def equals(self, whole: Shown) -> bool:
        """Whether nothing differs."""
        same = self.steps.keys() == whole.steps.keys() and self.begins(whole) and self.complete
        return same and self.fingerprint == whole.fingerprint and whole.begins(self)


@dataclass(frozen=True)
class Scenario:
    """Dumps to crash.

    Args:
        name: for the table.
        out: the output's name.
        jobs: the dumps, one process each.
        before: dumps that are there already, whole.
        cut: of the last of ``before``, after how many file operations its process dies; None where it does not.
    """

    name: str
    out: str
    jobs: tuple[Job, ...] = (Job(),)
    before: tuple[Job, ...] = ()
    cut: int | None = None
    _known: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def replaces(self) -> bool:
        """Whether a whole store is to be replaced."""
        return any(job.overwrite for job in self.jobs)

    def prepare(self, folder: Path) -> None:
        """Make what is there before the dump that crashes."""
        for number, job in enumerate(self.before, start=1):
            if self.cut is not None and number == len(self.before):
                fork(dying_at(folder, lambda job=job: job.run(folder / self.out), self.cut)).wait()
            else:
                job.run(folder / self.out)

    def learn(self, folder: Path) -> None:
        """Do it all undisturbed in ``folder``, and remember what comes of it."""
        folder.mkdir()
        self.prepare(folder)
        shutil.copytree(folder, folder.with_name(folder.name + ".before"))
        if self.replaces:
            self._known["old"] = Shown.of(folder / self.out)
        for job in self.jobs:
            job.run(folder / self.out)
        self._known["whole"] = Shown.of(folder / self.out)
        if not self._known["whole"].complete:
            raise AssertionError(self.name)
        self._known["before"] = folder.with_name(folder.name + ".before")

    def fresh(self, folder: Path) -> Path:
        """What was there before, once more, in ``folder``. Returns the output's path."""
        shutil.copytree(self._known["before"], folder, dirs_exist_ok=True)
        return folder / self.out

    @property
    def whole(self) -> Shown:
        """What the undisturbed dump shows."""
        return self._known["whole"]

    @property
    def old(self) -> Shown | None:
        """What is to be replaced."""
        return self._known.get("old")


def scenarios() -> list[Scenario]:
    """All configurations."""
    ranks = tuple(Job(rank=rank, world_size=2) for rank in range(2))
    return [
        Scenario("folder", "out.acts"),
        Scenario("single file", "out.h5"),
        Scenario("second step", "out.acts", (Job(5, step=7),), (Job(step=5),)),
        Scenario("two ranks", "out.acts", ranks),
        Scenario("overwrite folder", "out.acts", (Job(5, overwrite=True),), (Job(),)),
        Scenario("overwrite file", "out.h5", (Job(5, overwrite=True),), (Job(),)),
        Scenario("resumed folder", "out.acts", (Job(resume=True),), (Job(),), cut=90),
        Scenario("resumed file", "out.h5", (Job(resume=True),), (Job(),), cut=90),
    ]
