"""Figures: one description (Vega-Lite) drawn static or interactive. The one file that imports altair."""

from __future__ import annotations

import os
from statistics import median
from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from solvers.probing.probe import Probe

SPLIT_COLOURS = {"train": "#9aa5b1", "val": "#e08e2b", "test": "#1f5fa8"}


def error_by_layer(probes: Sequence[Probe], title: str | None = None) -> Any:
    """Prediction error against depth: a line for each split, a dotted one for chance.

    Chance is the error of always answering the commonest class of the training rows, on the last split there is.
    Where most errors are far below chance, the axis is logarithmic (linear below 1%, so that it shows 0 too).
    """
    alt = _altair()
    if not probes:
        raise FigureError("there is no probe to plot: every layer of the file failed; see `probe show`")
    splits = [split for split in SPLIT_COLOURS if any(split in probe.error for probe in probes)]
    chance = probes[0].chance[splits[-1]]
    errors = [probe.error[split] for probe in probes for split in splits if split in probe.error]
    y = _error_axis(alt, max(*errors, chance), logarithmic=median(errors) < chance / 3)
    layers = list(dict.fromkeys(probe.layer for probe in probes))
    return (
        alt.layer(*_chance_line(alt, chance, y), _error_lines(alt, probes, splits, y))
        .properties(
            width=max(360, min(1200, 56 * len(layers))),
            height=280,
            title=title or f"linear probes for {probes[0].target!r}",
        )
        .configure_view(stroke=None)
        .configure_axis(gridColor="#e4e7eb", domainColor="#9aa5b1", labelFontSize=11, titleFontSize=12)
    )


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
            "layer": probe.layer,
            "split": split,
            "error": probe.error[split],
            "C": f"{probe.C:g}",
            "gap (nats)": f"{probe.gap_nats:.1e}" if probe.penalised else "-",
        }
        for probe in probes
        for split in splits
        if split in probe.error
    ]
    colours = [SPLIT_COLOURS[split] for split in splits]
    order = list(dict.fromkeys(probe.layer for probe in probes))
    axis = alt.Axis(labelAngle=-35, labelLimit=160)
    return (
        alt.Chart(alt.Data(values=points))
        .mark_line(point=alt.OverlayMarkDef(size=46), strokeWidth=2)
        .encode(
            x=alt.X("layer:N", sort=order, title="layer, in network order", axis=axis),
            y=y,
            color=alt.Color(
                "split:N", scale=alt.Scale(domain=splits, range=colours), legend=alt.Legend(title=None)
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


def save_chart(chart: Any, path: Path) -> None:
    """Write a figure whole or not at all; the suffix says how: .svg, .png, or .html (self-contained)."""
    suffix = path.suffix.lower()
    if suffix not in {".svg", ".png", ".html"}:
        raise FigureError(f"-o {path} ends in {suffix!r}; a figure is .svg, .png or .html")
    partial = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        if suffix == ".html":
            chart.save(str(partial), inline=True)
        else:
            chart.save(str(partial), scale_factor=2 if suffix == ".png" else 1)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _altair() -> Any:
    try:
        import altair
        import vl_convert  # noqa: F401  # altair finds it itself; here it is only asked for in time
    except ImportError as error:
        raise FigureError(
            f"figures need altair and vl-convert ({error}); install them: pip install 'actstore[report]'"
        ) from error
    return altair
