"""The scores of one metric of one probe on some rows, with intervals, and what a reader of them has to know."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.scoring.class_names import class_names
from solvers.scoring.interval_of import NO_INTERVAL, Interval, interval_of, rate_interval
from solvers.scoring.units import FEW_UNITS, Units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solvers.metrics.base import Metric, Part
    from solvers.scoring.answers import Answers
    from solvers.scoring.score import Score

__all__ = ["metric_scores", "notes_of_rows"]


def metric_scores(
    blank: Score, metric: Metric, answers: Answers | None, units: Units | None, value: float, parts: bool
) -> Iterator[Score]:
    """Yield a metric's score, with its interval, and those of its parts where they are wanted.

    Args:
        blank: what all scores of the probe and these rows have in common.
        metric: which.
        answers: what the probe said of the rows; None where that was not kept.
        units: what is resampled; None where these rows have no intervals.
        value: the number of all rows.
        parts: whether parts are wanted as well.
    """
    blank = replace(blank, metric=metric.name, unit=metric.unit)
    if not metric.only_parts:
        interval = NO_INTERVAL
        if answers is not None and units is not None and answers.finite:
            interval = interval_of(metric, answers, units, value)
        groups = units.groups if units is not None and units.grouped else None
        yield replace(blank, value=value, groups=groups, **_ends(interval))
    if answers is not None and answers.finite and (parts or metric.only_parts):
        for part in metric.parts(answers):
            yield _part_score(blank, part, units)


def _part_score(blank: Score, part: Part, units: Units | None) -> Score:
    rows = int(np.sum(part.of))
    interval = NO_INTERVAL if units is None else rate_interval(part.hit, part.of, units)
    groups = len(np.unique(units.of_row[part.of])) if units is not None and units.grouped else None
    value = float(np.sum(part.hit & part.of)) / rows
    return replace(blank, part=part.name, value=value, rows=rows, groups=groups, **_ends(interval))


def notes_of_rows(where: str, answers: Answers, units: Units) -> list[str]:
    """Return what a reader of scores has to know of these rows, a line each."""
    notes = []
    if units.grouped and units.groups < FEW_UNITS:
        notes.append(
            f"{where}: the rows are of {units.groups} groups only, so intervals are t over groups, and wide; "
            "30 or more groups would tell more"
        )
    names = class_names(answers.predictions)
    unseen = int(np.sum(~answers.seen))
    if unseen:
        classes = ", ".join(names[code] for code in np.unique(answers.truth[~answers.seen])[:4].tolist())
        notes.append(
            f"{where}: {unseen:,} rows are of classes that training had none of ({classes}); they count as wrong, "
            "and are left out of the cross-entropy"
        )
    absent = [names[code] for code in range(answers.outputs) if not np.any(answers.truth == code)]
    if absent:
        some = ", ".join(absent[:4]) + (f" and {len(absent) - 4} others" if len(absent) > 4 else "")
        notes.append(f"{where}: no row is of class {some}; a mean over classes leaves it out")
    return notes


def _ends(interval: Interval) -> dict[str, Any]:
    return {"low": interval.low, "high": interval.high, "interval": interval.how}
