"""The one loop that runs a model over data and hands the rows to a writer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

from actstore import interop
from actstore.captured import RowBatch
from actstore.choice import RowChoice
from actstore.errors import ActstoreError, DumpError, SourceError
from actstore.patterns import select
from actstore.provenance import versions
from actstore.reductions import Reductions, ReductionSettings, plan_reductions
from actstore.replay import Replay
from actstore.rowids import RowIds
from actstore.selfcheck import SelfCheck
from actstore.shares import Share, all_of
from actstore.store.format import LayerInfo
from actstore.store.records import Seen
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actstore.adapters import Adapter, LayerRow
    from actstore.adapters.base import Run
    from actstore.sources import Batch, SplitData
    from actstore.store.format import JSON
    from actstore.store.writer import Writer


_DESCRIBED_ROWS = 2


class SameWeightsWarning(UserWarning):
    """Two steps of a store were dumped with the same weights."""


@dataclass(frozen=True)
class LoopSettings:
    """What decides which activations a dump has, besides the model and the data.

    Args:
        layers: patterns (see ``actstore.patterns``).
        batch_size: rows that go through the model together, where the source lets us choose.
        choice: which rows of each source.
        reductions: what is kept of each layer.
        selfcheck: whether to compare runs of the first batch before a row is stored (see ``actstore.selfcheck``).
    """

    layers: tuple[str, ...]
    batch_size: int = 256
    choice: RowChoice = field(default_factory=RowChoice)
    reductions: ReductionSettings = field(default_factory=ReductionSettings)
    selfcheck: bool = True

    def document(self) -> dict[str, JSON]:
        """The settings that an interrupted dump has to be resumed with; layers and reductions are compared as such."""
        choice = self.choice
        return {
            "batch_size": self.batch_size,
            "limit": choice.limit,
            "sample": choice.sample,
            "seed": choice.seed,
        }


@dataclass(frozen=True)
class Progress:
    """How far a dump is: rows so far, of how many (None where a source does not know), bytes of activations so far.

    ``resumed_rows`` of these were there before.
    """

    rows: int = 0
    total_rows: int | None = 0
    bytes: int = 0
    resumed_rows: int = 0


@dataclass(frozen=True)
class Plan:
    """A dump that nothing known speaks against: ``layers`` of every row of ``data``, whose first batches are read."""

    adapter: Adapter
    layers: Sequence[LayerRow]
    reductions: Reductions
    data: Sequence[SplitData]
    share: Share
    first_batches: Iterator[Batch]
    selfcheck: SelfCheck

    def stored(self) -> list[LayerInfo]:
        """The layers as they are stored."""
        return [
            LayerInfo(layer.name, layer.dtype, tuple(layer.shape or ()), tuple(layer.axes), order)
            for order, layer in enumerate(self.reductions.layers)
        ]


class DumpLoop:
    """Feeds a writer: ``run(plan(...))``, as often as there is data; the ids go on."""

    def __init__(
        self, writer: Writer, settings: LoopSettings, progress: Callable[[Progress], None] | None = None
    ) -> None:
        self.ids = RowIds()
        self._writer, self._settings, self._progress = writer, settings, progress
        self._so_far = Progress()
        self._data: list[JSON] = []
        self._announced: list[JSON] = []
        self._skipped: list[JSON] = []
        self._model: Mapping[str, JSON] | None = None
        self._stored: Seen | None = None
        self._replay = Replay()

    def plan(self, adapter: Adapter, data: Sequence[SplitData], share: Share | None = None) -> Plan:
        """Refuse what can be refused before a row is stored.

        Raises:
            ActstoreError: see ``dump``.
        """
        if not data:
            msg = "there is no data to dump; name some"
            raise SourceError(msg)
        for item in data:
            item.check_lengths()
        batches = self._batches(data, 0, None)
        first = next(batches)
        every = described(adapter, first)
        layers = select(self._settings.layers, every)
        model = adapter.provenance()
        if self._model not in (None, model):
            msg = "the model is not the one this store was begun with (its weights changed); begin another step for it"
            raise DumpError(msg)
        self._model = model
        reductions = plan_reductions(self._settings.reductions, layers)
        whole = all_of(data, self._settings.choice)
        check = SelfCheck(adapter, every, layers, first.inputs, model)
        return Plan(adapter, layers, reductions, data, share or whole, chain([first], batches), check)

    def run(self, plan: Plan) -> None:
        """Store all rows of the share, but for those that an interrupted dump has stored already.

        Raises:
            ActstoreError: see ``dump``.
        """
        self.announce(plan)
        if self._stored is None:
            self._stored = self._writer.begin(plan.stored())
            self._warn_of_same_weights()
            if self._settings.selfcheck and not self._stored.batches:
                with blaming_model("the self-check of the first batch"):
                    plan.selfcheck.run()
        total, share = self._so_far.total_rows, plan.share
        self._so_far = replace(
            self._so_far, total_rows=None if total is None or share.rows is None else total + share.rows
        )
        self._writer.expect(share.rows)
        with plan.adapter.running(plan.layers, plan.reductions) as run:
            for position, item in enumerate(plan.data):
                self._store(plan, position, run)
                self._note_skipped(item)
                self.ids.pass_over(item.split, self._spanned(item))
        self._writer.note(data=self._data, **_reported(plan.reductions, self._stored))

    def check_all_came(self) -> None:
        """DumpError where the data ended before what an interrupted dump had stored of it."""
        self._replay.check_all_came(self._stored or Seen())

    def announce(self, plan: Plan) -> None:
        """Note what the dump is to be, as it can be told before the first row."""
        choice = self._settings.choice
        for position, item in enumerate(plan.data):
            rows = item.expected_rows(choice, position)
            self._announced.append({"split": item.split, "source": item.source.spec, "rows": rows})
        self._writer.note(
            model=self._model,
            options=self._settings.document(),
            reductions=plan.reductions.document(),
            data=self._announced,
            versions=versions(),
        )

    def _store(self, plan: Plan, position: int, run: Run) -> None:
        item, numbers = plan.data[position], plan.share.numbers[position]
        whole_first = position == 0 and numbers is None
        batches = plan.first_batches if whole_first else self._batches(plan.data, position, numbers)
        rows = 0
        if numbers is not None and not len(numbers):
            return
        self._replay.next_item()
        for number, batch in enumerate(batches, start=numbers.start + 1 if numbers else 1):
            splits = [item.split] * batch.rows
            ids = self.ids.at(item.split, batch.places.tolist())
            seen = self._replay.update(batch)
            rows += batch.rows
            if self._stored and seen.batches <= self._stored.batches:
                self._replay.compare(self._stored, seen)
                self._report(batch.rows, 0, resumed=batch.rows)
                continue
            with blaming_model(f"batch {number} (rows {ids[0]!r} to {ids[-1]!r})"):
                activations = run(batch.inputs)
            self._writer.append(RowBatch(activations, ids, splits, batch.targets), seen)
            self._report(batch.rows, sum(layer.array.nbytes for layer in activations.values()))
        inputs, spec = self._replay.item_hash(), item.source.spec
        self._data.append({"split": item.split, "source": spec, "rows": rows, "inputs": inputs})

    def _batches(self, data: Sequence[SplitData], position: int, numbers: range | None) -> Iterator[Batch]:
        settings = self._settings
        return data[position].batches(settings.batch_size, settings.choice, position, numbers)

    def _note_skipped(self, item: SplitData) -> None:
        """Note the ids that the rows of bad files would have had, and the files."""
        ids = self.ids.at(item.split, item.left_out)
        self._skipped += [{"id": i, "file": file} for i, file in zip(ids, item.left_out.values(), strict=True)]
        if ids:
            self._writer.note(skipped=self._skipped)

    def _spanned(self, item: SplitData) -> int:
        """How many rows the ids of an item count, left out or not."""
        rows = item.source.rows
        return self._settings.choice.limited(rows) if rows is not None else self._replay.item_rows

    def _report(self, rows: int, nbytes: int, resumed: int = 0) -> None:
        so_far = self._so_far
        self._so_far = replace(
            so_far,
            rows=so_far.rows + rows,
            bytes=so_far.bytes + nbytes,
            resumed_rows=so_far.resumed_rows + resumed,
        )
        if self._progress is not None:
            self._progress(self._so_far)

    def _warn_of_same_weights(self) -> None:
        weights = str((self._model or {}).get("weights"))
        models = {step: provenance.get("model") for step, provenance in self._writer.other_steps.items()}
        same = [
            step
            for step, model in models.items()
            if isinstance(model, Mapping) and model.get("weights") == weights
        ]
        if same and ":" in weights:
            steps = f"step {same[0]}" if len(same) == 1 else f"steps {', '.join(map(str, same))}"
            msg = (
                f"the weights are those of {steps} of the store: was the model trained, or loaded, in between?"
            )
            warnings.warn(msg, SameWeightsWarning, stacklevel=4)


def _reported(reductions: Reductions, stored: Seen) -> dict[str, JSON]:
    """What casts lost: of the batches that ran, which are those after the ``stored`` ones where a dump was resumed."""
    report = {name: vars(cast) for name, cast in reductions.report().items()}
    if not report:
        return {}
    return {"cast": report, **({"cast_seen_after_batch": stored.batches} if stored.batches else {})}


def described(adapter: Adapter, batch: Batch) -> list[LayerRow]:
    """The layers that a batch goes through."""
    with blaming_model("the first batch"):
        return adapter.layers(_head(batch))


def _head(batch: Batch) -> object:
    """Two rows of a batch, which show the layers as well as all of them; all, where they can not be taken apart."""
    if not interop.is_array(batch.inputs) or batch.rows <= _DESCRIBED_ROWS:
        return batch.inputs
    return interop.first_rows(batch.inputs, _DESCRIBED_ROWS)


@contextmanager
def blaming_model(where: str) -> Iterator[None]:
    """Errors of the user's model as one line that names the batch."""
    try:
        yield
    except ActstoreError:
        raise
    except Exception as error:
        msg = f"the model failed on {where}: {explain(error)}"
        raise DumpError(msg) from error
