"""What a self-check is about, and how it says what it found."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from actstore.activations import Captured
from actstore.dumping.comparing import TOLERANCES, WIDE, Columns
from actstore.errors import DumpError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.activations import ModelLayer
    from actstore.adapters import Adapter
    from actstore.dumping.comparing import Difference, Parts
    from actstore.store.format import JSON

_OFF = "mend that, or dump it as it is with --no-selfcheck (selfcheck=False in Python)"


class SelfCheckWarning(UserWarning):
    """Something that the self-check found and that does not forbid a dump."""


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Args:
        adapter: of the model.
        every: all layers of the model, whose dtypes tell how precisely it computes.
        layers: those asked for.
        inputs: of the first batch.
        model: the adapter's provenance as it was before.
        ids: of the rows of ``inputs``, for whoever tells its errors.
    """

    adapter: Adapter
    every: Sequence[ModelLayer]
    layers: Sequence[ModelLayer]
    inputs: object
    model: Mapping[str, JSON]
    ids: Sequence[str] = ()
    _told: set[str] = field(default_factory=set, compare=False)

    @property
    def tolerance(self) -> float:
        """Of floats, relative to the largest magnitude of a column."""
        return max((TOLERANCES.get(layer.dtype, WIDE) for layer in self.every), default=WIDE)

    def columns(self, layer: ModelLayer, parts: Parts) -> Columns:
        """Return the columns of a layer, of which these are examples."""
        return Columns.of(Captured(np.empty(0), layer.dtype, layer.axes), parts, self.tolerance)

    def warn(self, kind: str, what: str) -> None:
        """Warn of what does not forbid a dump: once of each kind, for the first layer."""
        if kind not in self._told:
            self._told.add(kind)
            warnings.warn(f"self-check: {what}", SelfCheckWarning, stacklevel=2)


def named(layer: ModelLayer) -> str:
    """Return how messages call a layer."""
    return f"layer {layer.name!r} ({layer.type})"


def refusal(what: str, difference: Difference, why: str) -> DumpError:
    """Return the error for a difference that is no rounding."""
    return DumpError(
        f"self-check: {what}, by up to {difference.largest:.2g} where at most {difference.allowed:.2g} is rounding: "
        f"{why}; {_OFF}"
    )
