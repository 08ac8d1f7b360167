"""Probes as tables of at most 80 columns: what `probe show` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cli.probe.choice import at_end, chosen_lines
from cli.result import Table
from cli.shared import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes
    from solvers.probing.scores.asked import Asked
    from solvers.scoring.score import Score
    from solvers.scoring.score_rows import ScoreRows

WIDTH = 80
SHORT_NAMES = {"cross_entropy": "CE", "balanced_accuracy": "balanced_acc", "average_precision": "avg_precision"}
POSITIVE_METRICS = ("roc_auc", "average_precision", "tpr_at_fpr_0.01")
"""Metrics whose number depends on which class is called positive."""


@dataclass(frozen=True)
class Column:
    """A column of cells, one for each probe; ``with_next``: the next one belongs to it, as an interval does."""

    header: str
    cells: Sequence[str]
    left: bool = False
    with_next: bool = False

    @property
    def width(self) -> int:
        """How wide it is printed, with the two spaces before it."""
        return 2 + max(len(printable(cell)) for cell in (self.header, *self.cells))


def probe_tables(probes: Probes, scores: ScoreRows, asked: Asked) -> list[str | Table]:
    """Return what is printed of the probes of one file."""
    from solvers.probing.scores.asked import judged_split, positive_name, splits_of

    every = list(probes.values())
    if not every:
        return [Table(["layer", "C", "gap (nats)"], [])]
    splits, judged = splits_of(every), judged_split(every)
    found = _of_tasks(scores)
    shown = list(dict.fromkeys(score.metric for score in found.values()))
    first = (asked.metrics or ("error",))[0]
    main = [column for split in splits for column in _metric(every, found, first, split)]
    rest = [
        each
        for name in shown
        if name != first and judged is not None
        for each in _metric(every, found, name, judged)
    ]
    rest += [Column("width", [str(probe.width) for probe in every])]
    rest += [Column("engine", [probe.engine for probe in every], left=True)]
    lines: list[str | Table] = []
    for table in wrapped(_named(every), main, _proven(every), rest):
        lines += [table, ""]
    if any(score.interval for score in found.values()):
        lines.append("95%: an interval of the fitted probe on new rows of the same population")
    if set(shown) & set(POSITIVE_METRICS):
        named = {probe.target: name for probe in every if (name := positive_name(probe, asked)) is not None}
        lines += [f"positive class of {target}: {name}" for target, name in named.items()]
    lines += [""] * (lines[-1] != "")
    return [*lines, rows_table(every, splits), "", *chosen_lines(every)]


def step_tables(probes: Probes, scores: ScoreRows, asked: Asked) -> list[str | Table]:
    """Return a table of layers by steps for each metric asked (the error by default), target and seed.

    Its numbers are of the split that judges. One of a probe that is not proven to be optimal is marked.
    """
    from solvers.probing.scores.asked import judged_split, positive_name, splits_of

    every = list(probes.values())
    split = judged_split(every)
    if split is None:
        raise click.UsageError("--by step needs scores, and these probes have been scored on no split")
    found, lines = _of_tasks(scores), list[str | Table]()
    draws = dict.fromkeys((probe.target, probe.seed, probe.where.fold) for probe in every)
    several = [len({draw[place] for draw in draws}) > 1 for place in range(3)]
    for metric in asked.metrics or ("error",):
        for draw in draws:
            own = [probe for probe in every if (probe.target, probe.seed, probe.where.fold) == draw]
            of = [f"{name} {value}" for name, value in zip(("target", "seed", "fold"), draw, strict=True)]
            names = [printable(name) for name, told in zip(of, several, strict=True) if told]
            if metric in POSITIVE_METRICS and (positive := positive_name(own[0], asked)) is not None:
                names.append(f"positive class {printable(positive)}")
            lines += [", ".join([f"{metric} on `{printable(split)}` by layer and step", *names]), ""]
            for table in wrapped(*_by_step(own, found, metric, split), [], []):
                lines += [table, ""]
    if any(str(probe.status) != "converged" for probe in every):
        lines += ["!: not proven to be optimal; `probe show` without --by has each status", ""]
    return [*lines, rows_table(every, splits_of(every)), "", *chosen_lines(every)]


def _by_step(
    probes: Sequence[Probe], found: dict[Any, Score], metric: str, split: str
) -> tuple[list[Column], list[Column]]:
    """Return the column of layers, and a column of numbers for each step, empty where a layer has no probe."""
    layers = list(dict.fromkeys(probe.layer for probe in probes))
    cells = dict.fromkeys(((layer, probe.step) for layer in layers for probe in probes), "")
    for probe in probes:
        score = found.get(_key(probe, split, metric))
        value = number(None if score is None else score.value)
        cells[probe.layer, probe.step] = value + "!" * (str(probe.status) != "converged" and value != "")
    steps = sorted({probe.step for probe in probes})
    columns = [Column(f"step {step}", [cells[layer, step] for layer in layers]) for step in steps]
    return [Column("layer", layers, left=True)], columns


def _of_tasks(scores: ScoreRows) -> dict[Any, Score]:
    """Return the score of each probe, split and metric, without other values of C, the majority, and parts."""
    return {
        _place(score): score for score in scores if score.kind not in ("path", "majority") and not score.part
    }


def _key(probe: Probe, split: str, metric: str) -> tuple[Any, ...]:
    return probe.layer, probe.target, probe.step, probe.seed, probe.where.fold, split, metric


def _place(score: Score) -> tuple[Any, ...]:
    return score.layer, score.target, score.step, score.seed, score.fold, score.split, score.metric


def _metric(probes: Sequence[Probe], found: dict[Any, Score], metric: str, split: str) -> list[Column]:
    """Return the column of a metric of a split, and that of its interval where there is one."""
    scores = [found.get(_key(each, split, metric)) for each in probes]
    if not any(scores):
        return []
    values = [number(None if score is None else score.value) for score in scores]
    header = f"{SHORT_NAMES.get(metric, metric)} {split}"
    if not any(score and score.interval for score in scores):
        return [Column(header, values)]
    return [Column(header, values, with_next=True), Column("95%", [interval(score) for score in scores])]


def _named(probes: Sequence[Probe]) -> list[Column]:
    """Return the columns that tell probes apart: the layer, and target, step and seed where there are several."""
    columns = [Column("layer", [probe.layer for probe in probes], left=True)]
    for name in ("target", "step", "seed"):
        cells = [str(getattr(probe, name)) for probe in probes]
        columns += [Column(name, cells, left=name == "target")] * (len(set(cells)) > 1)
    return columns


def _proven(probes: Sequence[Probe]) -> list[Column]:
    """Return the columns of C and of what is proven."""
    columns = [
        Column("C", [f"{probe.C:g}{'*' * (at_end(probe) is not None)}" for probe in probes]),
        Column("gap (nats)", [gap(probe) for probe in probes]),
    ]
    status = [str(probe.status) for probe in probes]
    return columns + [Column("status", status, left=True)] * any(each != "converged" for each in status)


def wrapped(
    named: list[Column], main: list[Column], proven: list[Column], rest: list[Column]
) -> Iterable[Table]:
    """Yield tables that each begin with the names: the main columns and the proof first, then the rest."""
    pending = [*_together(main), None, *_together(rest)]
    first, room = True, WIDTH + 2 - sum(column.width for column in [*named, *proven])
    while pending:
        taken: list[Column] = []
        while pending and (pending[0] is None or not taken or sum(c.width for c in pending[0]) <= room):
            columns = pending.pop(0)
            if columns is not None:
                taken += columns
                room -= sum(column.width for column in columns)
        yield table_of([*named, *taken, *(proven if first else [])])
        first, room = False, WIDTH + 2 - sum(column.width for column in named)


def _together(columns: Sequence[Column]) -> list[list[Column]]:
    """Return columns in runs that stand in one table."""
    runs: list[list[Column]] = []
    joined = False
    for column in columns:
        if joined:
            runs[-1].append(column)
        else:
            runs.append([column])
        joined = column.with_next
    return runs


def table_of(columns: Sequence[Column]) -> Table:
    rows = list(zip(*(column.cells for column in columns), strict=True))
    left = [place for place, column in enumerate(columns) if column.left]
    return Table([column.header for column in columns], rows, left)


def rows_table(probes: Sequence[Probe], splits: Sequence[str]) -> Table:
    """Return a row per target and split, of what does not depend on the layer."""
    distinct = {
        (probe.target, split, *(getattr(probe.scores, name).get(split) for name in _COUNTS)): None
        for probe in probes
        for split in splits
        if split in probe.scores.rows
    }
    rows = [
        [target, split, *["" if count is None else f"{count:,}" for count in counts], number(majority)]
        for target, split, *counts, majority in distinct
    ]
    return Table(["target", "split", "rows", "unlabelled", "unseen", "majority error"], rows, (0, 1))


_COUNTS = ("rows", "unlabelled", "unseen", "majority")


def pair_table(pairs: list[tuple[Probe, Probe]]) -> Table:
    """Return a row per layer with the error, gap and engine of both probes."""
    from solvers.probing.scores.asked import judged_split

    every = [left for left, _ in pairs]
    split = judged_split(every) or "test"
    rows = []
    for left, right in pairs:
        errors = [probe.scores.error.get(split) for probe in (left, right)]
        difference = "" if None in errors else f"{errors[1] - errors[0]:+.4f}"  # type: ignore[operator]
        cells = [f"{probe.C:g} | {gap(probe)} | {probe.engine}" for probe in (left, right)]
        rows.append([number(errors[0]), number(errors[1]), difference, *cells])
    header = [f"error {split}", "second", "difference", "C | gap | engine", "C | gap | engine of the second"]
    columns = [Column(name, [row[place] for row in rows]) for place, name in enumerate(header)]
    return table_of([*_named(every), *columns])


def gap(probe: Probe) -> str:
    """The gap of a probe as it is printed; without a penalty there is none."""
    return f"{probe.gap_nats:.1e}" if probe.penalised else "-"


def number(value: float | None) -> str:
    """A number as it is printed; nothing where there is none."""
    return "" if value is None or value != value else f"{value:.4f}"


def interval(score: Score | None) -> str:
    """The interval of a score as it is printed, with as many decimals as tell its ends apart."""
    if score is None or not score.interval:
        return ""
    decimals = 3 if score.high - score.low >= 0.01 else 4
    low, high = (f"{each:.{decimals}f}" for each in (score.low, score.high))
    return "-".join(each[1:] if each.startswith("0.") else each for each in (low, high))
