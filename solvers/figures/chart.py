"""Figures: one description (Vega-Lite) drawn static or interactive. The one file that imports altair."""

from __future__ import annotations

import io
import json
import os
from statistics import median
from typing import TYPE_CHECKING, Any

from solvers.disk.new_file import new_file, write_all
from solvers.errors import FigureError
from solvers.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from solvers.probing.probe import Probe

_BEGINNINGS = {".svg": (b"<svg", b"<?xml"), ".png": (b"\x89png",), ".html": (b"<!doctype html", b"<html")}
"""How a figure begins, by its suffix: what may be overwritten."""
SPLIT_COLOURS = {"train": "#9aa5b1", "val": "#e08e2b", "test": "#1f5fa8"}
_OTHER_COLOURS = ["#7a4fb5", "#2f8f5b", "#b5434f", "#5c6b2f"]
"""Of splits by other names, in turn."""


def error_by_layer(probes: Sequence[Probe], title: str | None = None) -> Any:
    """Prediction error against depth: a line for each split, a dotted one for chance.

    Chance is the error of always answering the commonest class of the training rows, on the last of the usual splits.
    Where most errors are far below chance, the axis is logarithmic (linear below 1%, so that it shows 0 too).
    """
    alt = _altair()
    if not probes:
        raise FigureError("there is no probe to plot: every layer of the file failed; see `probe show`")
    usual, others = _splits_of(probes)
    splits = usual + others
    chance = _chance(probes[0], usual or others)
    errors = [probe.error[split] for probe in probes for split in splits if split in probe.error]
    y = _error_axis(alt, max(*errors, chance), logarithmic=median(errors) < chance / 3)
    layers = list(dict.fromkeys(probe.layer for probe in probes))
    return (
        alt.layer(*_chance_line(alt, chance, y), _error_lines(alt, probes, splits, y))
        .properties(
            width=max(360, min(1200, 56 * len(layers))),
            height=280,
            title=printable(title or f"linear probes for {probes[0].target!r}"),
        )
        .configure_view(stroke=None)
        .configure_axis(gridColor="#e4e7eb", domainColor="#9aa5b1", labelFontSize=11, titleFontSize=12)
    )


def _splits_of(probes: Sequence[Probe]) -> tuple[list[str], list[str]]:
    """The usual splits that have an error, in their order, and the others."""
    there = list(dict.fromkeys(split for probe in probes for split in probe.error))
    usual = [split for split in SPLIT_COLOURS if split in there]
    return usual, [split for split in there if split not in usual]


def _chance(probe: Probe, splits: Sequence[str]) -> float:
    """The error of always answering the commonest class, on the last of the splits."""
    if not splits or splits[-1] not in probe.majority:
        raise FigureError("these probes have no scores to plot: no split has an error and a majority error")
    return probe.majority[splits[-1]]


def _error_axis(alt: Any, top: float, *, logarithmic: bool) -> Any:
    if not logarithmic:
        return alt.Y("error:Q", title="prediction error", axis=alt.Axis(format=".0%"))
    ticks = [tick for tick in (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1) if tick <= top]
    return alt.Y(
        "error:Q",
        title="prediction error (log scale)",
        scale=alt.Scale(type="symlog", constant=0.01, domain=[0, top], nice=False),
        axis=alt.Axis(format="~%", values=ticks),
    )


def _error_lines(alt: Any, probes: Sequence[Probe], splits: Sequence[str], y: Any) -> Any:
    points = [
        {
            "layer": printable(probe.layer),
            "split": printable(split),
            "error": probe.error[split],
            "C": f"{probe.C:g}",
            "gap (nats)": f"{probe.gap_nats:.1e}" if probe.penalised else "-",
        }
        for probe in probes
        for split in splits
        if split in probe.error
    ]
    others = iter(_OTHER_COLOURS * len(splits))
    colours = [SPLIT_COLOURS.get(split) or next(others) for split in splits]
    scale = alt.Scale(domain=[printable(split) for split in splits], range=colours)
    order = list(dict.fromkeys(printable(probe.layer) for probe in probes))
    axis = alt.Axis(labelAngle=-35, labelLimit=160)
    return (
        alt.Chart(alt.Data(values=points))
        .mark_line(point=alt.OverlayMarkDef(size=46), strokeWidth=2)
        .encode(
            x=alt.X("layer:N", sort=order, title="layer, in network order", axis=axis),
            y=y,
            color=alt.Color(
                "split:N",
                scale=scale,
                legend=alt.Legend(title=None),
            ),
            tooltip=[
                "layer:N",
                "split:N",
                alt.Tooltip("error:Q", format=".4f"),
                "C:N",
                "gap (nats):N",
            ],
        )
    )


def _chance_line(alt: Any, chance: float, y: Any) -> tuple[Any, Any]:
    rule = alt.Chart(alt.Data(values=[{"error": chance, "text": f"chance {chance:.0%}"}]))
    words = rule.mark_text(align="right", baseline="bottom", dy=-3, color="#52606d")
    return (
        rule.mark_rule(strokeDash=[2, 4], color="#52606d").encode(y=y),
        words.encode(y=y, x=alt.value("width"), text="text:N"),
    )


def save_chart(chart: Any, path: Path, overwrite: bool = False) -> None:
    """Write a figure whole or not at all; the suffix says how: .svg, .png, or .html (self-contained).

    Raises:
        FigureError: another suffix; a name that is taken, without ``overwrite`` or by what is no such figure; a disk
            that refuses.
    """
    refuse_existing_figure(path, overwrite)
    content = _drawn(chart, path.suffix.lower())
    try:
        with new_file(path, _is_figure if overwrite else None) as descriptor:
            write_all(descriptor, content, 0)
    except FileExistsError as error:
        msg = f"{path} exists already; choose another name, or say `--overwrite`, in Python overwrite=True"
        raise FigureError(msg) from error
    except OSError as error:
        msg = f"the figure {path} could not be written: {error.strerror}; make room or choose another place"
        raise FigureError(msg) from error


def refuse_existing_figure(path: Path, overwrite: bool) -> None:
    """Raise FigureError where ``save_chart`` would refuse; for asking before anything is read or drawn."""
    if path.suffix.lower() not in _BEGINNINGS:
        raise FigureError(f"-o {path} ends in {path.suffix!r}; a figure is .svg, .png or .html")
    if os.path.lexists(path):
        if not overwrite:
            raise FigureError(
                f"{path} exists already; choose another name, or say `--overwrite`, in Python overwrite=True"
            )
        if not _is_figure(path):
            raise FigureError(
                f"{path} is no {path.suffix[1:].lower()} figure, and only such a figure is overwritten; choose another "
                "name, or remove it"
            )


def _is_figure(path: Path) -> bool:
    """Whether a file begins as a figure of its suffix does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        beginning = file.read(64).lstrip().lower()
    return beginning.startswith(_BEGINNINGS[path.suffix.lower()])


def _drawn(chart: Any, suffix: str) -> bytes:
    """The bytes of a figure."""
    if suffix == ".png":
        image = io.BytesIO()
        chart.save(image, format="png", scale_factor=2)
        return image.getvalue()
    text = io.StringIO()
    how = {"inline": True, "json_kwds": {"cls": _ScriptEncoder}} if suffix == ".html" else {}
    chart.save(text, format=suffix[1:], **how)
    return text.getvalue().encode()


class _ScriptEncoder(json.JSONEncoder):
    """JSON that may stand within a script of a page: no name in it can end the script, or begin a comment."""

    def encode(self, o: Any) -> str:
        """Return the JSON with `<`, `>` and `&` as their numbers."""
        text = super().encode(o)
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _altair() -> Any:
    try:
        import altair
        import vl_convert  # noqa: F401  # altair finds it itself; here it is only asked for in time
    except ImportError as error:
        raise FigureError(
            f"figures need altair and vl-convert ({error}); install them: pip install 'actstore[report]'"
        ) from error
    return altair
