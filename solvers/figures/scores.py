"""Where the scores of a figure are from: probes, a file of them, or the table that `probe show --csv` prints."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.asked import Edges
from solvers.figures.rows import Shown
from solvers.scoring.score import COLUMNS, Score

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solvers.probing.probe import Probe, Probes

__all__ = ["edges_of", "read_edges", "read_scores", "scores_of", "shown"]

_WHOLE = ("step", "seed", "rows")
_MAYBE_WHOLE = ("fold", "groups", "features")
_NUMBERS = ("C", "value", "low", "high")
_APPENDED = ("features",)


def scores_of(probes: Probes) -> list[Score]:
    """Return the scores of probes: every split's error and cross-entropy, `majority`, and the path along C."""
    return [score for probe in probes.values() for score in (*_task(probe), *_path(probe))]


def _task(probe: Probe) -> Iterable[Score]:
    for split in probe.error:
        role = (
            "fit" if split == "train" else "select" if split == probe.proof.chosen.get("split") else "held_out"
        )
        common = {"split": split, "role": role, "rows": probe.rows[split]}
        yield _score(probe, metric="error", unit="share", value=probe.error[split], **common)
        yield _score(probe, metric="cross_entropy", unit="nats", value=probe.cross_entropy[split], **common)
        if split in probe.majority:
            yield _score(
                probe, kind="majority", metric="error", unit="share", value=probe.majority[split], **common
            )


def _path(probe: Probe) -> Iterable[Score]:
    if len(probe.path) < 2:
        return
    split = str(probe.proof.chosen.get("split") or probe.proof.chosen.get("how") or "val")
    for tried in probe.path:
        if math.isnan(tried.cross_entropy):
            continue
        yield _score(
            probe,
            kind="path",
            metric="cross_entropy",
            unit="nats",
            value=tried.cross_entropy,
            C=tried.C,
            status=tried.status,
            split=split,
            role="select",
            rows=int(probe.proof.chosen.get("rows", probe.rows.get(split, 0))),
        )


def _score(probe: Probe, **given: Any) -> Score:
    nothing = float("nan")
    common = {
        "store": probe.fingerprint,
        "layer": probe.layer,
        "step": probe.step,
        "target": probe.target,
        "kind": probe.kind,
        "method": probe.where.method,
        "part": "",
        "C": probe.C,
        "seed": probe.seed,
        "fold": probe.where.fold,
        "low": nothing,
        "high": nothing,
        "interval": "",
        "groups": None,
        "status": str(probe.status),
        "features": probe.width if probe.columns is None else len(probe.columns),
    }
    return Score(**{**common, **given})


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
    return [Shown(score, name) for name, (_, scores) in zip(called, sources, strict=True) for score in scores]


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
