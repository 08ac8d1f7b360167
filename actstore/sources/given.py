"""What Python users have at hand, as rows that any reader may cut: texts, and the named inputs of a model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.errors import SourceError
from actstore.rows.ids import is_pandas
from actstore.sources.base import Batch
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

__all__ = ["NamedSource", "TextsSource", "are_named_inputs", "texts_of"]

_INPUTS = ("input_ids", "inputs_embeds", "pixel_values", "input_values", "input_features")
"""What transformers' models are given by name; one of these tells inputs from splits."""


class TextsSource:
    """Texts, a row each."""

    def __init__(self, texts: Sequence[str], spec: str) -> None:
        self.spec, self.rows = spec, len(texts)
        self._texts = texts

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Takes texts: a list of them."""
        yield lambda places: Batch([self._texts[int(place)] for place in places], len(places))

    def opened(self) -> AbstractContextManager[Any]:
        """Texts are no array."""
        msg = f"{self.spec} holds text; expected an array of numbers"
        raise SourceError(msg)


class NamedSource:
    """The inputs of a model by name, (rows, ...) each, as a tokenizer gives them."""

    def __init__(self, inputs: Mapping[str, Any], spec: str) -> None:
        self.spec = spec
        self._inputs = {name: _array(name, values, spec) for name, values in inputs.items()}
        lengths = {name: len(values) for name, values in self._inputs.items()}
        self.rows = next(iter(lengths.values()))
        if not self.rows or len({*lengths.values()}) > 1:
            counts = ", ".join(f"{name!r} has {count:,}" for name, count in lengths.items())
            msg = f"the inputs of {spec} differ in their rows, or have none: {counts}; expected one row per example"
            raise SourceError(msg)

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Takes rows of every input."""
        yield lambda places: Batch(arrays.take_rows(self._inputs, places), len(places))

    def opened(self) -> AbstractContextManager[Any]:
        """Several inputs are no array."""
        msg = f"{self.spec} are inputs by name, {listed(list(self._inputs))}; expected one array"
        raise SourceError(msg)


def are_named_inputs(value: object) -> bool:
    """Whether a mapping holds what one model is given together, as a tokenizer's output does, and no splits."""
    return isinstance(value, Mapping) and any(name in value for name in _INPUTS)


def texts_of(value: object, spec: str) -> list[str] | None:
    """Return texts that are a row each: those of a list, or of a column of pandas, whose index says nothing here.

    Raises:
        SourceError: text beside something else, such as a missing value.
    """
    column = is_pandas(value) or (isinstance(value, np.ndarray) and value.dtype.kind in "OU")
    if column and getattr(value, "ndim", 0) == 1:
        found: list[Any] = value.tolist()  # type: ignore[attr-defined]
    elif isinstance(value, list | tuple):
        found = list(value)
    else:
        return None
    if not any(isinstance(one, str) for one in (found if column else found[:1])):
        return None
    for row, one in enumerate(found):
        if not isinstance(one, str):
            msg = (
                f"row {row} of {spec} is {one!r:.60} among texts; expected text in each: leave that row out, or fill "
                "it in"
            )
            raise SourceError(msg)
    return [str(text) for text in found]


def _array(name: str, values: Any, spec: str) -> Any:
    """An input as an array with rows; a list of lists as a tokenizer gives it without ``return_tensors``."""
    if arrays.is_array(values):
        if not values.shape:
            msg = f"input {name!r} of {spec} is a single {values.dtype}; expected (rows, ...)"
            raise SourceError(msg)
        try:
            arrays.check_mask(values)
        except TypeError as error:
            msg = f"input {name!r} of {spec} is no data: {error}"
            raise SourceError(msg) from error
        return values
    try:
        found = np.asarray(values)
    except ValueError:
        found = np.asarray(None)
    if found.dtype.kind not in "biuf" or not found.shape:
        msg = (
            f"input {name!r} of {spec} is {arrays.describe(values)}, not (rows, ...) of one length each; give the "
            "tokenizer padding=True, or give the texts themselves"
        )
        raise SourceError(msg)
    return found
