"""The inputs of one split with their labels, in batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from actstore import arrays
from actstore.errors import SourceError
from actstore.rows.choice import KeptRows, RowChoice, RowColumns
from actstore.rows.label_marks import LabelCount
from actstore.sources.base import Batch, SlicedSource
from actstore.store.format import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from actstore.sources.base import Source


@dataclass(frozen=True)
class SplitData:
    """Inputs of one split, and the labels that were given for them.

    Args:
        split: "" where none was named.
        source: where the inputs come from.
        targets: (rows of the source,) labels by name, besides those that the source brings along itself. Where the
            source knows its words, there may be one per word instead.
    """

    split: str
    source: Source
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    columns: RowColumns = field(default_factory=RowColumns)
    """Which columns or targets say the split and the group of a row, and which labels are none."""
    row_ids: Sequence[str] | None = None
    """(rows of the source,) what its file calls the rows; None where they are counted."""
    tokens: bool = False
    """Whether the token of each row is to be a target; only the model's own tokenizer knows it."""
    left_out: Mapping[int, str] = field(default_factory=dict)
    """The places that are not read, each with the file that is bad there; of a source that can be sliced."""

    @property
    def row_unit(self) -> str:
        """Return what the source would have a row be."""
        return getattr(self.source, "row_unit", EXAMPLE)

    @property
    def word_counts(self) -> np.ndarray | None:
        """(rows of the source,) how many words each example has, where the source knows."""
        return getattr(self.source, "word_counts", None)

    def expected_words(self, choice: RowChoice) -> int | None:
        """How many words are stored; None where only reading tells."""
        if self.word_counts is None or choice.sample is not None:
            return None
        return int(self.word_counts[: choice.limit].sum())

    def expected_rows(self, choice: RowChoice, position: int = 0) -> int | None:
        """How many rows ``batches`` gives; None where only reading tells."""
        if self.source.rows is None:
            return None
        if self.left_out:
            return len(self.places(choice, position))
        return KeptRows(choice, position, self.split).count(choice.limited(self.source.rows))

    def places(self, choice: RowChoice, position: int = 0) -> np.ndarray | range:
        """The places, ascending, of the rows that ``batches`` gives, of a source that can be sliced."""
        places = KeptRows(choice, position, self.split).all(choice.limited(self.source.rows or 0))
        return np.setdiff1d(places, [*self.left_out], assume_unique=True) if self.left_out else places

    def batch_rows(self, batch_rows: int, choice: RowChoice, position: int = 0) -> list[int] | None:
        """The size of each batch that ``batches`` gives; None where only reading tells."""
        rows = self.expected_rows(choice, position)
        if rows is None or not isinstance(self.source, SlicedSource):
            return None
        return [min(batch_rows, rows - start) for start in range(0, rows, batch_rows)]

    def check_lengths(self) -> None:
        """Refuse labels of another length than the data, where that is known, and columns that are not there.

        Raises:
            SourceError: with both counts.
        """
        if self.source.rows is not None:
            self._compare_lengths(self.source.rows)
        self.columns.check(self.source)

    def batches(
        self, batch_rows: int, choice: RowChoice, position: int = 0, numbers: range | None = None
    ) -> Generator[Batch]:
        """The batches of the rows that are wanted, each with all its labels and the places of its rows.

        Args:
            batch_rows: how many rows to a batch, where the source lets us choose.
            choice: which rows. Batches that someone else made are thinned, and left out where no row is wanted.
            position: the place of this item in the list of data.
            numbers: only the batches with these numbers, counted from 0 among those that the item gives; None for all.
                The others are not read where the source can be sliced, and read over where it cannot.

        Raises:
            SourceError: no rows, none that the sample kept, or labels of another length.
        """
        source, count = self.source, LabelCount()
        if isinstance(source, SlicedSource):
            found = self._sliced(source, batch_rows, self.places(choice, position), numbers)
        else:
            kept = KeptRows(choice, position, self.split)
            found = self._thinned(source.batches(choice.limited(batch_rows)), choice, kept, numbers)
        known = {*self.targets, *getattr(source, "numeric", ())}
        for batch in found:
            complete = self.columns.complete(batch, source)
            count.add({name: labels for name, labels in complete.targets.items() if name not in known})
            yield complete
        count.warn()

    def _sliced(
        self, source: SlicedSource, batch_rows: int, places: np.ndarray | range, numbers: range | None
    ) -> Generator[Batch]:
        self._compare_lengths(source.rows)
        if not len(places):
            raise self._nothing_kept(source.rows)
        count = -(-len(places) // batch_rows)
        with source.slicing() as take:
            for number in range(count) if numbers is None else numbers:
                if number >= count:
                    return
                chosen = np.asarray(places[number * batch_rows : (number + 1) * batch_rows], dtype=np.int64)
                yield self._labelled(take(chosen), chosen)

    def _thinned(
        self, batches: Iterator[Batch], choice: RowChoice, kept: KeptRows, numbers: range | None
    ) -> Generator[Batch]:
        stop = given = 0
        for batch in batches:
            start, stop = stop, choice.limited(stop + batch.rows)
            self._check_labels(stop)
            places = kept.among(stop - start)
            if len(places):
                if numbers is None or given in numbers:
                    yield self._labelled(self._picked(batch, places - start), places)
                given += 1
                if numbers is not None and given >= numbers.stop:
                    return
            if stop == choice.limit:
                break
        else:
            if not stop:
                msg = f"{self.source.spec} gave no rows"
                raise SourceError(msg)
            self._compare_lengths(stop)
        if not given:
            raise self._nothing_kept(stop)

    def _labelled(self, batch: Batch, places: np.ndarray) -> Batch:
        words = batch.words
        labels = {
            name: values[places] if words is None else values[self._word_places(len(values), words, places)]
            for name, values in self.targets.items()
        }
        return Batch(batch.inputs, batch.rows, {**batch.targets, **labels}, places, words)

    def _word_places(self, labels: int, words: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(sum of words,) which of so many labels is that of each word: its own, or that of its example."""
        if self.word_counts is None or labels == len(self.word_counts):
            return np.repeat(places, words)
        before = np.cumsum(self.word_counts) - self.word_counts
        return np.repeat(before[places] - (np.cumsum(words) - words), words) + np.arange(words.sum())

    def _picked(self, batch: Batch, rows: np.ndarray) -> Batch:
        if len(rows) == batch.rows:
            return batch
        words, labelled = batch.words, rows
        if words is not None:
            words, labelled = (
                words[rows],
                np.flatnonzero(np.isin(np.repeat(np.arange(batch.rows), words), rows)),
            )
        targets = {name: values[labelled] for name, values in batch.targets.items()}
        try:
            if rows[-1] == len(rows) - 1:
                inputs = arrays.first_rows(batch.inputs, len(rows))
            else:
                inputs = arrays.take_rows(batch.inputs, rows)
            return Batch(inputs, len(rows), targets, words=words)
        except (TypeError, IndexError) as error:
            msg = f"rows of a batch of {self.source.spec} cannot be picked: {error}"
            raise SourceError(msg) from error

    def _nothing_kept(self, rows: int) -> SourceError:
        return SourceError(
            f"the sample keeps none of the {rows:,} rows of {self.source.spec}; take a larger one, or another seed"
        )

    def _check_labels(self, rows: int) -> None:
        if any(len(labels) < rows for labels in self.targets.values()):
            self._compare_lengths(rows)

    def _compare_lengths(self, rows: int) -> None:
        words = None if self.word_counts is None else int(self.word_counts.sum())
        for name, labels in self.targets.items():
            if len(labels) not in (rows, words):
                what = f"{rows:,} rows; one label per row"
                if words is not None:
                    what = f"{words:,} words in {rows:,} sentences; one label per word, or per sentence,"
                msg = f"target {name!r} has {len(labels):,} labels but {self.source.spec} has {what} is needed"
                raise SourceError(msg)
