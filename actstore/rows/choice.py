"""Which rows of every source are wanted, the first so many and of these a random sample; and what is said of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import DumpError, SourceError
from actstore.rows.labels import ALONE, without
from actstore.wording import hint, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.sources import Batch, Source
    from actstore.store.format import JSON

_DRAWN_ROWS = 2**20


@dataclass(frozen=True)
class RowChoice:
    """Which rows of every source.

    Args:
        limit: the first so many of each source, chosen before sampling; None for all.
        sample: the probability, between 0 and 1, with which each row is kept, on its own; None for all. Where rows
            are tokens or words of examples, these all run, and each row is kept or not.
        seed: of the sample. It also depends on the place of the item in the list of data and on its split, so that
            two items do not keep the same rows; not on the size of batches.

    Raises:
        DumpError: a limit below 1, or a sample that is no fraction.
    """

    limit: int | None = None
    sample: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            msg = f"limit is {self.limit}; expected at least 1"
            raise DumpError(msg)
        if self.sample is not None and not 0 < self.sample < 1:
            msg = f"sample is {self.sample}; expected a fraction between 0 and 1 (all rows: leave it out)"
            raise DumpError(msg)
        if self.seed < 0:
            msg = f"seed is {self.seed}; expected 0 or more"
            raise DumpError(msg)

    def limited(self, rows: int) -> int:
        """How many of ``rows`` the sample is drawn from."""
        return rows if self.limit is None else min(rows, self.limit)


class KeptRows:
    """The places that a choice keeps in one source, told in their order."""

    def __init__(self, choice: RowChoice, position: int, split: str) -> None:
        self._sample = choice.sample
        digest = hashlib.blake2b(split.encode(), digest_size=16).digest()
        words = np.frombuffer(digest, "<u4").tolist()
        self._seeds = [choice.seed, position, *words]
        self._draws = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self._seeds)))
        self._next = 0

    def among(self, rows: int) -> np.ndarray:
        """(kept,) int64, ascending: the places that are kept of the next ``rows``."""
        start, self._next = self._next, self._next + rows
        if self._sample is None:
            return np.arange(start, self._next)
        return start + np.flatnonzero(self._draws.random(rows) < self._sample)

    def within(self, place: int, rows: int) -> np.ndarray:
        """(rows,) bools: which of the rows of the example at ``place`` are kept, whatever was asked for before."""
        if self._sample is None:
            return np.ones(rows, bool)
        draws = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*self._seeds, place])))
        return draws.random(rows) < self._sample

    def count(self, rows: int) -> int:
        """How many are kept of the next ``rows``."""
        return rows if self._sample is None else sum(map(len, self._in_parts(rows)))

    def all(self, rows: int) -> np.ndarray | range:
        """The places that are kept of the next ``rows``, however many these are."""
        return range(rows) if self._sample is None else np.concatenate(self._in_parts(rows))

    def _in_parts(self, rows: int) -> list[np.ndarray]:
        return [self.among(min(_DRAWN_ROWS, rows - start)) for start in range(0, rows, _DRAWN_ROWS)]


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
    given: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    """(rows of the source,) what was given for each row, by name, where the data does not say it itself."""

    def check(self, source: Source) -> None:
        """Refuse, before anything runs, a column of the data that does not say it of every row.

        Raises:
            SourceError: by the name of the column.
        """
        for name, what in self._wanted():
            values = self._column(source, name)
            if values is not None:
                whole(values, f"--{what}-by {name!r} of {source.spec}", what)

    def document(self) -> dict[str, JSON]:
        """Return what was asked for, for the provenance; nothing where nothing was."""
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

    def _column(self, source: Source, name: str) -> np.ndarray | None:
        """(rows of the source,) what was given, or what a column of the data says; None where it has no such."""
        column = getattr(source, "column", None)
        found: np.ndarray | None = self.given.get(name)
        return column(name) if found is None and column is not None else found

    def _told(self, batch: Batch, source: Source, name: str, what: str) -> np.ndarray:
        """(rows,) text: what a column of the data, or else a target, says of the rows of a batch."""
        where = f"--{what}-by {name!r} of {source.spec}"
        values = self._column(source, name)
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
