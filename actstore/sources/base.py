"""What a source is: inputs of a model in batches, with the labels that come along.

A new kind of input is one file in this folder with

- ``FORMS``: how its SPEC is written, for messages (``FILE.npy``);
- ``resolve(spec, split)``: the sources of a SPEC, each with its split (the user's, or the source's own), or None where
  the SPEC is not its;
- ``features(spec, split)``, where the SPEC means something else as features of `probe fit` (of a table its numbers);
- ``labels(spec)``, where labels can be read from it too: a flat array, a ``LabelColumn``, or None.

A source may have ``columns``, the names of what its file says of each row, with ``column(name)``, (rows,) text masked
where there is none, or None where it has no such: splits and groups are named by them. And ``row_ids``, (rows,) texts,
where its file names its rows; and ``file``, the path of that file. It may have ``offered``, the names of targets that
come along where they are asked for by name alone, with ``offer(name)``, (rows,) labels, or (sum of words,); and
``brought``, those that come along anyway.

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
from actstore.rows.ids import index_of, is_pandas
from actstore.rows.labels import plain_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path


@dataclass(frozen=True)
class Batch:
    """Examples that go through the model together: the rows of the source.

    Args:
        inputs: an array, a tuple or dict of arrays, or whatever else the model takes.
        rows: how many examples these are.
        targets: (rows,) labels that came along, by name; (sum of words,) where there are ``words``.
        indices: (rows,) int64, the place of each row in its source; None until ``SplitData`` tells.
        words: (rows,) int64, how many words each example has; None where a row of the source is no example of words.
        splits: (rows,) text, where each row has a split of its own; None for that of the item of data.
        groups: (rows,) text, which rows belong together; None where nobody said. ``SplitData`` tells both.
    """

    inputs: object
    rows: int
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    indices: np.ndarray | None = None
    words: np.ndarray | None = None
    splits: np.ndarray | None = None
    groups: np.ndarray | None = None

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
class LabelColumn:
    """Labels of a file that also says which row each of them is of.

    Args:
        values: (labels,) as ``check_labels`` takes them.
        ids: (labels,) what the file calls the rows; None where it does not say.
        cells: (labels,) the text of a table without types, whose labels are whole numbers where all that say something
            are; None where ``values`` have a type of their own.
        file: the table or folder that they are in: data of the same file has its rows in the same order.
        others: (labels,) the other columns of the table, by their names.
    """

    values: object
    ids: Sequence[str] | None = None
    cells: Sequence[str] | None = None
    file: Path | None = None
    others: Mapping[str, Sequence[object]] = field(default_factory=dict)


def check_labels(values: object, where: str) -> np.ndarray:
    """Labels as a flat array of whole numbers, booleans or text, masked where a row has none.

    Raises:
        SourceError: not one label per row, or labels that no class can be told by (see ``plain_labels``); a pandas
            object whose index is not that of rows in their order.
    """
    index = index_of(values)
    if index is not None:
        shown = f"it begins with {index.tolist()[0]!r}" if len(index) else "it is empty"
        msg = (
            f"{where} is a pandas {type(values).__name__} whose index is not 0, 1, 2, ... in order ({shown}), so it is "
            "no telling which rows the labels are of; give .to_numpy() to take them by position"
        )
        raise SourceError(msg)
    try:
        if not isinstance(values, np.ndarray) and not is_pandas(values) and arrays.speaks_arrays(values):
            values = arrays.to_bits(values)[0]
        return plain_labels(values, where)
    except (TypeError, ValueError) as error:
        msg = f"{where} cannot be read as labels: {error}"
        raise SourceError(msg) from error
