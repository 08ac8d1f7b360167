"""Splits, groups and rows without a label, as a column of the data or a target says them of each row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import SourceError
from actstore.plain_labels import ALONE, without
from actstore.wording import hint, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.sources import Batch, Source
    from actstore.store.format import JSON


@dataclass(frozen=True)
class RowColumns:
    """What else is known of rows, by the name of a column of the data or of a target.

    Args:
        split_by: which says the split of each row; None for that of the item of data.
        group_by: which says the rows that belong together; None where nobody says.
        ignore: labels that mean "no label", of every target.
    """

    split_by: str | None = None
    group_by: str | None = None
    ignore: tuple[object, ...] = ()

    def check(self, source: Source) -> None:
        """Refuse, before anything runs, a column of the data that does not say it of every row.

        Raises:
            SourceError: by the name of the column.
        """
        column = getattr(source, "column", None)
        for name, what in self._wanted():
            values = None if column is None else column(name)
            if values is not None:
                whole(values, f"--{what}-by {name!r} of {source.spec}", what)

    def document(self) -> dict[str, JSON]:
        """What was asked for, for the provenance; nothing where nothing was."""
        ignored: list[JSON] = [str(value) for value in self.ignore]
        asked: dict[str, JSON] = {"split_by": self.split_by, "group_by": self.group_by, "ignore_label": ignored}
        return {name: value for name, value in asked.items() if value}

    def check_splits(self, splits: Sequence[str]) -> None:
        """Refuse a column of splits where the data names splits already.

        Raises:
            SourceError: with both.
        """
        named = sorted({*splits} - {""})
        if self.split_by is not None and named:
            msg = (
                f"--split-by {self.split_by!r} says the split of each row, but the data has the split of "
                f"{listed(named)} already; keep one of them"
            )
            raise SourceError(msg)

    def complete(self, batch: Batch, source: Source) -> Batch:
        """A batch of a source with its splits and groups, and without the labels to ignore.

        Raises:
            SourceError: no such column or target, or a row of which it says nothing.
        """
        told = {what: self._told(batch, source, name, what) for name, what in self._wanted()}
        targets = batch.targets
        if self.ignore:
            targets = {name: without(labels, self.ignore) for name, labels in targets.items()}
        return replace(batch, targets=targets, splits=told.get("split"), groups=told.get("group"))

    def _wanted(self) -> list[tuple[str, str]]:
        named = ((self.split_by, "split"), (self.group_by, "group"))
        return [(name, what) for name, what in named if name is not None]

    def _told(self, batch: Batch, source: Source, name: str, what: str) -> np.ndarray:
        """(rows,) text: what a column of the data, or else a target, says of the rows of a batch."""
        where = f"--{what}-by {name!r} of {source.spec}"
        column = getattr(source, "column", None)
        values = None if column is None else column(name)
        if values is not None:
            values = values[batch.places]
        elif name in batch.targets:
            values = _of_examples(batch, batch.targets[name], where)
        else:
            known = [*getattr(source, "columns", ()), *batch.targets]
            msg = f"{where}: there is no such column or target; {hint(name, known)}"
            raise SourceError(msg)
        return whole(values, where, what, batch.places)


def whole(values: np.ndarray, where: str, what: str, places: np.ndarray | None = None) -> np.ndarray:
    """(rows,) text of what must be said of every row; ``places`` are those of the rows, for the message.

    Raises:
        SourceError: a row of which nothing is said.
    """
    missing = np.ma.getmaskarray(values)
    if missing.any():
        row = int(np.argmax(missing))
        row = row if places is None else int(places[row])
        msg = f"{where}: row {row} has no {what}; every row needs one{ALONE[what]}"
        raise SourceError(msg)
    return np.array([str(value) for value in np.ma.getdata(values).tolist()], np.str_)


def _of_examples(batch: Batch, labels: np.ndarray, where: str) -> np.ndarray:
    """(rows,) what a target says of each example, where it may say it of each of its words."""
    if batch.words is None:
        return labels
    firsts = np.cumsum(batch.words) - batch.words
    missing, data = np.ma.getmaskarray(labels), np.ma.getdata(labels)
    first_of = np.repeat(firsts, batch.words)
    if bool(((data != data[first_of]) | (missing != missing[first_of])).any()):
        msg = (
            f"{where} differs between the words of a sentence, which stay together; it must be one per sentence"
        )
        raise SourceError(msg)
    return labels[firsts]
