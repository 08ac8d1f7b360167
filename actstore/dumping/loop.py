"""The one loop that runs a model over data and hands the rows to a writer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

from actstore.dumping.first_look import blaming_model, described
from actstore.dumping.ranks import Share, all_of
from actstore.dumping.resume import Replay
from actstore.dumping.row_ids import RowIds
from actstore.dumping.row_units import row_batch, row_unit
from actstore.dumping.selfcheck import SelfCheck
from actstore.errors import DumpError, SourceError
from actstore.patterns import select
from actstore.provenance import versions
from actstore.reductions import Reductions, ReductionSettings, plan_reductions
from actstore.reductions.parts_of_examples import BatchRows
from actstore.row_choice import KeptRows, RowChoice
from actstore.sources.base import SlicedSource
from actstore.store.documents.records import Seen
from actstore.store.format import EXAMPLE, StoredLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actstore.adapters import Adapter, ModelLayer
    from actstore.adapters.base import RunRows
    from actstore.sources import Batch, SplitData
    from actstore.store.format import JSON
    from actstore.store.writing.writer import Writer


class SameWeightsWarning(UserWarning):
    """Two steps of a store were dumped with the same weights."""


@dataclass(frozen=True)
class LoopSettings:
    """What decides which activations a dump has, besides the model and the data.

    Args:
        layers: patterns (see ``actstore.patterns``).
        batch_size: examples that go through the model together, where the source lets us choose.
        choice: which rows of each source.
        reductions: what is kept of each layer.
        row: what a row is: "example", "token" or "word".
        selfcheck: whether to compare runs of the first batch before a row is stored
            (see ``actstore.dumping.selfcheck``).
    """

    layers: tuple[str, ...]
    batch_size: int = 256
    choice: RowChoice = field(default_factory=RowChoice)
    reductions: ReductionSettings = field(default_factory=ReductionSettings)
    row: str = EXAMPLE
    selfcheck: bool = True

    @property
    def examples(self) -> RowChoice:
        """Which examples of each source run: all that the limit leaves, where the sample is one of their parts."""
        return self.choice if self.row == EXAMPLE else replace(self.choice, sample=None)

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
    """How far a dump is: rows so far, of how many (None where only reading tells), bytes of activations so far.

    ``resumed_rows`` of these were there before; 0 where only running the model would tell.
    """

    rows: int = 0
    total_rows: int | None = 0
    bytes: int = 0
    resumed_rows: int = 0


@dataclass(frozen=True)
class DumpPlan:
    """A dump that nothing known speaks against: ``layers`` of every row of ``data``, whose first batches are read."""

    adapter: Adapter
    layers: Sequence[ModelLayer]
    reductions: Reductions
    data: Sequence[SplitData]
    share: Share
    first_batches: Iterator[Batch]
    selfcheck: SelfCheck

    def stored(self) -> list[StoredLayer]:
        """The layers as they are stored."""
        return [
            StoredLayer(layer.name, layer.dtype, tuple(layer.shape or ()), tuple(layer.axes), order)
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

    def plan(self, adapter: Adapter, data: Sequence[SplitData], share: Share | None = None) -> DumpPlan:
        """Refuse what can be refused before a row is stored.

        Raises:
            ActstoreError: see ``dump``.
        """
        if not data:
            msg = "there is no data to dump; name some"
            raise SourceError(msg)
        row_unit(self._settings.row, data)  # refuses labels of words where a row is none
        for item in data:
            item.check_lengths()
        batches = self._batches(data, 0, None)
        first = next(batches)
        ids = self.ids.at(data[0].split, first.places.tolist(), data[0].row_ids)
        every = described(adapter, first, ids)
        layers = select(self._settings.layers, every)
        model = adapter.provenance()
        if self._model not in (None, model):
            msg = "the model is not the one this store was begun with (its weights changed); begin another step for it"
            raise DumpError(msg)
        self._model = model
        reductions = plan_reductions(self._settings.reductions, layers, self._settings.row)
        whole = all_of(data, self._settings.choice, self._settings.row)
        check = SelfCheck(adapter, every, layers, first.inputs, model, ids)
        return DumpPlan(adapter, layers, reductions, data, share or whole, chain([first], batches), check)

    def run(self, plan: DumpPlan) -> None:
        """Store all rows of the share, but for those that an interrupted dump has stored already.

        Raises:
            ActstoreError: see ``dump``.
        """
        self.announce(plan)
        if self._stored is None:
            self._stored = self._writer.begin(plan.stored())
            self._warn_of_same_weights()
            if self._settings.selfcheck and not self._stored.batches:
                with blaming_model("the self-check of the first batch", plan.selfcheck.ids):
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

    def announce(self, plan: DumpPlan) -> None:
        """Note what the dump is to be, as it can be told before the first row."""
        for position, item in enumerate(plan.data):
            rows = item.expected_rows(self._settings.examples, position)
            self._announced.append({"split": item.split, "source": item.source.spec, self._counted: rows})
        self._writer.note(
            model=self._model,
            options=self._settings.document(),
            reductions=plan.reductions.document(),
            data=self._announced,
            versions=versions(),
            **_named_columns(plan.data),
        )

    @property
    def _counted(self) -> str:
        """What the provenance counts of the data."""
        return "rows" if self._settings.row == EXAMPLE else "examples"

    def _store(self, plan: DumpPlan, position: int, run: RunRows) -> None:
        item, numbers = plan.data[position], plan.share.numbers[position]
        whole_first = position == 0 and numbers is None
        batches = plan.first_batches if whole_first else self._batches(plan.data, position, numbers)
        rows = 0
        if numbers is not None and not len(numbers):
            return
        self._replay.next_item(watches=not isinstance(item.source, SlicedSource))
        for number, batch in enumerate(batches, start=numbers.start + 1 if numbers else 1):
            ids = self.ids.at(item.split, batch.places.tolist(), item.row_ids)
            seen = self._replay.update(batch)
            rows += batch.rows
            if self._stored and seen.batches <= self._stored.batches:
                self._replay.compare(self._stored, seen)
                resumed = batch.rows if self._settings.row == EXAMPLE else 0
                self._report(resumed, 0, resumed)
                continue
            parts = self._parts(item, position, batch)
            with blaming_model(f"batch {number} (rows {ids[0]!r} to {ids[-1]!r})", ids):
                activations = run(batch.inputs, parts)
            stored = row_batch(activations, batch, ids, item, parts)
            self._writer.append(stored, seen)
            self._report(len(stored.ids), sum(layer.array.nbytes for layer in activations.values()))
        inputs, spec = self._replay.item_hash(), item.source.spec
        self._replay.warn_of_repeats(spec)
        self._data.append({"split": item.split, "source": spec, self._counted: rows, "inputs": inputs})

    def _parts(self, item: SplitData, position: int, batch: Batch) -> BatchRows | None:
        """The tokens or words of a batch, to be found in it; None where its examples are the rows."""
        settings = self._settings
        if settings.row == EXAMPLE:
            return None
        kept, places = KeptRows(settings.choice, position, item.split), batch.places.tolist()
        wanted = (
            None if settings.choice.sample is None else lambda example, rows: kept.within(places[example], rows)
        )
        return BatchRows(settings.row, batch.words, wanted)

    def _batches(self, data: Sequence[SplitData], position: int, numbers: range | None) -> Iterator[Batch]:
        settings = self._settings
        return data[position].batches(settings.batch_size, settings.examples, position, numbers)

    def _note_skipped(self, item: SplitData) -> None:
        """Note the ids that the rows of bad files would have had, and the files."""
        ids = self.ids.at(item.split, item.left_out, item.row_ids)
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


def _named_columns(data: Sequence[SplitData]) -> dict[str, JSON]:
    """Which columns or targets say splits and groups, and which labels are none, where anybody said so."""
    columns = data[0].columns
    named: dict[str, JSON] = {"split_by": columns.split_by, "group_by": columns.group_by}
    named["ignore_label"] = [str(value) for value in columns.ignore] or None
    return {name: value for name, value in named.items() if value is not None}


def _reported(reductions: Reductions, stored: Seen) -> dict[str, JSON]:
    """What casts lost: of the batches that ran, which are those after the ``stored`` ones where a dump was resumed."""
    report = {name: vars(cast) for name, cast in reductions.report().items()}
    if not report:
        return {}
    return {"cast": report, **({"cast_seen_after_batch": stored.batches} if stored.batches else {})}
