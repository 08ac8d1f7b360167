"""`actstore verify`: whether every byte of a store is as it was written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from cli.result import Failure, Result, command
from cli.shared import ProgressLine, size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actstore.store.verifying.report import Report, VerifyProgress


@command()
@click.argument("store")
def verify(store: str) -> Result:
    """Compare every byte of STORE with the hashes recorded when it was written.

    Prints each damage with its file and its place, and then exits with code 1. Of a store that is unfinished, what is
    sealed is verified.

    \b
    Example:
      actstore verify digits.h5
    """
    import actstore

    with ProgressLine() as line:
        report = actstore.verify(store, _shown_on(line) if line.active else None)
    text = [f"{_shown(damage.path, report)}: {damage.place}: {damage.reason}" for damage in report.damages]
    text += _summary(store, report)
    failure = Failure("damaged", [text[-1]], in_text=True) if report.damages else None
    return Result(describe(report), text, failure=failure)


def _shown_on(line: ProgressLine) -> Callable[[VerifyProgress], None]:
    began_s = time.monotonic()

    def show(progress: VerifyProgress) -> None:
        speed = progress.done_bytes / max(time.monotonic() - began_s, 1e-9)
        line.show(
            f"{size(progress.done_bytes)} of {size(progress.total_bytes)}, {size(speed)}/s: {progress.path.name}"
        )

    return show


def _shown(path: Path, report: Report) -> str:
    """A file as its place in the store."""
    return str(path.relative_to(report.path)) if path != report.path else path.name


def _summary(store: str, report: Report) -> list[str]:
    lines = []
    left = len(report.leftovers)
    if left:
        what = "1 file left over from an interrupted writer, which belongs to no row"
        if left > 1:
            what = f"{left:,} files left over from interrupted writers, which belong to no row"
        lines.append(f"{store}: {what}")
    if report.damages:
        count = "1 damage" if len(report.damages) == 1 else f"{len(report.damages):,} damages"
        return [*lines, f"{store}: {count}; restore what is damaged from a copy"]
    sealed = "" if report.complete else " sealed; the store is unfinished"
    rows = f"{report.rows:,} row{'s' * (report.rows != 1)}{sealed}"
    lines.append(f"{rows}, {report.bytes:,} bytes: every byte is as it was written")
    return lines


def describe(report: Report) -> dict[str, Any]:
    """Return what `verify` prints, as plain values."""
    return {
        "path": str(report.path),
        "rows": report.rows,
        "bytes": report.bytes,
        "complete": report.complete,
        "damages": [
            {"path": str(damage.path), "place": damage.place, "reason": damage.reason}
            for damage in report.damages
        ],
        "leftovers": [str(path) for path in report.leftovers],
    }
