"""The self-check: a model gives the same rows again, and a row alone what it gives it among others.

Before a dump begins, up to 8 rows of its first batch (in every rank the first of all) run twice and then one by one.
The layers asked for, before any reduction, must agree, in their floats, relative to the largest magnitude that the
layer has in these rows:

- within 1e-3 where every layer of the model is float32 or wider, 2e-2 where one is float16, 5e-2 where one is
  bfloat16. Products of other heights sum in another order, and may be rounded to TensorFloat-32 or to the narrow dtype
  on the way to a layer that is wide itself. A layer whose rows depend on each other differs by far more.
- two runs: to the bit. What differs within the tolerance (a GPU whose sums have no fixed order) is warned of.
- integers and booleans: the same in two runs; within one unit for a row alone.

What a row alone lacks of positions (a shorter text in a batch is padded) is not compared. Where one row alone can not
be run, half of the rows are; where these can not either (a batch of a fixed size), that is warned of. Of a batch that
can not be taken apart, only two runs are compared.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from actstore import arrays
from actstore.errors import DumpError
from actstore.store.documents.bfloat16 import widened
from actstore.store.format import BFLOAT16
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.activations import Captured
    from actstore.adapters import Adapter, ModelLayer
    from actstore.adapters.base import Run
    from actstore.store.format import JSON

ROWS = 8
LAYER_BYTES = 128 * 2**20
"""Fewer rows are checked where 8 would take more than this, but never fewer than 2."""
TOLERANCES = {"float16": 2e-2, BFLOAT16: 5e-2}
_WIDE = 1e-3

_OFF = "mend that, or dump it as it is with --no-selfcheck (selfcheck=False in Python)"
_RANDOM = (
    "the model is random, or keeps something from run to run: dropout left on (a functional one needs "
    "training=self.training), a module in training mode, noise, a cache"
)
_CHANGES = "the model changes its own weights or buffers as it runs, as batch statistics that are updated do"
_MIXES = (
    "its rows depend on each other: batch statistics (BatchNorm in training mode, or track_running_stats=False), "
    "or a norm, mean or softmax over the batch axis"
)
_SHARED = (
    "its adapter must give copies of what it captures (`keep`), since the model writes into its buffers again"
)


class SelfCheckWarning(UserWarning):
    """Something that the self-check found and that does not forbid a dump."""


@dataclass(frozen=True)
class SelfCheck:
    """A check of the layers asked for, to be run before the first row is stored.

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

    def run(self) -> None:
        """Run some rows twice, and then one by one.

        Raises:
            DumpError: they differ; named by the first layer in call order.
            AdapterError: the model can not be run (its own exceptions come as they are).
        """
        with self.adapter.running(self.layers) as run:
            inputs, first, failed = self._first(run)
            kept = {name: replace(layer, array=layer.array.copy()) for name, layer in first.items()}
            again = run(inputs)
            self._refuse_rewritten(kept, first)
            self._compare_runs(kept, again)
            failed = failed or self._compare_rows(run, inputs, kept)
        if failed is not None:
            rows = arrays.count_rows(inputs)
            msg = (
                f"self-check: fewer rows than a batch of {rows} can not be run ({explain(failed)}), so it was not "
                "checked whether rows depend on each other; a shorter last batch would fail alike"
            )
            warnings.warn(msg, SelfCheckWarning, stacklevel=2)

    @property
    def tolerance(self) -> float:
        """Of floats, relative to the largest magnitude of a layer."""
        return max((TOLERANCES.get(layer.dtype, _WIDE) for layer in self.every), default=_WIDE)

    def _first(self, run: Run) -> tuple[object, Mapping[str, Captured], Exception | None]:
        """Some rows of the first batch and what they give; all of it, and the error, where the model takes no fewer."""
        row_bytes = sum(layer.bytes_per_row or 0 for layer in self.layers)
        rows = max(2, min(ROWS, LAYER_BYTES // max(row_bytes, 1)))
        if arrays.count_rows(self.inputs) <= rows:
            return self.inputs, run(self.inputs), None
        try:
            head = arrays.first_rows(self.inputs, rows)
            return head, run(head), None
        except Exception as error:  # noqa: BLE001 - a batch of a fixed size; any other reason comes again just below
            return self.inputs, run(self.inputs), error

    def _refuse_rewritten(self, kept: Mapping[str, Captured], first: Mapping[str, Captured]) -> None:
        for layer in self.layers:
            if kept[layer.name].array.tobytes() != first[layer.name].array.tobytes():
                msg = f"self-check: {_named(layer)} was rewritten by the next run: {_SHARED}"
                raise DumpError(msg)

    def _compare_runs(self, first: Mapping[str, Captured], again: Mapping[str, Captured]) -> None:
        found = [
            (layer, _difference(first[layer.name], again[layer.name]), self._allowed(first[layer.name], 0))
            for layer in self.layers
        ]
        differing = [item for item in found if item[1] > 0]
        for layer, difference, allowed in differing:
            if difference > allowed:
                why = _RANDOM if self.adapter.provenance() == self.model else _CHANGES
                what = f"{_named(layer)} gives other values when the same batch runs again"
                raise DumpError(_message(what, difference, allowed, why))
        if differing:
            layer, difference, _ = differing[0]
            msg = (
                f"self-check: two runs of {_named(layer)} differ by up to {difference:.2g}, which is rounding (sums "
                "without a fixed order); the same dump made again will not have the same bits"
            )
            warnings.warn(msg, SelfCheckWarning, stacklevel=2)

    def _compare_rows(self, run: Run, inputs: object, whole: Mapping[str, Captured]) -> Exception | None:
        """Each row alone; half of the rows where a row alone fails, as BatchNorm's batch statistics do.

        Returns:
            the error of a model that takes no fewer rows.
        """
        rows = arrays.count_rows(inputs)
        if rows == 1:
            return None
        single = [range(row, row + 1) for row in range(rows)]
        if self._compare_parts(run, inputs, single, whole) is None:
            return None
        return self._compare_parts(run, inputs, [range(rows // 2)], whole)

    def _compare_parts(
        self, run: Run, inputs: object, parts: Sequence[range], whole: Mapping[str, Captured]
    ) -> Exception | None:
        """The error of the first part that the model can not run."""
        for part in parts:
            try:
                taken = arrays.take_rows(inputs, np.array(part))
            except (TypeError, IndexError, ValueError, KeyError):
                return None  # a batch that can not be taken apart, as the module says
            try:
                found = run(taken)
            except Exception as error:  # noqa: BLE001 - the user's model, which may take batches of one size only
                return error
            self._compare_part(part, found, whole)
        return None

    def _compare_part(self, part: range, found: Mapping[str, Captured], whole: Mapping[str, Captured]) -> None:
        for layer in self.layers:
            among = whole[layer.name]
            rows = replace(among, array=among.array[part.start : part.stop])
            difference, allowed = _row_difference(rows, found[layer.name]), self._allowed(among, 1)
            if difference > allowed:
                which = (
                    f"row {part[0]} other values alone"
                    if len(part) == 1
                    else f"other values in a batch of {len(part)}"
                )
                what = f"{_named(layer)} gives {which} than in a batch of {len(among.array)}"
                raise DumpError(_message(what, difference, allowed, _MIXES))

    def _allowed(self, layer: Captured, units: int) -> float:
        if layer.dtype != BFLOAT16 and layer.array.dtype.kind != "f":
            return units
        magnitudes = np.abs(_values(layer))
        return self.tolerance * float(magnitudes[np.isfinite(magnitudes)].max(initial=0.0))


def _row_difference(among: Captured, alone: Captured) -> float:
    """The largest difference; over the positions that both have where some of their axes are shorter alone."""
    shape, own = among.array.shape, alone.array.shape
    if len(shape) != len(own) or any(count > whole for whole, count in zip(shape, own, strict=True)):
        return float("inf")
    padded_right = tuple(slice(count) for count in own)
    padded_left = tuple(slice(whole - count, whole) for whole, count in zip(shape, own, strict=True))
    sides = (padded_right,) if shape == own else (padded_right, padded_left)
    return min(_difference(replace(among, array=among.array[side]), alone) for side in sides)


def _difference(one: Captured, other: Captured) -> float:
    """The largest difference of two captures; infinite where their shapes, dtypes or infinities and NaN differ."""
    if one.array.shape != other.array.shape or one.dtype != other.dtype:
        return float("inf")
    if one.array.tobytes() == other.array.tobytes():
        return 0.0
    values, others = _values(one), _values(other)
    same = (values == others) | (np.isnan(values) & np.isnan(others))
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        apart = np.abs(values - others)
    apart = np.where(np.isfinite(apart), apart, np.inf)
    return float(np.where(same, 0.0, apart).max(initial=0.0))


def _values(layer: Captured) -> np.ndarray:
    array = widened(layer.array) if layer.dtype == BFLOAT16 else layer.array
    return array.astype(np.float64)


def _named(layer: ModelLayer) -> str:
    return f"layer {layer.name!r} ({layer.type})"


def _message(what: str, difference: float, allowed: float, why: str) -> str:
    return (
        f"self-check: {what}, by up to {difference:.2g} where at most {allowed:.2g} is rounding: {why}; {_OFF}"
    )
