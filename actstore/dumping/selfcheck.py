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

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from actstore import arrays
from actstore.adapters.moves import picked
from actstore.dumping.independence import Independence
from actstore.dumping.looking import Looks, batch_lengths
from actstore.dumping.subject import named, refusal
from actstore.errors import ActstoreError, DumpError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.activations import Captured
    from actstore.adapters.base import Prepared, RunRows
    from actstore.dumping.first_look import Extremes
    from actstore.dumping.subject import Subject

ROWS = 8
LAYER_BYTES = 128 * 2**20
"""Fewer rows are checked where 8 would take more than this, but never fewer than 2."""

_RANDOM = (
    "the model is random, or keeps something from run to run: dropout left on (a functional one needs "
    "training=self.training), a module in training mode, noise, a cache"
)
_CHANGES = "the model changes its own weights or buffers as it runs, as batch statistics that are updated do"
_SHARED = (
    "its adapter must give copies of what it captures (`keep`), since the model writes into its buffers again"
)


class SelfCheck:
    """The checks of one dump: ``run`` before its first row, ``repeat`` within it, ``end`` after its last."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._head: Prepared | None = None
        self._first: Mapping[str, Captured] = {}
        self._random = False  # in the last bits

    def run(self, hardest: Extremes | None = None) -> None:
        """Check some rows of the first batch, and the shortest and the longest text, where they are known.

        Raises:
            DumpError: they differ; named by the first layer in call order.
            AdapterError: the model cannot be run (its own exceptions come as they are).
        """
        subject = self.subject
        with subject.adapter.running(subject.layers) as run:
            head, first = self._some_rows(run)
            kept = {name: replace(layer, array=layer.array.copy()) for name, layer in first.items()}
            again = run(head)
            self._refuse_rewritten(kept, first)
            self._head, self._first = head, kept
            self._random = self._compare_runs(kept, again)
            looks = Looks(run, {layer.name: layer.axes for layer in subject.layers})
            Independence(subject, looks, head, subject.ids, self._random).check(looks.of(kept, head))
            if hardest is not None:
                pair = subject.adapter.prepare(hardest.inputs)
                Independence(subject, looks, pair, hardest.ids, self._random).check()

    def repeat(self, looks: Looks, prepared: Prepared, ids: Sequence[str]) -> None:
        """Check the shortest and the longest row of a batch whose lengths are new.

        Raises:
            DumpError: as ``run``.
        """
        lengths = batch_lengths(prepared.inputs)
        if lengths is None or len(lengths) == 1:
            return
        pair = np.array([int(np.argmin(lengths)), int(np.argmax(lengths))])
        of_pair = [ids[row] for row in pair]
        Independence(self.subject, looks, prepared.only(pair), of_pair, self._random).check()

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
            first = [*self._first[layer.name].array]
            found = self.subject.columns(layer, first).compare(first, [*again[layer.name].array])
            if found is not None and not found.is_rounding:
                what = f"{named(layer)} gives the first rows other values after the last batch than before the first"
                raise refusal(
                    what, found, "the model changed itself while it ran, so that rows depend on earlier ones"
                )

    def _some_rows(self, run: RunRows) -> tuple[Prepared, Mapping[str, Captured]]:
        """Some rows of the first batch and what they give; all of it, where the model takes no fewer."""
        subject = self.subject
        row_bytes = sum(layer.bytes_per_row or 0 for layer in subject.layers)
        rows = max(2, min(ROWS, LAYER_BYTES // max(row_bytes, 1)))
        few = None
        if arrays.count_rows(subject.inputs) > rows and subject.adapter.fixed_rows in (None, rows):
            few = self._few_rows(run, rows)
        if few is not None:
            return few
        head = subject.adapter.prepare(subject.inputs)
        return head, run(head)

    def _few_rows(self, run: RunRows, rows: int) -> tuple[Prepared, Mapping[str, Captured]] | None:
        """The first rows of the first batch and what they give; None where the model does not take so few."""
        try:
            head = self.subject.adapter.prepare(picked(self.subject.inputs, np.arange(rows)))
            return head, run(head)
        except ActstoreError:
            raise
        except Exception:  # noqa: BLE001 - a batch of a fixed size; any other reason comes again with the whole batch
            return None

    def _refuse_rewritten(self, kept: Mapping[str, Captured], first: Mapping[str, Captured]) -> None:
        for layer in self.subject.layers:
            if kept[layer.name].array.tobytes() != first[layer.name].array.tobytes():
                msg = f"self-check: {named(layer)} was rewritten by the next run: {_SHARED}"
                raise DumpError(msg)

    def _compare_runs(self, first: Mapping[str, Captured], again: Mapping[str, Captured]) -> bool:
        """Whether two runs differ in their bits."""
        random = False
        for layer in self.subject.layers:
            one, other = [*first[layer.name].array], [*again[layer.name].array]
            found = self.subject.columns(layer, one).compare(one, other)
            if found is None:
                continue
            if not found.is_rounding:
                why = _RANDOM if self.subject.adapter.identity() == self.subject.model else _CHANGES
                raise refusal(f"{named(layer)} gives other values when the same batch runs again", found, why)
            random = True
            self.subject.warn(
                "again",
                f"two runs of {named(layer)} differ by up to {found.largest:.2g}, which is rounding (sums "
                "without a fixed order); the same dump made again will not have the same bits",
            )
        return random
