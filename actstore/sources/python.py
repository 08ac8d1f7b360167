"""Python objects: ``file.py:name``, an array or an iterable of batches, or a function that gives one.

A batch is the inputs, or ``(inputs, labels)`` as a DataLoader gives them; several inputs are a tuple or a dict of their
own, ``((a, b), labels)``. Labels are one array, which becomes the target ``label``, or a dict of several by name.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from actstore import arrays
from actstore.errors import SourceError
from actstore.rows.ids import index_of
from actstore.sources.arrays import ArraySource
from actstore.sources.base import Batch, LabelColumn, Source, check_labels
from actstore.sources.given import NamedSource, TextsSource, are_named_inputs, texts_of
from actstore.usercode import explain, load_object

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np

FORMS = "file.py:name"
TARGET = "label"

_SPEC = re.compile(r".+\.py:[^:/]+", re.DOTALL)
_RANDOM = {"RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler"}


class RowOrderWarning(UserWarning):
    """The rows come in another order, or more often, than their ids say."""


class BatchSource:
    """Batches that someone else makes, in their order and of their size; ``target`` is what their labels are called."""

    def __init__(self, batches: Iterable[object], spec: str, target: str = TARGET) -> None:
        self.spec = spec
        self.rows: int | None = None
        self.shuffled = _is_shuffled(batches)
        self._batches, self._target = batches, target

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """The batches as they are; ``batch_rows`` is for sources that can choose."""
        self._warn_of_order()
        for number, item in enumerate(self._items(), start=1):
            where = f"batch {number} of {self.spec}"
            inputs, labels = _pair(item, where)
            try:
                rows = arrays.count_rows(inputs)
                arrays.check_mask(inputs)
            except TypeError as error:
                msg = f"{where} is not a batch of inputs: {error}"
                raise SourceError(msg) from error
            if rows:
                yield Batch(inputs, rows, self._targets(labels, rows, where))

    def opened(self) -> AbstractContextManager[Any]:
        """Batches are no array."""
        msg = f"{self.spec} is an iterable of batches; expected an array"
        raise SourceError(msg)

    def _warn_of_order(self) -> None:
        """Warn where the ids of rows are not their places in the data set, or where workers repeat it."""
        if self.shuffled:
            msg = (
                f"{self.spec} shuffles its rows (RandomSampler): their ids count the rows as they come, not their "
                "places in the data set, so that no other labels can be joined; shuffle=False keeps the order"
            )
            warnings.warn(msg, RowOrderWarning, stacklevel=2)

    def _items(self) -> Iterator[object]:
        try:
            yield from self._batches
        except Exception as error:
            msg = f"{self.spec} failed to give its next batch: {explain(error)}"
            raise SourceError(msg) from error

    def _targets(self, labels: object, rows: int, where: str) -> dict[str, np.ndarray]:
        if labels is None:
            return {}
        named = labels if isinstance(labels, Mapping) else {self._target: labels}
        targets = {str(name): check_labels(values, f"{name!r} in {where}") for name, values in named.items()}
        for name, values in targets.items():
            if len(values) != rows:
                msg = f"{where} has {rows} inputs but {len(values)} labels {name!r}; expected one label per row"
                raise SourceError(msg)
        return targets


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of what ``name`` is in the user's file."""
    if not _SPEC.fullmatch(spec):
        return None
    return [(split, from_object(_value(spec), spec))]


def labels(spec: str) -> LabelColumn | None:
    """Labels that are, or are returned by, ``name`` in the user's file; a pandas object may say whose in its index."""
    if not _SPEC.fullmatch(spec):
        return None
    values = _value(spec)
    index = index_of(values)
    if index is None or not len(index) or not all(isinstance(row_id, str) for row_id in index):
        return LabelColumn(values)
    return LabelColumn(values.to_numpy(), index.tolist())  # type: ignore[attr-defined]


def from_object(value: object, spec: str, target: str = TARGET) -> Source:
    """A source of an array's rows, of texts, of a model's inputs by name, or of an iterable's batches.

    Raises:
        SourceError: ``value`` is none of these.
    """
    texts = texts_of(value, spec)
    if texts is not None:
        return TextsSource(texts, spec)
    if are_named_inputs(value):
        return NamedSource(value, spec)  # type: ignore[arg-type]
    if arrays.is_array(value):
        return ArraySource(value, spec)
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        msg = (
            f"{spec} is no data but {arrays.describe(value)}; an array, or an iterable of batches "
            "(a DataLoader, for example), is needed"
        )
        raise SourceError(msg)
    return BatchSource(value, spec, target)


def _value(spec: str) -> object:
    value = load_object(spec, SourceError)
    if not inspect.isroutine(value):
        return value
    try:
        return value()
    except Exception as error:
        msg = f"{spec} failed: {explain(error)}"
        raise SourceError(msg) from error


def _pair(item: object, where: str) -> tuple[object, object]:
    if not isinstance(item, (tuple, list)) or not item or isinstance(item[0], (str, bytes, int, float)):
        return item, None
    if len(item) > 2:
        msg = (
            f"{where} is a {arrays.describe(item)}; expected inputs, or (inputs, labels): put several inputs "
            "in a tuple or a dict of their own, ((a, b), labels)"
        )
        raise SourceError(msg)
    return item[0], item[1] if len(item) == 2 else None


def _is_shuffled(batches: object) -> bool:
    """Whether a torch DataLoader draws its rows at random."""
    samplers = [getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None)]
    samplers.append(getattr(samplers[1], "sampler", None))
    names = {kind.__name__ for sampler in samplers for kind in type(sampler).__mro__}
    return bool(names & _RANDOM) or any(getattr(sampler, "shuffle", False) is True for sampler in samplers)
