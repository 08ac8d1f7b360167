"""Frames over training steps: a page with a slider, a GIF, or a row of small multiples."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.chart import drawn, drawn_frames, refuse_existing_figure, save_bytes
from solvers.figures.figure import description
from solvers.figures.parts.look import Look
from solvers.figures.parts.names import thinned
from solvers.figures.rows import chosen, distinct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from solvers.figures.asked import Asked
    from solvers.figures.rows import Shown

__all__ = ["SUFFIXES", "save_animation"]

SUFFIXES = (".html", ".gif", ".svg", ".png", ".pdf")
_MOST_IN_A_ROW = 6
_FRAME_MS, _LAST_MS = 700, 2000
_FIXED = ("calibration",)  # its axes are the same anyway


def save_animation(rows: Sequence[Shown], asked: Asked, path: Path, overwrite: bool = False) -> None:
    """Write a figure of each step: ``.html`` with a slider, ``.gif``, or still frames in a row (``.svg .png .pdf``).

    All frames have the same axes and colours.

    Raises:
        FigureError: one step alone, a kind that shows all steps in one figure, or what ``save_figure`` refuses.
    """
    refuse_existing_figure(path, overwrite, SUFFIXES)
    rows = chosen(rows, asked)
    steps = distinct(rows, "step")
    if asked.kind == "steps" or asked.overlay == "step":
        raise FigureError(
            "this figure shows every step at once already; animate another kind, such as depth or graph"
        )
    if len(steps) < 2:
        msg = f"there is {len(steps)} step to animate; fit several (`probe fit --step all`), or leave --animate out"
        raise FigureError(msg)
    suffix = path.suffix.lower()
    if suffix not in (".html", ".gif"):
        kept = (
            {steps[place] for place in thinned(len(steps), _MOST_IN_A_ROW)}
            if len(steps) > _MOST_IN_A_ROW
            else set(steps)
        )
        row = description([row for row in rows if row.score.step in kept], replace(asked, steps=()))
        save_bytes(drawn(row, suffix, Look.of(asked).pixels), path, overwrite)
        return
    frames = _frames(rows, asked, steps)
    if suffix == ".html":
        content = drawn_frames(frames, [f"step {step:,}" for step in steps])
    else:
        content = _gif([drawn(frame, ".png", 1 if asked.size == "slide" else 2) for frame in frames])
    save_bytes(content, path, overwrite)


def _frames(rows: Sequence[Shown], asked: Asked, steps: Sequence[int]) -> list[dict[str, Any]]:
    """A description of each step, all with the limits that have room for every step."""

    def every(how: Asked) -> list[dict[str, Any]]:
        own = replace(how, steps=())
        return [description([row for row in rows if row.score.step == step], own) for step in steps]

    frames = every(asked)
    if asked.ylim is not None or asked.kind in _FIXED:
        return frames
    ends = [domain for frame in frames for domain in _domains(frame)]
    return every(replace(asked, ylim=(min(low for low, _ in ends), max(high for _, high in ends))))


def _domains(value: Any) -> Iterator[tuple[float, float]]:
    """The ends of every scale of values in a description."""
    if isinstance(value, dict):
        scale = value.get("scale")
        if value.get("field") in ("value", "low") and isinstance(scale, dict) and "domain" in scale:
            yield tuple(scale["domain"])
        for each in value.values():
            yield from _domains(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _domains(each)


def _gif(images: Sequence[bytes]) -> bytes:
    try:
        from PIL import Image
    except ImportError as error:
        raise FigureError(
            f"a GIF needs Pillow ({error}); install it: pip install 'actstore[report]'"
        ) from error
    frames = [Image.open(io.BytesIO(image)).convert("RGB") for image in images]
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    padded = []
    for frame in frames:
        canvas = Image.new("RGB", size, "white")
        canvas.paste(frame, (0, 0))
        padded.append(canvas.quantize(128))
    content = io.BytesIO()
    pace = [_FRAME_MS] * (len(padded) - 1) + [_LAST_MS]
    padded[0].save(
        content, "GIF", save_all=True, append_images=padded[1:], duration=pace, loop=0, optimize=False
    )
    return content.getvalue()
