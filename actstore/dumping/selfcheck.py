"""The self-check: a model gives the same rows again, and gives a row the same whatever lies beside it.

Before a dump begins, up to 8 rows of its first batch (in every rank the first of all) run, in the layers asked for and
before any reduction:

- **again**. To the bit; what differs within the tolerance (a GPU whose sums have no fixed order) is warned of.
- **beside other rows**, in batches of the same size: every second row replaced by a copy of its neighbour, and then the
  others. To the bit; what differs beyond the tolerance depends on its neighbours, and is refused. Within it (a router
  that gives each expert another number of rows) it is warned of.
- **alone**, the row with the most padding and the one with the least, without it. Products of other heights sum in
  another order, and some layers magnify that (1/sqrt of a variance that is none): what differs is warned of, unless
  most values differ by a tenth or more, or there are NaN in one of the two. Where a row was padded, and the same
  batch with other tokens under the padding gives other values too, the model sees its padding: refused.

The tolerance is of each column by itself (``comparing.Columns``): 1e-3 of its magnitude where every layer of the model
is float32 or wider, 2e-2 where one is float16, 5e-2 where one is bfloat16. Where the data is text, the shortest and the
longest row of all are checked beforehand; while the dump runs, the shortest and longest of a batch whose lengths spread
half as much again as any before (``Spread``). After the last batch the first rows run once more: a model may have
changed itself for good.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from actstore import arrays
from actstore.adapters.moves import padding, picked
from actstore.dumping.comparing import TOLERANCES, WIDE, Columns
from actstore.dumping.looking import Looks, batch_lengths, filled_padding, trimmed
from actstore.errors import ActstoreError, DumpError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actstore.activations import Captured
    from actstore.adapters import Adapter, ModelLayer
    from actstore.adapters.base import Prepared, RunRows
    from actstore.dumping.comparing import Difference, Parts
    from actstore.store.format import JSON

ROWS = 8
LAYER_BYTES = 128 * 2**20
"""Fewer rows are checked where 8 would take more than this, but never fewer than 2."""

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
_PADDED = (
    "the model sees its padding: what it gives for a text depends on how long the others of its batch are. Run texts "
    "one at a time (--batch-size 1), or a model that is told where its padding is"
)
_SIZE = "it depends on how many rows there are, or on how far they are padded"
_SHARED = (
    "its adapter must give copies of what it captures (`keep`), since the model writes into its buffers again"
)


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

    @property
    def tolerance(self) -> float:
        """Of floats, relative to the largest magnitude of a column."""
        return max((TOLERANCES.get(layer.dtype, WIDE) for layer in self.every), default=WIDE)


class SelfCheck:
    """The checks of one dump: ``run`` before its first row, ``repeat`` within it, ``end`` after its last."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._head: Prepared | None = None
        self._first: Mapping[str, Captured] = {}
        self._told: set[str] = set()

    def run(self, hardest: object | None = None) -> None:
        """Check some rows of the first batch, and the ``hardest`` two of the data, where they are known.

        Raises:
            DumpError: they differ; named by the first layer in call order.
            AdapterError: the model can not be run (its own exceptions come as they are).
        """
        adapter = self.subject.adapter
        with adapter.running(self.subject.layers) as run:
            head, first = self._some_rows(run)
            kept = {name: replace(layer, array=layer.array.copy()) for name, layer in first.items()}
            again = run(head)
            self._refuse_rewritten(kept, first)
            self._head, self._first = head, kept
            random = self._compare_runs(kept, again)
            raw = Looks(run, {layer.name: layer.axes for layer in self.subject.layers})
            self._beside_and_alone(raw, head, random=random)
            if hardest is not None:
                self._beside_and_alone(raw, adapter.prepare(hardest), random=random)

    def repeat(self, looks: Looks, prepared: Prepared) -> None:
        """Check the shortest and the longest row of a batch whose lengths are new.

        Raises:
            DumpError: as ``run``.
        """
        lengths = batch_lengths(prepared.inputs)
        if lengths is None or arrays.count_rows(prepared.inputs) < 2:
            return
        pair = np.array([int(np.argmin(lengths)), int(np.argmax(lengths))])
        self._beside_and_alone(looks, prepared.only(pair), random=False)

    def end(self) -> None:
        """Run the first rows once more.

        Raises:
            DumpError: they give other values than before the first batch.
        """
        if self._head is None:
            return
        with self.subject.adapter.running(self.subject.layers) as run:
            again = run(self._head)
        for layer in self.subject.layers:
            columns = self._columns(self._first[layer.name])
            found = columns.compare([*self._first[layer.name].array], [*again[layer.name].array])
            if found is not None and not found.is_rounding:
                what = f"{_named(layer)} gives the first rows other values after the last batch than before the first"
                why = "the model changed itself while it ran, so that rows depend on those before them"
                raise DumpError(_message(what, found, why))

    def _some_rows(self, run: RunRows) -> tuple[Prepared, Mapping[str, Captured]]:
        """Some rows of the first batch and what they give; all of it, where the model takes no fewer."""
        subject = self.subject
        row_bytes = sum(layer.bytes_per_row or 0 for layer in subject.layers)
        rows = max(2, min(ROWS, LAYER_BYTES // max(row_bytes, 1)))
        count = arrays.count_rows(subject.inputs)
        if count > rows and subject.adapter.fixed_rows in (None, rows):
            try:
                head = subject.adapter.prepare(picked(subject.inputs, np.arange(rows)))
                return head, run(head)
            except ActstoreError:
                raise
            except Exception:  # noqa: BLE001 - a batch of a fixed size; any other reason comes again just below
                pass
        head = subject.adapter.prepare(subject.inputs)
        return head, run(head)

    def _refuse_rewritten(self, kept: Mapping[str, Captured], first: Mapping[str, Captured]) -> None:
        for layer in self.subject.layers:
            if kept[layer.name].array.tobytes() != first[layer.name].array.tobytes():
                msg = f"self-check: {_named(layer)} was rewritten by the next run: {_SHARED}"
                raise DumpError(msg)

    def _compare_runs(self, first: Mapping[str, Captured], again: Mapping[str, Captured]) -> bool:
        """Whether two runs differ in their bits."""
        differing = []
        for layer in self.subject.layers:
            columns = self._columns(first[layer.name])
            found = columns.compare([*first[layer.name].array], [*again[layer.name].array])
            if found is not None and not found.is_rounding:
                why = _RANDOM if self.subject.adapter.provenance() == self.subject.model else _CHANGES
                raise DumpError(
                    _message(f"{_named(layer)} gives other values when the same batch runs again", found, why)
                )
            if found is not None:
                differing.append((layer, found))
        if differing:
            layer, found = differing[0]
            self._warn(
                f"two runs of {_named(layer)} differ by up to {found.largest:.2g}, which is rounding (sums "
                "without a fixed order); the same dump made again will not have the same bits"
            )
        return bool(differing)

    def _beside_and_alone(self, looks: Looks, head: Prepared, *, random: bool) -> None:
        rows = arrays.count_rows(head.inputs)
        if rows == 1:
            return
        among = looks.at(head)
        for stay in (0, 1):
            places = _neighbours(rows, stay)
            beside = looks.at(head.only(places))
            self._compare_beside(among, beside, range(stay, rows, 2), random=random)
        lengths = batch_lengths(head.inputs)
        chosen = [0, rows - 1] if lengths is None else [int(np.argmin(lengths)), int(np.argmax(lengths))]
        for row in dict.fromkeys(chosen):
            try:
                alone = looks.at(trimmed(head.only(np.array([row]))))
            except ActstoreError:
                raise
            except Exception:  # noqa: BLE001 - the user's model, which may take batches of one size only
                return
            self._compare_alone(looks, head, row, (among, alone))

    def _compare_beside(
        self, among: Mapping[str, Parts], beside: Mapping[str, Parts], rows: Iterable[int], *, random: bool
    ) -> None:
        for layer in self.subject.layers:
            columns = self._columns_of(layer, among[layer.name])
            for row in rows:
                found = columns.compare([among[layer.name][row]], [beside[layer.name][row]])
                if found is None or (random and found.is_rounding):
                    continue
                if not found.is_rounding:
                    what = f"{_named(layer)} gives row {row} other values beside other rows"
                    raise DumpError(_message(what, found, _MIXES))
                self._warn(
                    f"{_named(layer)} gives a row values beside other rows that differ by up to {found.largest:.2g}, "
                    "which is rounding (a router that gives its experts other numbers of rows, for example)"
                )

    def _compare_alone(
        self, looks: Looks, head: Prepared, row: int, found: tuple[Mapping[str, Parts], Mapping[str, Parts]]
    ) -> None:
        among, alone = found
        rows = arrays.count_rows(head.inputs)
        for layer in self.subject.layers:
            columns = self._columns_of(layer, among[layer.name])
            apart = columns.compare([among[layer.name][row]], [alone[layer.name][0]])
            if apart is None or apart.is_rounding:
                continue
            what = f"{_named(layer)} gives row {row} other values alone than in a batch of {rows}"
            padded = padding(head.inputs)
            if padded is not None and padded[row].any():
                filled = looks.at(filled_padding(head))
                seen = columns.compare([among[layer.name][row]], [filled[layer.name][row]])
                if seen is not None and not seen.is_rounding:
                    raise DumpError(_message(what, apart, _PADDED))
            if apart.is_gross:
                raise DumpError(_message(what, apart, _SIZE))
            self._warn(
                f"{what}, by up to {apart.largest:.2g}, though its neighbours change nothing: rounding that the layer "
                "magnifies. Dumps of another --batch-size will differ by as much"
            )

    def _columns_of(self, layer: ModelLayer, parts: Parts) -> Columns:
        from actstore.activations import Captured

        like = Captured(np.empty(0), layer.dtype, layer.axes)
        return Columns.of(like, parts, self.subject.tolerance)

    def _columns(self, layer: Captured) -> Columns:
        return Columns.of(layer, [*layer.array], self.subject.tolerance)

    def _warn(self, what: str) -> None:
        kind = what.partition(" (")[0]
        if kind not in self._told:
            self._told.add(kind)
            warnings.warn(f"self-check: {what}", SelfCheckWarning, stacklevel=2)


def _neighbours(rows: int, stay: int) -> np.ndarray:
    """Places of as many rows: every second one, from ``stay`` on, is itself, and the others are copies of these."""
    places = np.arange(rows)
    moved = places % 2 != stay
    places[moved] = np.where(places[moved] > 0, places[moved] - 1, np.minimum(1, rows - 1))
    return places


def _named(layer: ModelLayer) -> str:
    return f"layer {layer.name!r} ({layer.type})"


def _message(what: str, difference: Difference, why: str) -> str:
    return (
        f"self-check: {what}, by up to {difference.largest:.2g} where at most {difference.allowed:.2g} is rounding: "
        f"{why}; {_OFF}"
    )
