"""Descriptions drawn: the one file that imports altair and vl-convert, and the one door by which a figure leaves."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from solvers.disk import cures
from solvers.disk.new_file import new_file, write_all
from solvers.errors import FigureError
from solvers.figures.page import page
from solvers.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "cleaned",
    "drawn",
    "drawn_frames",
    "notebook_chart",
    "refuse_existing_figure",
    "save_bytes",
    "save_figure",
]

_BEGINNINGS = {
    ".svg": (b"<svg", b"<?xml"),
    ".png": (b"\x89png",),
    ".pdf": (b"%pdf",),
    ".html": (b"<!doctype html", b"<html"),
    ".gif": (b"gif8",),
}
"""How a figure begins, by its suffix: what may be overwritten."""
SUFFIXES = (".svg", ".png", ".pdf", ".html")


def cleaned(value: Any) -> Any:
    """Return a description whose texts act on nothing and whose numbers are JSON's: NaN and infinity become null.

    A raw ESC ends the drawing library's process, so nothing is drawn that was not cleaned.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(each) for each in value]
    if isinstance(value, bool | int) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def notebook_chart(description: dict[str, Any]) -> Any:
    """Return a figure that a notebook shows (an altair chart).

    Raises:
        FigureError: the extra `report` is not installed.
    """
    altair, _ = _libraries()
    return altair.Chart.from_dict(cleaned(description))


def save_figure(description: dict[str, Any], path: Path, overwrite: bool = False, pixels: float = 2) -> None:
    """Write a figure whole or not at all; the suffix says how: .svg, .png, .pdf, or .html (self-contained).

    Args:
        description: Vega-Lite.
        path: of the file.
        overwrite: replace a figure of the same kind that is there.
        pixels: of a PNG, for each of the description.

    Raises:
        FigureError: another suffix; a name that is taken, without ``overwrite`` or by what is no such figure; a disk
            that refuses.
    """
    refuse_existing_figure(path, overwrite)
    save_bytes(drawn(description, path.suffix.lower(), pixels), path, overwrite)


def save_bytes(content: bytes, path: Path, overwrite: bool = False) -> None:
    """Write a file that appears only whole; raises as ``save_figure`` does."""
    try:
        with new_file(path, _is_figure if overwrite else None) as descriptor:
            write_all(descriptor, content, 0)
    except FileExistsError as error:
        msg = f"{path} exists already; choose another name, or say `--overwrite`, in Python overwrite=True"
        raise FigureError(msg) from error
    except OSError as error:
        msg = f"the figure {path} could not be written: {error.strerror}; {cures.to_write(error)}"
        raise FigureError(msg) from error


def refuse_existing_figure(path: Path, overwrite: bool, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise FigureError where ``save_figure`` would refuse; for asking before anything is read or drawn."""
    if path.suffix.lower() not in suffixes:
        known = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise FigureError(f"-o {path} ends in {path.suffix!r}; a figure is {known}")
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


def drawn(description: dict[str, Any], suffix: str, pixels: float = 2) -> bytes:
    """Return the bytes of a figure; ``suffix`` says how it is drawn."""
    if suffix == ".html":
        return drawn_frames([description], [""])
    _, convert = _libraries()
    clean = cleaned(description)
    try:
        if suffix == ".png":
            return bytes(convert.vegalite_to_png(clean, scale=pixels))
        if suffix == ".pdf":
            return bytes(convert.vegalite_to_pdf(clean))
        return str(convert.vegalite_to_svg(clean)).encode()
    except ValueError as error:  # the library's one error, whatever went wrong in it
        msg = f"the figure could not be drawn: {printable(str(error).splitlines()[0])}, a fault of this program"
        raise FigureError(msg) from error


def drawn_frames(descriptions: Sequence[dict[str, Any]], names: Sequence[str]) -> bytes:
    """Return the page of one figure, or of several with a slider."""
    _, convert = _libraries()
    clean = [cleaned(each) for each in descriptions]
    title = clean[0].get("title", {}).get("text", "probes")
    words = " ".join(title) if isinstance(title, list) else str(title)
    return page(clean, [printable(name) for name in names], words, convert.javascript_bundle()).encode()


def _libraries() -> tuple[Any, Any]:
    try:
        import altair
        import vl_convert
    except ImportError as error:
        raise FigureError(
            f"figures need altair and vl-convert ({error}); install them: pip install 'actstore[report]'"
        ) from error
    return altair, vl_convert
