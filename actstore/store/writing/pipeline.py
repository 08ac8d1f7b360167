"""A rank that is being written: rows gather while the shards before them go to the disk in the background."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.store.writing.pending import PendingRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from actstore.store.writing.id_check import IdCheck
    from actstore.store.writing.sealing import RankWriter


class Background:
    """Runs jobs one after another in a thread of its own. At most one is under way: ``submit`` waits for it."""

    def __init__(self, name: str) -> None:
        """A thread called ``name``, once there is a job for it."""
        self._name = f"actstore-{name}"
        self._thread: ThreadPoolExecutor | None = None
        self._job: Future[None] | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Begin a job once the one before is done; raises what that one raised."""
        self.wait()
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix=self._name)
        self._job = self._thread.submit(job)

    def wait(self) -> None:
        """Wait until the job under way is done. Raises what it raised, once."""
        if self._job is not None:
            self._job.exception()  # waits; where Ctrl-C interrupts that, the job is still known
            job, self._job = self._job, None
            job.result()

    def close(self) -> None:
        """Wait, and end the thread, whatever the last job raised."""
        self._job = None
        if self._thread is not None:
            self._thread.shutdown()


class Pipeline:
    """Writes the shards of a rank in the background: one is written while the one before it goes to the disk."""

    def __init__(self, rank: RankWriter) -> None:
        self._rank = rank
        self._written, self._sealed = Background("write"), Background("seal")

    def begin(self, pending: PendingRows) -> None:
        """Begin to write a shard, once the one before is written. Raises what went wrong with those before."""
        self._written.submit(lambda: self._write(pending))

    def _write(self, pending: PendingRows) -> None:
        shard = self._rank.write(pending)
        try:
            self._sealed.submit(lambda: self._rank.seal(shard))
        except BaseException:
            shard.discard()
            raise

    def wait(self) -> None:
        """Until every shard is sealed that was begun. Raises what went wrong."""
        self._written.wait()
        self._sealed.wait()

    def close(self) -> None:
        """Wait, and end the threads, whatever went wrong."""
        self._written.close()
        self._sealed.close()


@dataclass
class Begun:
    """A rank that is being written."""

    rank: RankWriter
    ids: IdCheck
    pipeline: Pipeline
    pending: PendingRows
    all_pending: bool = True
    """Whether no row has left ``pending`` yet."""

    def seal(self) -> None:
        """Begin to write what is pending, if anything is."""
        if self.pending.rows:
            pending, self.pending, self.all_pending = self.pending, PendingRows(self.rank.header.layers), False
            self.pipeline.begin(pending)

    def stored_ids(self) -> set[bytes]:
        """The ids of all rows of the rank so far."""
        self.pipeline.wait()
        return {row_id for rows in self.pending.tables for row_id in rows.ids} | self.rank.ids()
