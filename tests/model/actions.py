"""Everything that is done to a store, in this process, or in a forked one that dies at one of its file operations."""

from __future__ import annotations

import os
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from crash.killing import dying_at, telling
from crash.replay import unsynced
from crash.scenarios import small_shards

import actstore
from actstore import UnlabelledRowsWarning
from actstore.dumping.dump import DumpSettings
from actstore.dumping.dump import dump as dump_activations
from actstore.dumping.loop import SameWeightsWarning
from actstore.errors import ActstoreError
from actstore.sources import SplitData
from actstore.sources.arrays import ArraySource
from model.plain import LATER, Dump, computed, digits, inputs, labels_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHARD_BYTES = 150  # two batches or so
BATCH_ROWS = 2
DONE, REFUSED, KILLED = "done", "refused", "killed"


@dataclass(frozen=True)
class Outcome:
    """How something ended; ``said`` is the refusal, ``sealed`` how many rows a dump told were sealed."""

    how: str
    said: str = ""
    sealed: int = 0


def act(folder: Path, work: Callable[[], Any], kill: int | None) -> Outcome:
    """Do ``work`` on the stores in ``folder``. With ``kill``, in a process that dies at that one of its operations."""
    with small_shards(SHARD_BYTES), unsynced(), quiet():
        if kill is not None:
            return _forked(dying_at(str(folder), work, kill))
        try:
            work()
        except ActstoreError as error:
            return Outcome(REFUSED, str(error))
        return Outcome(DONE)


def _forked(work: Callable[[], None]) -> Outcome:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(reading)
            with telling(writing):
                work()
            status = 0
        except ActstoreError as error:
            os.write(writing, b"!" + str(error).encode())
            status = 2
        except BaseException:  # noqa: BLE001 - a forked child must not return into its parent's frames
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told, _, said = pipe.read().partition(b"!")
    _, status = os.waitpid(pid, 0)
    sealed = max(map(int, told.split(b"\n")[:-1]), default=0)
    if os.WIFSIGNALED(status):
        return Outcome(KILLED, sealed=sealed)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 2), "a process that was to be killed failed by itself; see above"
    return Outcome(REFUSED if code else DONE, said.decode(), sealed)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of what is done here on purpose."""
    with warnings.catch_warnings():
        for kind in (SameWeightsWarning, UnlabelledRowsWarning, actstore.SentinelWarning):
            warnings.simplefilter("ignore", kind)
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        yield


class Model:
    """What is dumped: all that it has learned is its scale."""

    def __init__(self, scale: int) -> None:
        self.fingerprint = f"scale {scale}"
        self._scale = scale

    def __call__(self, array: np.ndarray) -> dict[str, np.ndarray]:
        return computed(array, self._scale)


def dump(path: Path, what: Dump, rank: int = 0, *, overwrite: bool = False, resume: bool = False) -> None:
    settings = DumpSettings(
        ("**",),
        BATCH_ROWS,
        step=what.step,
        rank=rank,
        world_size=what.world_size,
        overwrite=overwrite,
        resume=resume,
        selfcheck=False,
    )
    data = [
        SplitData(split, ArraySource(array, f"array {split}", {"digit": digits(what.rows, len(array))}))
        for split, array in inputs(what.rows).items()
    ]
    dump_activations(Model(what.scale), data, path, settings).close()


def label(path: Path, target: str, shift: int, *, overwrite: bool) -> None:
    with actstore.open(path) as store:
        given = labels_of(target, shift, store.rows)
        kind = type(LATER[target][0])
        values = np.ma.MaskedArray(
            [kind() if value is None else value for value in given], mask=[value is None for value in given]
        )
        store.attach(target, values, overwrite=overwrite)


def merge(paths: list[Path], out: Path, *, copy: bool) -> None:
    actstore.merge(paths, out, copy=copy).close()


def pack(path: Path, out: Path, step: int, *, overwrite: bool) -> None:
    actstore.pack(path, out, step=step, overwrite=overwrite)


def unpack(path: Path, out: Path) -> None:
    actstore.unpack(path, out).close()


def export(path: Path, step: int, layer: str, out: Path) -> None:
    with actstore.open(path) as store:
        actstore.export(store.one(step), [layer], out, overwrite=True)
