"""How far a fit is, for whoever asked in Python: one line of a terminal, or lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from solvers.errors import ProblemError
from solvers.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Shown", "shown"]

LINES_APART_S = 1.0
TERMINAL_APART_S = 0.1


def shown(progress: object) -> Shown:
    """Return what shows progress: nothing for None or False, stderr for True, or what was given.

    Raises:
        ProblemError: it is none of these.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        msg = f"progress is {progress!r}; expected True, False, or a function of how far the fit is"
        raise ProblemError(msg)
    return Shown(progress)


class Shown:
    """Shows reports while it is entered; on a terminal one line is rewritten in place, and wiped at the end."""

    def __init__(self, progress: Any) -> None:
        self._given = progress
        self._terminal = bool(sys.stderr is not None and sys.stderr.isatty())
        self._last_s = -LINES_APART_S
        self._width = 0

    @property
    def report(self) -> Callable[[Any], None] | None:
        """Return what a fit calls with its progress; None where nothing is to be shown."""
        if callable(self._given):
            return self._given
        return self._show if self._given and sys.stderr is not None else None

    def _show(self, progress: Any) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s < (TERMINAL_APART_S if self._terminal else LINES_APART_S):
            return
        self._last_s = now_s
        text = printable(_text(progress))
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


def _text(progress: Any) -> str:
    """A ``FitProgress``, or a ``LayerProgress`` that may hold one, in words."""
    fit = getattr(progress, "fit", progress)
    parts = [f"layer {progress.done + 1} of {progress.total}: {progress.layer}"] if fit is not progress else []
    if fit is not None:
        parts.append(f"{fit.done} of {fit.total} fits")
        parts += [f"worst gap {fit.worst_gap_nats:.0e} nats"] if 0 <= fit.worst_gap_nats < float("inf") else []
    return ", ".join(parts)
