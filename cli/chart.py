"""Figures: one description (Vega-Lite) drawn static or interactive. The one file that imports altair."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from solvers.probe import Probe

SPLIT_COLOURS = {"train": "#9aa5b1", "val": "#e08e2b", "test": "#1f5fa8"}


def error_by_layer(probes: Sequence[Probe], title: str | None = None) -> Any:
    """Prediction error against depth: a line for each split, a dotted one for chance.

    Chance is the error of always answering the commonest class of the training rows, on the last split there is.
    """
    alt = _altair()
    order = list(dict.fromkeys(probe.layer for probe in probes))
    splits = [split for split in SPLIT_COLOURS if any(split in probe.error for probe in probes)]
    points = [
        {
            "layer": probe.layer,
            "split": split,
            "error": probe.error[split],
            "C": probe.C,
            "gap (nats)": probe.gap_nats,
        }
        for probe in probes
        for split in splits
        if split in probe.error
    ]
    x = alt.X(
        "layer:N", sort=order, title="layer, in network order", axis=alt.Axis(labelAngle=-35, labelLimit=160)
    )
    lines = (
        alt.Chart(alt.Data(values=points))
        .mark_line(point=alt.OverlayMarkDef(size=46), strokeWidth=2)
        .encode(
            x=x,
            y=alt.Y("error:Q", title="prediction error", axis=alt.Axis(format=".0%")),
            color=alt.Color(
                "split:N",
                scale=alt.Scale(domain=splits, range=[SPLIT_COLOURS[split] for split in splits]),
                legend=alt.Legend(title=None),
            ),
            tooltip=[
                "layer:N",
                "split:N",
                alt.Tooltip("error:Q", format=".4f"),
                "C:Q",
                alt.Tooltip("gap (nats):Q", format=".1e"),
            ],
        )
    )
    chance = probes[0].chance[splits[-1]]
    rule = alt.Chart(alt.Data(values=[{"error": chance, "text": f"chance {chance:.0%}"}]))
    dotted = rule.mark_rule(strokeDash=[2, 4], color="#52606d").encode(y="error:Q")
    label = rule.mark_text(align="right", baseline="bottom", dy=-3, color="#52606d").encode(
        y="error:Q", x=alt.value("width"), text="text:N"
    )
    width = max(360, min(1200, 52 * len(order)))
    return (
        alt.layer(dotted, label, lines)
        .properties(width=width, height=280, title=title or f"linear probes for {probes[0].target!r}")
        .configure_view(stroke=None)
        .configure_axis(gridColor="#e4e7eb", domainColor="#9aa5b1", labelFontSize=11, titleFontSize=12)
    )


def save_chart(chart: Any, path: Path) -> None:
    """Write a figure whole or not at all; the suffix says how: .svg, .png, or .html (self-contained)."""
    suffix = path.suffix.lower()
    if suffix not in {".svg", ".png", ".html"}:
        raise click.ClickException(f"-o {path} ends in {suffix!r}; a figure is .svg, .png or .html")
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
        raise click.ClickException(
            f"figures need altair and vl-convert ({error}); install them: pip install 'actstore[report]'"
        ) from error
    return altair
