"""What a source is: inputs of a model in batches, with the labels that come along.

A new kind of input is one file in this folder with

- ``FORMS``: how its SPEC is written, for messages (``FILE.npy``);
- ``resolve(spec, split)``: the sources of a SPEC, each with its split (the user's, or the source's own), or None where
  the SPEC is not its;
- ``labels(spec)``, where labels can be read from it too: a flat array, or None.

A source counts examples: what goes through the model. Where a row of the store is rather to be a word of them, it says
``row_unit = "word"``, its batches have ``words`` and a label per word, and ``word_counts``, (examples,) int64, if it
knows, how many words each example has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from actstore import arrays
from actstore.errors import SourceError
from actstore.row_choice import KeptRows, RowChoice
from actstore.store.format import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class Batch:
    """Examples that go through the model together: the rows of the source.

    Args:
        inputs: an array, a tuple or dict of arrays, or whatever else the model takes.
        rows: how many examples these are.
        targets: (rows,) labels that came along, by name; (sum of words,) where there are ``words``.
        indices: (rows,) int64, the place of each row in its source; None until ``SplitData`` tells.
        words: (rows,) int64, how many words each example has; None where a row of the source is no example of words.
    """

    inputs: object
    rows: int
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    indices: np.ndarray | None = None
    words: np.ndarray | None = None

    @property
    def places(self) -> np.ndarray:
        """(rows,) int64: ``indices``, or the first rows."""
        return np.arange(self.rows) if self.indices is None else self.indices


class BatchedSource(Protocol):
    """Inputs in an order of their own, the same every time they are read, that can only be read one after another."""

    spec: str
    rows: int | None
    """None where only reading tells."""

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """Every row once; batches of ``batch_rows``, the last one shorter, unless the source has batches of its own."""
        ...

    def opened(self) -> AbstractContextManager[Any]:
        """All rows as one array that can be sliced, where the source has such; SourceError where it has not."""
        ...


@runtime_checkable
class SlicedSource(Protocol):
    """Inputs of which any rows can be read without the others."""

    spec: str
    rows: int

    def slicing(self) -> AbstractContextManager[Callable[[np.ndarray], Batch]]:
        """A function that reads a batch: copies of the rows at these places, (count,) int64, ascending."""
        ...

    def opened(self) -> AbstractContextManager[Any]:
        """As of a ``BatchedSource``."""
        ...


Source: TypeAlias = BatchedSource | SlicedSource


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
    left_out: Mapping[int, str] = field(default_factory=dict)
    """The places that are not read, each with the file that is bad there; of a source that can be sliced."""

    @property
    def row_unit(self) -> str:
        """What the source would have a row be."""
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
        """Refuse labels of another length than the data, where that is known.

        Raises:
            SourceError: with both counts.
        """
        if self.source.rows is not None:
            self._compare_lengths(self.source.rows)

    def batches(
        self, batch_rows: int, choice: RowChoice, position: int = 0, numbers: range | None = None
    ) -> Generator[Batch]:
        """The batches of the rows that are wanted, each with all its labels and the places of its rows.

        Args:
            batch_rows: how many rows to a batch, where the source lets us choose.
            choice: which rows. Batches that someone else made are thinned, and left out where no row is wanted.
            position: the place of this item in the list of data.
            numbers: only the batches with these numbers, counted from 0 among those that the item gives; None for all.
                The others are not read where the source can be sliced, and read over where it can not.

        Raises:
            SourceError: no rows, none that the sample kept, or labels of another length.
        """
        source = self.source
        if isinstance(source, SlicedSource):
            yield from self._sliced(source, batch_rows, self.places(choice, position), numbers)
        else:
            kept = KeptRows(choice, position, self.split)
            yield from self._thinned(source.batches(choice.limited(batch_rows)), choice, kept, numbers)

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
            msg = f"rows of a batch of {self.source.spec} can not be picked: {error}"
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
                msg = (
                    f"target {name!r} has {len(labels):,} labels but {self.source.spec} has {what} was expected"
                )
                raise SourceError(msg)


def check_labels(values: object, where: str) -> np.ndarray:
    """Labels as a flat array of whole numbers, booleans or text.

    Bytes become text, whole floats become integers (many files hold classes so); a masked array stays masked.

    Raises:
        SourceError: not one label per row, or labels that no class can be told by.
    """
    labels = values if isinstance(values, np.ndarray) else _as_array(values, where)
    if labels.ndim != 1:
        hint = "" if labels.ndim else ": put single examples into batches, with a DataLoader for example"
        msg = f"{where} has shape {labels.shape}; one label per row was expected, (rows,){hint}"
        raise SourceError(msg)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    elif labels.dtype.kind == "f" and bool(((labels == np.floor(labels)) & (np.abs(labels) < 2**53)).all()):
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iubU":
        msg = f"{where} has dtype {labels.dtype}; labels are whole numbers, booleans or text"
        raise SourceError(msg)
    return labels


def _as_array(values: object, where: str) -> np.ndarray:
    try:
        return arrays.to_bits(values)[0] if arrays.speaks_arrays(values) else np.asarray(values)
    except (TypeError, ValueError) as error:
        msg = f"{where} can not be read as labels: {error}"
        raise SourceError(msg) from error
