"""How far a dump is, for whoever asked in Python: one line of a terminal, or lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from actstore.wording import size

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from actstore.dumping.loop import Progress

__all__ = ["Shown", "shown"]

LINES_APART_S = 1.0
TERMINAL_APART_S = 0.1


def shown(progress: object) -> Shown:
    """Return what shows progress: nothing for False, stderr for True, or what was given.

    Raises:
        TypeError: it is none of these.
    """
    if not (isinstance(progress, bool) or callable(progress)):
        msg = f"progress is {progress!r}; expected True, False, or a function of an actstore.Progress"
        raise TypeError(msg)
    return Shown(progress)


class Shown:
    """Shows reports while it is entered; on a terminal one line is rewritten in place, and wiped at the end."""

    def __init__(self, progress: Any) -> None:
        self._given = progress
        self._terminal = bool(sys.stderr is not None and sys.stderr.isatty())
        self._last_s = -LINES_APART_S
        self._began_s = time.monotonic()
        self._width = 0

    @property
    def report(self) -> Callable[[Progress], None] | None:
        """Return what a dump calls with its progress; None where nothing is to be shown."""
        if callable(self._given):
            return self._given
        return self._show if self._given and sys.stderr is not None else None

    def _show(self, progress: Progress) -> None:
        now_s = time.monotonic()
        done = progress.rows == progress.total_rows
        if now_s - self._last_s < (TERMINAL_APART_S if self._terminal else LINES_APART_S) and not done:
            return
        self._last_s = now_s
        text = _text(progress, now_s - self._began_s)
        if self._terminal:
            sys.stderr.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()


def _text(progress: Progress, elapsed_s: float) -> str:
    of = f" of {progress.total_rows:,}" if progress.total_rows else ""
    text = f"{progress.rows:,}{of} rows, {size(progress.bytes)}"
    computed = progress.rows - progress.resumed_rows
    if elapsed_s < 1 or computed <= 0:
        return text
    text += f", {computed / elapsed_s:,.0f} rows/s"
    if progress.total_rows and progress.total_rows > progress.rows:
        text += f", {(progress.total_rows - progress.rows) * elapsed_s / computed:,.0f} s left"
    return text
