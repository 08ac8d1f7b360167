"""What looks like a mark for "no label" among the classes of a target: -100, -1 beside 0 to K-1, "nan", "NA"."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


class SentinelWarning(UserWarning):
    """A class of a target looks like a mark for "no label"."""


_MARKS = {
    "nan",
    "na",
    "n/a",
    "#n/a",
    "<na>",
    "nat",
    "none",
    "null",
    "nil",
    "missing",
    "unlabeled",
    "unlabelled",
}
_MARKS |= {"", "?", "-", "-1", "-9", "-99", "-100", "-999", "-9999"}
_NEGATIVE = {-1, -9, -99, -100, -999, -9999, *(-(2**bits) for bits in (7, 15, 31, 63))}
_POSITIVE = {255, 999, 9999, 65535, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1}
_TRACKED = 10_000
"""Past so many different labels, only those that look like marks are counted: nothing with more is a class target."""


class LabelCount:
    """Counts the labels of targets as they come, to say at the end what looks like a mark for "no label"."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[Any]] = {}

    def add(self, targets: Mapping[str, np.ndarray]) -> None:
        """Count the labels of some rows."""
        for name, labels in targets.items():
            counts = self._counts.setdefault(name, Counter())
            if getattr(labels, "ndim", 0) != 1 or np.ma.getdata(labels).dtype.kind not in "iuU":
                continue
            values, numbers = np.unique(np.ma.compressed(labels), return_counts=True)
            for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
                if value in counts or len(counts) < _TRACKED or _is_mark(value):
                    counts[value] += number

    def warn(self, stacklevel: int = 2) -> None:
        """Warn of each target that has such marks among its classes, and start anew."""
        counts, self._counts = self._counts, {}
        for name, of_target in counts.items():
            marks = marks_among(of_target)
            if marks:
                named = " and ".join(f"{value!r} ({of_target[value]:,} rows)" for value in marks)
                value = marks[0]
                warnings.warn(
                    f"target {name!r} has the class {named}, which looks like a mark for 'no label'; if it is one, say "
                    f"so: --ignore-label {value!r} (ignore_label={value!r} in Python)",
                    SentinelWarning,
                    stacklevel=stacklevel + 1,
                )


def marks_among(counts: Mapping[Any, int]) -> list[Any]:
    """The labels that look like marks for "no label" beside the others."""
    if any(isinstance(value, str) for value in counts):
        return [value for value in counts if isinstance(value, str) and _is_mark(value)]
    negative = sorted(value for value in counts if value < 0)
    others = sorted(value for value in counts if value >= 0)
    return _negative_marks(negative, others) + _positive_marks(others)


def _negative_marks(negative: list[int], others: list[int]) -> list[int]:
    signs = others == [1] and negative == [-1]  # two classes that many people write so
    return negative if others and set(negative) <= _NEGATIVE and not signs else []


def _positive_marks(others: list[int]) -> list[int]:
    """Those that lie far beyond classes which count from 0 or 1."""
    usual = [value for value in others if value not in _POSITIVE]
    if not usual or usual[0] not in (0, 1) or usual[-1] - usual[0] >= 2 * len(usual):
        return []
    near = usual[-1] + max(1, len(usual))
    return [value for value in others if value in _POSITIVE and value > near]


def _is_mark(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _MARKS
    return value in _NEGATIVE or value in _POSITIVE


def warn_of_marks(targets: Mapping[str, np.ndarray], stacklevel: int = 2) -> None:
    """Warn of the marks for "no label" among labels that are all there."""
    count = LabelCount()
    count.add(targets)
    count.warn(stacklevel + 1)
