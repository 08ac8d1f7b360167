"""Scores on other rows as tables of at most 80 columns, and differences of two files of probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.probe.afterwards.tables import SHORT_NAMES, Column, interval, number, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.result import Table
    from solvers.probing.afterwards.differences import Difference
    from solvers.probing.afterwards.scores import Evaluation, Part
    from solvers.scoring.score import Score

__all__ = ["difference_tables", "score_tables"]

MAJORITY = "majority error"
"""The column of the error of always answering the commonest training class."""


def score_tables(found: Evaluation) -> list[str | Table]:
    """Return a row for each probe, split and role, with every metric and its interval."""
    by_place: dict[Any, dict[str, Score]] = {}
    for score in found.scores:
        if not score.part:
            name = score.metric if score.kind != "majority" else MAJORITY
            by_place.setdefault(_place(score), {})[name] = score
    parts = found.parts
    rows = [by_place.get(_key(part), {}) for part in parts]
    columns: list[Column] = []
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in [each for each in names if each != MAJORITY or "error" in names]:
        scores = [row.get(name) for row in rows]
        values = [number(None if score is None else score.value) for score in scores]
        bounded = any(score is not None and score.interval for score in scores)
        columns.append(Column(SHORT_NAMES.get(name, name), values, with_next=bounded))
        columns += [Column("95%", [interval(score) for score in scores])] * bounded
    return _spaced(wrapped(_named(parts), columns, [], []))


def _place(score: Score) -> tuple[Any, ...]:
    return score.layer, score.target, score.step, score.seed, score.fold, score.split, score.role


def _key(part: Part) -> tuple[Any, ...]:
    probe = part.probe
    return probe.layer, probe.target, probe.step, probe.seed, probe.where.fold, part.split, part.role


def _named(parts: Sequence[Part]) -> list[Column]:
    """Return the columns that tell rows apart, and how many they are."""
    columns = [Column("layer", [part.probe.layer for part in parts], left=True)]
    for name in ("target", "step", "seed"):
        cells = [str(getattr(part.probe, name)) for part in parts]
        columns += [Column(name, cells, left=name == "target")] * (len(set(cells)) > 1)
    columns.append(Column("split", [part.split or "(none)" for part in parts], left=True))
    columns.append(Column("role", [part.role for part in parts], left=True))
    columns.append(Column("rows", [f"{part.rows:,}" for part in parts]))
    if any(part.unseen for part in parts):
        columns.append(Column("unseen", [f"{part.unseen:,}" for part in parts]))
    return columns


def difference_tables(found: Sequence[Difference], names: tuple[str, str]) -> list[str | Table]:
    """Return a row for each difference of a metric; ``names`` are those of the two files."""
    if not found:
        return []
    columns = [Column("layer", [each.layer for each in found], left=True)]
    for name in ("target", "step", "seed"):
        cells = [str(getattr(each, name)) for each in found]
        columns += [Column(name, cells, left=name == "target")] * (len(set(cells)) > 1)
    columns.append(Column("split", [each.split or "(none)" for each in found], left=True))
    metrics = [SHORT_NAMES.get(each.metric, each.metric) for each in found]
    columns += [Column("metric", metrics, left=True)] * (len(set(metrics)) > 1)
    main = [
        Column("value", [number(each.value) for each in found]),
        Column("beside", [number(each.beside) for each in found]),
        Column("difference", [_signed(each.difference) for each in found], with_next=True),
        Column("95%", [_ends(each) for each in found]),
        Column("p", [_chance(each.p) for each in found], with_next=True),
        Column("p (Holm)", [_chance(each.p_holm) for each in found]),
    ]
    what = metrics[0] if len(set(metrics)) == 1 else "difference"
    heading = f"{what}: {names[0]} minus {names[1]}, on the same rows, new to both"
    return [heading, *_spaced(wrapped(columns, main, [], []))]


def _signed(value: float) -> str:
    return "" if value != value else f"{value:+.4f}"


def _ends(found: Difference) -> str:
    if not found.interval:
        return ""
    return " to ".join(
        f"{end:+.3f}".replace("+0.", "+.").replace("-0.", "-.") for end in (found.low, found.high)
    )


def _chance(p: float) -> str:
    return "" if p != p else f"{p:.3f}" if p >= 0.001 else "<.001"


def _spaced(tables: Any) -> list[str | Table]:
    lines: list[str | Table] = []
    for table in tables:
        lines += [table, ""]
    return lines
