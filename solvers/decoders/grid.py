"""A grid of pictures with words around them, as SVG (by this file alone) or PNG (by Pillow)."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.disk import cures
from solvers.disk.new_file import new_file, write_all
from solvers.errors import FigureError
from solvers.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Cell", "Grid", "refuse_existing_grid", "save_grid"]

_BEGINNINGS = {".svg": b"<svg", ".png": b"\x89PNG"}
_PICTURE, _GAP, _LINE, _LEFT, _TOP = 84, 12, 13, 120, 58
_FONT = 11
_INK, _PALE = "#1f2933", "#52606d"
_LETTERS = 14
"""Letters of a title that a column has room for."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture (channels, height, width), clipped to [0, 1], and the words below; None leaves the place empty."""

    picture: NDArray[np.floating] | None
    words: str = ""


@dataclass(frozen=True)
class Grid:
    """Rows of cells below titles, each row with a few lines to its left.

    Args:
        title: above all.
        columns: a title for each column, of one or two lines.
        rows: lines to the left, and a cell for each column.
        notes: lines below all.
    """

    title: str
    columns: Sequence[tuple[str, ...]]
    rows: Sequence[tuple[tuple[str, ...], Sequence[Cell]]]
    notes: Sequence[str] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        notes = max((len(note) for note in (self.title, *self.notes)), default=0)
        width = max(_LEFT + len(self.columns) * (_PICTURE + _GAP), 24 + int(notes * 6.4))
        return width, _TOP + len(self.rows) * (_PICTURE + _LINE + _GAP) + _LINE * len(self.notes) + _GAP


def save_grid(grid: Grid, path: Path, overwrite: bool = False) -> None:
    """Write a grid whole or not at all; the suffix says how: .svg or .png.

    Raises:
        FigureError: another suffix, a name that is taken, Pillow missing for a PNG, or a disk that refuses.
    """
    refuse_existing_grid(path, overwrite)
    content = _png_of(grid) if path.suffix.lower() == ".png" else _svg_of(grid)
    try:
        with new_file(path, _is_grid if overwrite else None) as descriptor:
            write_all(descriptor, content, 0)
    except FileExistsError as error:
        msg = f"{path} exists already; choose another name, or say `--overwrite`, in Python overwrite=True"
        raise FigureError(msg) from error
    except OSError as error:
        msg = f"the figure {path} could not be written: {error.strerror}; {cures.to_write(error)}"
        raise FigureError(msg) from error


def refuse_existing_grid(path: Path, overwrite: bool) -> None:
    """Raise FigureError where ``save_grid`` would refuse; for asking before anything is decoded."""
    if path.suffix.lower() not in _BEGINNINGS:
        msg = f"-o {path} ends in {path.suffix!r}; a grid of pictures is .svg or .png"
        raise FigureError(msg)
    if path.suffix.lower() == ".png":
        _pillow()
    if os.path.lexists(path):
        if not overwrite:
            msg = f"{path} exists already; choose another name, or say `--overwrite`, in Python overwrite=True"
            raise FigureError(msg)
        if not _is_grid(path):
            msg = f"{path} is no {path.suffix[1:].lower()} figure, and only such a one is overwritten; remove it first"
            raise FigureError(msg)


def _is_grid(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8).startswith(_BEGINNINGS[path.suffix.lower()])


def _bytes_of(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A picture as (height, width, channels) bytes; values that are no numbers are black."""
    whole = np.nan_to_num(np.clip(picture, 0, 1).transpose(1, 2, 0))
    return np.round(whole * 255).astype(np.uint8)


def _encoded(picture: NDArray[np.floating]) -> bytes:
    """A picture as a PNG, by zlib alone."""
    pixels = _bytes_of(picture)
    height, width, channels = pixels.shape
    colours = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each line's filter is none
    lines[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def _words(grid: Grid) -> list[tuple[int, int, str, str, str]]:
    """Every line of words: x, y (of its base line), anchor, colour, text."""
    found = [(12, 18, "start", _INK, printable(grid.title))]
    for column, lines in enumerate(grid.columns):
        x = _LEFT + column * (_PICTURE + _GAP) + _PICTURE // 2
        base = _TOP - 6 - _LINE * (len(lines) - 1)
        found += [(x, base + _LINE * n, "middle", _INK, _short(line)) for n, line in enumerate(lines)]
    for row, (lines, cells) in enumerate(grid.rows):
        top = _TOP + row * (_PICTURE + _LINE + _GAP)
        found += [(12, top + 14 + _LINE * n, "start", _PALE, _short(line)[:18]) for n, line in enumerate(lines)]
        for column, cell in enumerate(cells):
            x = _LEFT + column * (_PICTURE + _GAP) + _PICTURE // 2
            found.append((x, top + _PICTURE + _LINE - 2, "middle", _PALE, _short(cell.words)))
    bottom = _TOP + len(grid.rows) * (_PICTURE + _LINE + _GAP) + _FONT
    found += [(12, bottom + _LINE * n, "start", _PALE, printable(note)) for n, note in enumerate(grid.notes)]
    return [each for each in found if each[4]]


def _places(grid: Grid) -> list[tuple[int, int, NDArray[np.floating]]]:
    """Every picture: x, y, values."""
    return [
        (_LEFT + column * (_PICTURE + _GAP), _TOP + row * (_PICTURE + _LINE + _GAP), cell.picture)
        for row, (_, cells) in enumerate(grid.rows)
        for column, cell in enumerate(cells)
        if cell.picture is not None
    ]


def _svg_of(grid: Grid) -> bytes:
    width, height = grid.size
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="{_FONT}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for x, y, picture in _places(grid):
        data = base64.b64encode(_encoded(picture)).decode()
        lines.append(
            f'<image x="{x}" y="{y}" width="{_PICTURE}" height="{_PICTURE}" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{data}"/>'
        )
    lines += [
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
        for x, y, anchor, colour, text in _words(grid)
    ]
    return "\n".join([*lines, "</svg>\n"]).encode()


def _pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        msg = f"a .png needs Pillow ({error}); install it: pip install 'actstore[images]', or write a .svg"
        raise FigureError(msg) from error
    return Image, ImageDraw, ImageFont


def _png_of(grid: Grid) -> bytes:
    """At twice the size of the SVG, so that words are sharp."""
    image_module, draw_module, font_module = _pillow()
    width, height = grid.size
    canvas = image_module.new("RGB", (2 * width, 2 * height), "white")
    for x, y, picture in _places(grid):
        with image_module.open(io.BytesIO(_encoded(picture))) as drawn:
            shown = drawn.convert("RGBA").resize((2 * _PICTURE, 2 * _PICTURE), image_module.Resampling.NEAREST)
        canvas.paste(shown, (2 * x, 2 * y), shown)
    draw, font = draw_module.Draw(canvas), font_module.load_default(2 * _FONT)
    for x, y, anchor, colour, text in _words(grid):
        where = {"start": "ls", "middle": "ms"}[anchor]
        draw.text((2 * x, 2 * y), text, fill=colour, font=font, anchor=where)
    drawn_bytes = io.BytesIO()
    canvas.save(drawn_bytes, format="PNG")
    return drawn_bytes.getvalue()
