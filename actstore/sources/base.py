"""What a source is: inputs of a model in batches, with the labels that come along.

A new kind of input is one file in this folder with

- ``FORMS``: how its SPEC is written, for messages (``FILE.npy``);
- ``resolve(spec, split)``: the sources of a SPEC, each with its split (the user's, or the source's own), or None where
  the SPEC is not its;
- ``labels(spec)``, where labels can be read from it too: a flat array, or None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from actstore import interop
from actstore.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together.

    Args:
        inputs: an array, a tuple or dict of arrays, or whatever else the model takes.
        rows: how many rows these are.
        targets: (rows,) labels that came along, by name.
    """

    inputs: object
    rows: int
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)


class Source(Protocol):
    """Inputs in an order of their own, the same every time they are read."""

    spec: str
    rows: int | None
    """None where only reading tells."""

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """Every row once; batches of ``batch_rows``, the last one shorter, unless the source has batches of its own."""
        ...

    def opened(self) -> AbstractContextManager[Any]:
        """All rows as one array that can be sliced, where the source has such; SourceError where it has not."""
        ...


@dataclass(frozen=True)
class SplitData:
    """Inputs of one split, and the labels that were given for them.

    Args:
        split: "" where none was named.
        source: where the inputs come from.
        targets: (rows of the source,) labels by name, besides those that the source brings along itself.
    """

    split: str
    source: Source
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)

    def expected_rows(self, limit: int | None) -> int | None:
        """How many rows ``batches`` gives; None where only reading tells."""
        rows = self.source.rows
        return rows if rows is None or limit is None else min(rows, limit)

    def check_lengths(self) -> None:
        """Refuse labels of another length than the data, where that is known.

        Raises:
            SourceError: with both counts.
        """
        if self.source.rows is not None:
            self._compare_lengths(self.source.rows)

    def batches(self, batch_rows: int, limit: int | None) -> Generator[Batch]:
        """The batches of the first ``limit`` rows, each with all its labels.

        Raises:
            SourceError: no rows, or labels of another length.
        """
        stop = 0
        for batch in self.source.batches(batch_rows if limit is None else min(batch_rows, limit)):
            start, stop = stop, stop + batch.rows
            if limit is not None and stop > limit:
                stop = limit
                batch = _head(batch, limit - start)
            labels = {name: values[start:stop] for name, values in self.targets.items()}
            if any(len(values) < batch.rows for values in labels.values()):
                self._compare_lengths(stop)
            yield Batch(batch.inputs, batch.rows, {**batch.targets, **labels})
            if stop == limit:
                return
        if not stop:
            msg = f"{self.source.spec} gave no rows"
            raise SourceError(msg)
        self._compare_lengths(stop)

    def _compare_lengths(self, rows: int) -> None:
        for name, labels in self.targets.items():
            if len(labels) != rows:
                msg = (
                    f"target {name!r} has {len(labels):,} labels but {self.source.spec} has {rows:,} rows; "
                    "one label per row was expected"
                )
                raise SourceError(msg)


def _head(batch: Batch, rows: int) -> Batch:
    targets = {name: values[:rows] for name, values in batch.targets.items()}
    return Batch(interop.first_rows(batch.inputs, rows), rows, targets)


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
        return interop.to_bits(values)[0] if interop.is_array(values) else np.asarray(values)
    except (TypeError, ValueError) as error:
        msg = f"{where} can not be read as labels: {error}"
        raise SourceError(msg) from error
