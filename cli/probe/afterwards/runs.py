"""The mean of the scores of several files, each a run: what `probe show --mean` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.probe.afterwards.tables import SHORT_NAMES, Column, interval, number, wrapped
from cli.result import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.result import Table
    from solvers.probing.scores.asked import Asked
    from solvers.scoring.score import Score

_NAMED = ("layer", "target", "step", "seed", "method", "fold")


def mean_shown(
    paths: Sequence[str], asked: Asked, only: Sequence[Sequence[Any]], as_csv: bool, as_json: bool
) -> Result:
    """Return the means over files, probe files or tables of scores, of these layers, targets and steps.

    Raises:
        ProblemError: the files are no runs of the same; see ``solvers.over_runs``.
    """
    from solvers.scoring.runs import over_runs
    from solvers.scoring.score_rows import ScoreRows

    if len(set(paths)) < len(paths):
        raise click.UsageError(f"{_twice(paths)} is given twice; a mean over runs needs a file of each")
    notes: list[str] = []
    runs = {path: _read(path, asked, only, notes) for path in paths}
    scores = ScoreRows(over_runs(runs))
    messages = [f"note: {note}" for note in dict.fromkeys(notes)]
    if as_csv:
        return Result(text=list(scores.csv_lines()), messages=messages)
    data = {"runs": len(runs), "scores": scores.to_dicts()}
    return Result(data, [] if as_json else _tables(scores, asked, len(runs)), messages)


def _twice(paths: Sequence[str]) -> str:
    return next(path for place, path in enumerate(paths) if path in paths[:place])


def _read(path: str, asked: Asked, only: Sequence[Sequence[Any]], notes: list[str]) -> list[Score]:
    """Return the scores of one file that are asked for."""
    import solvers
    from actstore.patterns import pick_names
    from solvers.figures.scores import read_scores

    found: Sequence[Score]
    if Path(path).suffix.lower() == ".csv":
        found = read_scores(Path(path))
        if asked.metrics:
            found = [score for score in found if score.metric in asked.metrics]
    else:
        found = solvers.load(path).scores(
            asked.metrics, positive=asked.positive, negatives=asked.negatives, parts=asked.parts
        )
        notes += found.notes
    layers, targets, steps = only
    if layers:
        layers = pick_names(layers, list(dict.fromkeys(score.layer for score in found)))
    kept = [
        score
        for score in found
        if all(
            not values or value in values
            for values, value in ((layers, score.layer), (targets, score.target), (steps, score.step))
        )
    ]
    if not kept:
        raise click.ClickException(f"{path} has no score of what is asked for; see `probe show {path}`")
    return kept


def _tables(scores: Sequence[Score], asked: Asked, runs: int) -> list[str | Table]:
    """Return a row per layer, and target, step, seed and method, with each metric asked (the error) on each split."""
    whole = [score for score in scores if score.kind not in ("path", "majority") and not score.part]
    metrics = asked.metrics or ("error",)
    whole = [score for score in whole if score.metric in metrics] or whole
    named = [name for name in _NAMED if name == "layer" or len({getattr(each, name) for each in whole}) > 1]
    by_row: dict[tuple[Any, ...], dict[tuple[str, str], Score]] = {}
    for score in whole:
        row = by_row.setdefault(tuple(getattr(score, name) for name in named), {})
        row[score.metric, score.split] = score
    columns = [
        Column(name, ["" if row[place] is None else str(row[place]) for row in by_row], left=name != "step")
        for place, name in enumerate(named)
    ]
    main = []
    for metric, split in dict.fromkeys((score.metric, score.split) for score in whole):
        own = [row.get((metric, split)) for row in by_row.values()]
        values = [number(None if each is None else each.value) for each in own]
        main.append(Column(f"{SHORT_NAMES.get(metric, metric)} {split}", values, with_next=True))
        main.append(Column("95%", [interval(each) for each in own]))
    penalties = {f"{score.C:g}" if score.C == score.C else "" for score in whole}
    lines: list[str | Table] = []
    for table in wrapped(columns, main, [], []):
        lines += [table, ""]
    lines.append(f"means over {runs} runs; 95%: of the mean over further runs (Student's t), not of new rows")
    if len(penalties) == 1 and penalties != {""}:
        lines.append(f"C = {penalties.pop()}")
    unproven = sum(str(each.status) not in ("converged", "unpenalised") for each in whole)
    if unproven:
        lines.append(
            f"{unproven:,} of these numbers are of probes that are not proven to be optimal in every run"
        )
    return lines
