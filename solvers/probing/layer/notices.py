"""What is to be said of targets before they are fitted: classes that look like a fault of the data, divided groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.probing.holdout import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from solvers.probing.task import Task

__all__ = ["task_notices"]

_SHOWN = 4
"""Pairs of classes, or classes of one row, that are named."""


def task_notices(tasks: Mapping[str, Task]) -> list[str]:
    """Return the lines to say of tasks by target, each once."""
    return list(dict.fromkeys(line for name, task in tasks.items() for line in _noticed(name, task)))


def _noticed(target: str, task: Task) -> Iterator[str]:
    """Yield notices on a task."""
    yield from _twins(target, task)
    yield from _in_no_fold(target, task)
    marks = task.marks()
    if marks:
        named = " and ".join(f"{value!r} ({count:,} rows)" for value, count in marks.items())
        first = repr(next(iter(marks)))
        yield (
            f"target {target!r} has the class {named}, which looks like a mark for 'no label'; if it is one, say so: "
            f"--ignore-label {first} (ignore_label={first} in Python)"
        )
    divided: Mapping[str, int] = task.chosen.get("divided_groups", {})
    if divided:
        where = ", ".join(f"{count:,} in `{split}`" for split, count in divided.items())
        yield (
            f"groups of training rows have rows in other splits, too ({where}), so what is scored there is not new to "
            "the probe; divide the rows by whole groups"
        )


def _twins(target: str, task: Task) -> Iterator[str]:
    """Yield a line on classes of text, of all splits, that differ in case or blanks alone."""
    numbers = np.concatenate([np.zeros(0, np.int64), *task.rows.values()])
    if task.labels.dtype.kind != "U":
        return
    names, counts = np.unique(task.labels[numbers], return_counts=True)
    alike: dict[str, list[int]] = {}
    for place, name in enumerate(names.tolist()):
        alike.setdefault("".join(name.split()).casefold(), []).append(place)
    pairs = [places for places in alike.values() if len(places) > 1]
    if not pairs:
        return
    told = []
    for places in pairs[:_SHOWN]:
        own = [names[place].item() for place in places]
        blanks = len({name.casefold() for name in own}) == len(own)
        case = len({"".join(name.split()) for name in own}) == len(own)
        differ = "blanks" if blanks and not case else "case" if case and not blanks else "case or blanks"
        listed = " and ".join(f"{names[place].item()!r} ({_rows(int(counts[place]))})" for place in places)
        told.append(f"{listed} differ in {differ} alone")
    more = f"; and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    yield f"target {target!r} has classes that may be one: {'; '.join(told)}{more}; write them alike if they are"


def _in_no_fold(target: str, task: Task) -> Iterator[str]:
    """Yield a line on classes of which no training row is judged in any fold."""
    if task.folds is None:
        return
    codes = task.codes[task.rows["train"]]
    judged = np.bincount(codes[task.folds != ALWAYS], minlength=len(task.classes))
    rows = np.bincount(codes, minlength=len(task.classes))
    alone = np.flatnonzero((rows == 1) & (judged == 0))
    if len(alone):
        names = ", ".join(repr(each) for each in task.classes[alone[:_SHOWN]].tolist())
        more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
        yield (
            f"target {target!r}: one row in `train` has the class {names}{more}; it is in no fold, so C is not judged "
            "by it"
        )


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
