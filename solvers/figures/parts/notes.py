"""The lines under a figure's title: file, store, step, C, rows, how intervals were made, what is left out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from solvers.figures.parts.names import safe
from solvers.figures.parts.scale import metric_words
from solvers.figures.rows import distinct, not_optimal

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from solvers.figures.parts.scale import ValueScale
    from solvers.figures.rows import Shown

__all__ = ["notes_of", "title_of"]

_INTERVALS = {
    "wilson": "Wilson",
    "exact": "exact",
    "area": "of an area",
    "bootstrap": "bootstrap over rows",
    "t_rows": "t over rows",
    "groups": "bootstrap over groups",
    "t_groups": "t over few groups",
    "exact_groups": "exact, by groups",
}


def title_of(rows: Sequence[Shown], metric: str, by: str) -> str:
    """Return what a figure shows: the metric, the target where there is one, by what."""
    words = metric_words(metric)
    targets = distinct(rows, "target")
    of = f" of {safe(targets[0])}" if len(targets) == 1 else ""
    return f"{words[0].upper()}{words[1:]}{of} {by}"


def notes_of(
    rows: Sequence[Shown],
    y: ValueScale | None = None,
    told: Collection[str] = (),
    prefix: str = "",
    intervals: bool = True,
) -> list[str]:
    """Return the lines under the title; what panels or colours tell apart is ``told`` there and left out here.

    ``prefix`` is what ``…`` stands for in the labels; ``intervals`` whether the figure draws them.
    """
    first = [_store(rows), *(_only(rows, name) for name in ("step", "method", "seed") if name not in told)]
    first += [_penalties(rows), _counts(rows)]
    first += [f"… is {safe(prefix)}"] if prefix else []
    return [
        " · ".join(part for part in first if part),
        *(_intervals(rows) if intervals else []),
        *_not_new(rows),
        *_marks(rows, y),
    ]


def _store(rows: Sequence[Shown]) -> str:
    files, stores = distinct(rows, "file"), [store for store in distinct(rows, "store") if store]
    names = ", ".join(safe(file) for file in files[:3] if file)
    names += f" and {len(files) - 3} more" if len(files) > 3 else ""
    short = ", ".join(_fingerprint(store) for store in stores[:2])
    short += f" and {len(stores) - 2} more" if len(stores) > 2 else ""
    by_step = {row.score.step: row.score.store for row in rows}
    if len(stores) == len(by_step) > 1 == len(files):  # one store, which has a fingerprint at each step
        first, last = min(by_step), max(by_step)
        short = (
            f"{_fingerprint(by_step[first])} at step {first} to {_fingerprint(by_step[last])} at step {last}"
        )
    return f"{names} (store {short})" if names and short else names or (f"store {short}" if short else "")


def _fingerprint(store: str) -> str:
    """The beginning of a hash is enough to tell stores apart."""
    digits = store.rpartition(":")[2]
    return (
        digits[:8] if len(digits) >= 16 and all(each in "0123456789abcdef" for each in digits) else safe(store)
    )


def _only(rows: Sequence[Shown], name: str) -> str:
    values = distinct(rows, name)
    if len(values) != 1 or (name, values[0]) in (("seed", 0), ("method", "logistic")):
        return ""
    return f"{name} {safe(values[0])}"


def _penalties(rows: Sequence[Shown]) -> str:
    values = sorted({row.score.C for row in rows if not math.isnan(row.score.C)})
    if not values:
        return ""
    return f"C {values[0]:g}" if len(values) == 1 else f"C {values[0]:g} to {values[-1]:g}"


def _counts(rows: Sequence[Shown]) -> str:
    parts = []
    for split in distinct(rows, "split"):
        counts = {row.score.rows for row in rows if row.of("split") == split and not row.score.part}
        counts = counts or {row.score.rows for row in rows if row.of("split") == split}
        if counts == {0}:
            continue  # not told
        span = f"{min(counts):,}" if len(counts) == 1 else f"{min(counts):,} to {max(counts):,}"
        each = "" if any(not row.score.part for row in rows) else " each"
        parts.append(f"{safe(split) if split else 'all'}\u00a0{span}{each}")
    return f"rows:\u00a0{', '.join(parts)}" if parts else ""


def _intervals(rows: Sequence[Shown]) -> list[str]:
    hows = {row.score.interval for row in rows if row.score.interval and math.isfinite(row.score.low)}
    if not hows:
        return []
    told = []
    if "t_runs" in hows:
        counts = {row.score.groups for row in rows if row.score.interval == "t_runs"}
        told = [
            f"means and their 95% intervals over runs (t, {', '.join(map(str, sorted(counts, key=str)))} runs)"
        ]
        hows -= {"t_runs"}
    ours = ", ".join(_INTERVALS[how] for how in sorted(hows) if how in _INTERVALS)
    others = ", ".join(safe(how) for how in sorted(hows) if how not in _INTERVALS)
    told += [f"95% intervals of the fitted probe on new rows ({ours})"] if ours else []
    return told + ([f"intervals: {others}"] if others else [])


def _not_new(rows: Sequence[Shown]) -> list[str]:
    """Say which splits have rows of groups that the probes were trained on."""
    splits = [
        split
        for split in distinct(rows, "split")
        if any(row.divided and row.of("split") == split for row in rows)
    ]
    if not splits:
        return []
    return [f"not new to the probe: groups of training rows have rows in {', '.join(map(safe, splits))}, too"]


def _marks(rows: Sequence[Shown], y: ValueScale | None) -> list[str]:
    lines = []
    missed = {safe(row.score.status) for row in not_optimal(rows)}
    if missed:
        probes = len(
            {
                (row.file, row.score.layer, row.score.target, row.score.step, row.score.C)
                for row in not_optimal(rows)
            }
        )
        lines.append(f"hollow: {probes:,} not proven optimal ({', '.join(sorted(missed))})")
    absent = sum(not row.finite for row in rows)
    if absent:
        lines.append(f"{absent:,} without a value left out")
    if y is not None:
        below = sum(y.kind == "log" and row.finite and row.score.value <= 0 for row in rows)
        outside = sum(row.finite and row.score.value > 0 and not y.inside(row.score.value) for row in rows)
        outside += sum(
            y.kind == "linear" and row.finite and row.score.value <= 0 and not y.inside(row.score.value)
            for row in rows
        )
        lines += [f"triangles: {below:,} at 0, below the axis"] if below else []
        lines += [f"{outside:,} outside the limits of the axis, not shown"] if outside else []
    return ["; ".join(lines)] if lines else []
