"""Where the scores of a figure are from: probes, a file of them, or the table that `probe show --csv` prints."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.asked import Edges
from solvers.figures.rows import Shown
from solvers.scoring.score import COLUMNS, Score

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solvers.figures.asked import Asked
    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes

__all__ = ["edges_of", "read_edges", "read_scores", "scores_of", "shown"]

_WHOLE = ("step", "seed", "rows")
_MAYBE_WHOLE = ("fold", "groups", "features")
_NUMBERS = ("C", "value", "low", "high")
_APPENDED = ("features", "fitted_on")
_METRICS = {"confusion": "confusion", "calibration": "ece_15"}
"""Of kinds that show one metric alone."""


def scores_of(probes: Probes, asked: Asked) -> Sequence[Score]:
    """Return the scores of probes that a figure needs.

    Raises:
        ProblemError: a metric that there is not, or that the predictions do not allow.
    """
    metric = _METRICS.get(asked.kind, asked.metric) or "error"
    if asked.kind == "path":
        return probes.scores()
    return probes.scores([metric], parts=asked.kind in ("classes", *_METRICS))


def shown(sources: Sequence[tuple[str, Sequence[Score]]]) -> list[Shown]:
    """Return the scores of several files, each with what its file is called: its stem where these differ.

    Args:
        sources: pairs of a file's name, "" for none, and its scores.
    """
    names = [Path(name).name for name, _ in sources]
    stems = [Path(name).stem for name in names]
    called = stems if len(set(stems)) == len(stems) else names
    if len(set(called)) < len(called):
        called = [name for name, _ in sources]
    return [
        Shown(
            score, name, (score.target, score.step, score.seed, score.split) in getattr(scores, "divided", ())
        )
        for name, (_, scores) in zip(called, sources, strict=True)
        for score in scores
    ]


def read_scores(path: Path) -> list[Score]:
    """Return the scores of a table as `probe show --csv` prints it.

    Raises:
        FigureError: it is no such table; the message names the line.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        try:
            missing = [
                name for name in COLUMNS if name not in (lines.fieldnames or ()) and name not in _APPENDED
            ]
            if missing:
                msg = (
                    f"{path} is no table of scores: it has no column {missing[0]!r}; expected what `probe show --csv` "
                    f"prints ({', '.join(COLUMNS[:4])}, ...)"
                )
                raise FigureError(msg)
            return [_of_line(path, number, line) for number, line in enumerate(lines, 2)]
        except (csv.Error, UnicodeDecodeError) as error:
            msg = f"{path} is no table of scores: {error}; expected what `probe show --csv` prints"
            raise FigureError(msg) from error


def _of_line(path: Path, number: int, line: dict[str, Any]) -> Score:
    given: dict[str, Any] = {}
    for name in COLUMNS:
        text = line.get(name) or ""
        try:
            if name in _WHOLE:
                given[name] = int(text)
            elif name in _MAYBE_WHOLE:
                given[name] = int(text) if text else None
            elif name in _NUMBERS:
                given[name] = float(text) if text else float("nan")
            else:
                given[name] = text
        except ValueError as error:
            msg = f"{path}, line {number}: {name} is {text[:40]!r}; expected a number, as `probe show --csv` prints"
            raise FigureError(msg) from error
    return Score(**given)


def edges_of(probes: Iterable[Probe]) -> Edges | None:
    """Return which layer feeds which, as the store of the probes recorded it; None where it did not."""
    pairs: dict[tuple[str, str], None] = {}
    told = False
    for probe in probes:
        feeders = probe.provenance.stored.get(probe.stored_layer, {}).get("fed_by")
        if isinstance(feeders, list):
            told = True
            pairs.update({(str(source), probe.layer): None for source in feeders})
    return Edges(tuple(pairs), "recorded in the store") if told else None


def read_edges(path: Path) -> Edges:
    """Return the edges of a CSV with the columns ``from`` and ``to``: names of layers.

    Raises:
        FigureError: there is no such column, or an empty name.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            if not {"from", "to"} <= set(lines.fieldnames or ()):
                msg = f"{path} has no columns `from` and `to`; its first line must name them"
                raise FigureError(msg)
            pairs = [(line["from"] or "", line["to"] or "") for line in lines]
    except (csv.Error, UnicodeDecodeError) as error:
        msg = f"{path} is no table of edges: {error}; expected a CSV with the columns `from` and `to`"
        raise FigureError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}; name a CSV with the columns `from` and `to`"
        raise FigureError(msg) from error
    for number, (source, to) in enumerate(pairs, 2):
        if not source or not to:
            msg = f"{path}, line {number}: an edge goes from one layer to another, and a name is empty"
            raise FigureError(msg)
    return Edges(tuple(dict.fromkeys(pairs)), f"from {path.name}")
