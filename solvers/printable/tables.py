"""Tables as a terminal and a notebook show them: aligned text of 80 columns, or HTML in which every name is text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from solvers.printable import html_safe, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["Column", "html_table", "text_table"]

WIDTH = 80
ROWS_SHOWN = 200
_NAME_AT_LEAST = 16


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: its heading.
        cells: (rows,) texts.
        left: whether they are names, which begin at the left and may be shortened.
        spare: how soon it is left out where the table is too wide: the highest first, 0 never.
    """

    name: str
    cells: Sequence[str]
    left: bool = False
    spare: int = 0


def text_table(columns: Iterable[Column], width: int = WIDTH) -> str:
    """Return aligned columns, within ``width`` where leaving columns out and shortening names allows."""
    shown = [_printable(column) for column in columns]
    while _width(shown) > width and any(column.spare for column in shown):
        shown.remove(max(shown, key=lambda column: column.spare))
    names = [column for column in shown if column.left]
    over = _width(shown) - width
    if over > 0 and names:
        widest = max(names, key=_column_width)
        room = max(_NAME_AT_LEAST, _column_width(widest) - over)
        shown[shown.index(widest)] = _shortened(widest, room)
    lines = list(zip(*([column.name, *column.cells] for column in shown), strict=True))
    widths = [_column_width(column) for column in shown]
    rows = [
        "  ".join(
            cell.ljust(width) if column.left else cell.rjust(width)
            for cell, width, column in zip(line, widths, shown, strict=True)
        ).rstrip()
        for line in lines[: ROWS_SHOWN + 1]
    ]
    return "\n".join([*rows, *_rest(len(lines) - 1)])


def html_table(columns: Collection[Column]) -> str:
    """Return a table in HTML, with all of its columns."""
    header = "".join(f"<th{_align(column)}>{html_safe(column.name)}</th>" for column in columns)
    rows = list(zip(*(column.cells for column in columns), strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_align(column)}>{html_safe(cell)}</td>" for cell, column in zip(row, columns, strict=True)
        )
        + "</tr>"
        for row in rows[:ROWS_SHOWN]
    )
    rest = "".join(f"<p>{html_safe(line)}</p>" for line in _rest(len(rows)))
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _rest(rows: int) -> list[str]:
    return [f"... and {rows - ROWS_SHOWN:,} more"] if rows > ROWS_SHOWN else []


def _align(column: Column) -> str:
    return f" style='text-align:{'left' if column.left else 'right'};white-space:nowrap'"


def _printable(column: Column) -> Column:
    return Column(column.name, [printable(cell) for cell in column.cells], column.left, column.spare)


def _column_width(column: Column) -> int:
    return max(map(len, [column.name, *column.cells]))


def _width(columns: Sequence[Column]) -> int:
    return sum(map(_column_width, columns)) + 2 * (len(columns) - 1)


def _shortened(column: Column, room: int) -> Column:
    """Names with what they share left out, or else their middle; as they are where two would read the same."""
    several = list(set(column.cells))
    before = _common(several) if len(several) > 1 else 0
    after = _common([name[before:][::-1] for name in several]) if len(several) > 1 else 0
    short = [_within(cell, room, before, after) for cell in column.cells]
    told_apart = len(set(short)) == len(set(column.cells))
    return Column(column.name, short, column.left, column.spare) if told_apart else column


def _common(names: Sequence[str]) -> int:
    """How many characters all names begin with."""
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(last)))


def _within(cell: str, room: int, before: int, after: int) -> str:
    """A name of at most ``room`` characters, of which the first ``before`` and the last ``after`` are as in others."""
    if len(cell) <= room:
        return cell
    own = len(cell) - before - after
    spare = room - own - 2
    if spare < 0 or not before + after:
        head = (room - 1) // 3
        return f"{cell[:head]}…{cell[len(cell) - (room - 1 - head) :]}"
    kept_after = min(after, spare - min(before, spare // 2))
    kept_before = min(before, spare - kept_after)
    begin, end = before - kept_before, len(cell) - after + kept_after
    return "…" * (begin > 0) + cell[begin:end] + "…" * (end < len(cell))
