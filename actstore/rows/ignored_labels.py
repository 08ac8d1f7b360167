"""Labels to ignore that no row has: a typo would leave the label itself among the classes, in silence."""

from __future__ import annotations

import difflib
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np


class IgnoredLabelWarning(UserWarning):
    """A label to ignore is that of no row."""


_KNOWN = 10_000
"""So many labels at most are kept to find the nearest among."""


class IgnoredLabels:
    """Which labels to ignore were found in what was read so far, and the other labels there."""

    def __init__(self, ignore: Sequence[object]) -> None:
        self._missing = dict.fromkeys(map(str, ignore))
        self._known: dict[str, None] = {}
        self._read = False

    def saw(self, ignore: Iterable[object], labels: np.ndarray | Iterable[object]) -> None:
        """Note which labels of ``ignore`` were found among others, the distinct ones of some rows."""
        self._read = True
        for value in ignore:
            self._missing.pop(str(value), None)
        for label in labels:
            if len(self._known) >= _KNOWN:
                break
            self._known[str(label)] = None

    @property
    def lines(self) -> list[str]:
        """A line for each label to ignore that none of the labels read is; none where no labels were read."""
        return [unfound(value, list(self._known)) for value in self._missing] if self._read else []


def unfound(value: str, known: Sequence[str]) -> str:
    """Return the line that says that no row has a label, and which is the nearest."""
    lower = {name.strip().lower(): name for name in reversed(known)}
    near = [lower.get(value.strip().lower(), ""), *difflib.get_close_matches(value, known, n=1, cutoff=0.5)]
    nearest = next((name for name in near if name), None)
    if nearest is None:
        return f"no row has the label {value!r}, which was to be ignored"
    return f"no row has the label {value!r}, which was to be ignored; the nearest is {nearest!r}"


_WATCH: ContextVar[IgnoredLabels | None] = ContextVar("ignored labels", default=None)


def saw(ignore: Iterable[object], labels: np.ndarray | Iterable[object]) -> None:
    """Tell whoever watches, if anybody does, what was found to ignore among which labels."""
    watch = _WATCH.get()
    if watch is not None:
        watch.saw(ignore, labels)


@contextmanager
def warned_of_unfound(ignore: Sequence[object]) -> Iterator[IgnoredLabels]:
    """Warn, at the end of what reads labels, of each label to ignore that none of them is.

    What is read batch by batch, as a model runs, is outside: a part of the rows cannot tell.
    """
    watch = IgnoredLabels(ignore)
    token = _WATCH.set(watch if ignore else None)
    try:
        yield watch
    finally:
        _WATCH.reset(token)
    for line in watch.lines:
        warnings.warn(line, IgnoredLabelWarning, stacklevel=4)
