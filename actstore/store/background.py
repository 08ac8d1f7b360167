"""Work that goes on while the next batches are computed: one job at a time, none of them lost."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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

    def close(self) -> BaseException | None:
        """Wait, and end the thread. Returns what the last job raised."""
        error = None if self._job is None else self._job.exception()
        self._job = None
        if self._thread is not None:
            self._thread.shutdown()
        return error
