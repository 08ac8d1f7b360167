"""The one loop that runs a model over data and hands the rows to a writer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from actstore.dumping.checks import Checks
from actstore.dumping.first_look import blaming_model
from actstore.dumping.plan import LoopSettings, make_plan
from actstore.dumping.reading import ReadBatch, Reading, check_inputs, check_labels, compare
from actstore.dumping.rows import row_batch, with_inputs, with_tokens
from actstore.errors import DumpError
from actstore.provenance import versions
from actstore.reductions import kept_inputs
from actstore.store.documents.records import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actstore.adapters import Adapter
    from actstore.adapters.base import RunRows
    from actstore.dumping.checks import CheckBatch
    from actstore.dumping.plan import DumpPlan
    from actstore.dumping.ranks import Share
    from actstore.reductions import Reductions
    from actstore.rows.ids import RowIds
    from actstore.sources import SplitData
    from actstore.store.format import JSON
    from actstore.store.reading.reader import Store
    from actstore.store.writing.writer import Writer


class SameWeightsWarning(UserWarning):
    """Two steps of a store were dumped with the same weights."""


@dataclass(frozen=True)
class Progress:
    """How far a dump is: rows so far, of how many (None where only reading tells), bytes of activations so far.

    ``resumed_rows`` of these were there before; 0 where only running the model would tell.
    """

    rows: int = 0
    total_rows: int | None = 0
    bytes: int = 0
    resumed_rows: int = 0

    def expecting(self, rows: int | None) -> Progress:
        """Return the progress with so many more rows to come; None where only reading tells."""
        total = self.total_rows
        return replace(self, total_rows=None if total is None or rows is None else total + rows)

    def plus(self, rows: int, nbytes: int = 0, resumed: int = 0) -> Progress:
        """Return the progress after more rows."""
        return Progress(self.rows + rows, self.total_rows, self.bytes + nbytes, self.resumed_rows + resumed)


class DumpLoop:
    """Feeds a writer: ``run(plan(...))``, as often as there is data; the ids go on."""

    def __init__(
        self, writer: Writer, settings: LoopSettings, progress: Callable[[Progress], None] | None = None
    ) -> None:
        self._writer, self._settings, self._show = writer, settings, progress
        self._shown = progress
        self._progress = Progress()
        self._reading = Reading()
        self._announced: list[JSON] = []
        self._model: Mapping[str, JSON] | None = None
        self._stored: Seen | None = None

    @property
    def ids(self) -> RowIds:
        """The ids of the rows to come."""
        return self._reading.ids

    def plan(self, adapter: Adapter, data: Sequence[SplitData], share: Share | None = None) -> DumpPlan:
        """Refuse what can be refused before a row is stored.

        Raises:
            ActstoreError: see ``dump``.
        """
        plan = make_plan(adapter, data, self._settings, self.ids, share)
        if self._model not in (None, plan.model):
            msg = "the model is not the one this store was begun with (its weights changed); begin another step for it"
            raise DumpError(msg)
        self._model = plan.model
        return plan

    def run(self, plan: DumpPlan, progress: Callable[[Progress], None] | None = None) -> None:
        """Store all rows of the share, but for those that an interrupted dump has stored already.

        ``progress`` is called as rows are stored, in place of what the loop was begun with.

        Raises:
            ActstoreError: see ``dump``.
        """
        self._shown = progress or self._show
        self.announce(plan)
        stored = self._begin(plan) if self._stored is None else self._stored
        self._progress = self._progress.expecting(plan.share.rows)
        self._writer.expect(plan.share.rows)
        batches = self._reading.batches(plan)
        self._read_again(islice(batches, max(0, stored.batches - self._reading.read_batches)), stored)
        with plan.adapter.running(plan.layers, plan.reductions) as run:
            check = Checks(plan).within(run)
            for read in batches:
                self._store(plan, read, run, check)
        Checks(plan).after()
        skipped = {"skipped": self._reading.skipped} if self._reading.skipped else {}
        passed_over = {"passed_over": dict(plan.passed_over)} if plan.passed_over else {}
        graph = _graph(plan)
        self._writer.note(
            data=self._reading.items, **skipped, **passed_over, **graph, **_reported(plan.reductions, stored)
        )

    def check_all_came(self) -> None:
        """DumpError where the data ended before what an interrupted dump had stored of it."""
        self._reading.check_all_came(self._stored or Seen())

    def check_whole(self, plan: DumpPlan, store: Store) -> None:
        """Compare the data with what a whole store has of it, by reading it once more.

        Raises:
            DumpError: the inputs are others, or others in number; or the labels of its rows are.
        """
        labels: dict[str, list[object]] = {}
        for read in self._reading.batches(plan):
            for name, of in read.batch.targets.items():
                labels.setdefault(name, []).extend(of.tolist())
        check_inputs(store.provenance.get("data"), self._reading.items)
        if self._settings.unit.whole:
            check_labels({name: store.targets[name].tolist() for name in store.targets}, labels)

    def announce(self, plan: DumpPlan) -> None:
        """Note what the dump is to be, as it can be told before the first row."""
        for position, item in enumerate(plan.data):
            rows = item.expected_rows(self._settings.examples, position)
            counted = self._settings.unit.counted
            self._announced.append({"split": item.split, "source": item.source.spec, counted: rows})
        kind = self._settings.keep_input
        self._writer.note(
            model=plan.model,
            options=self._settings.document(),
            reductions=plan.reductions.document(),
            data=self._announced,
            versions=versions(),
            **plan.data[0].columns.document(),
            **({"kept_input": kept_inputs.document(kind)} if kind is not None else {}),
        )

    def _begin(self, plan: DumpPlan) -> Seen:
        """Claim the output and check the model. Returns how far an interrupted dump was."""
        self._stored = self._writer.begin(plan.stored())
        _warn_of_same_weights(plan.model, self._writer.other_steps)
        if not self._stored.batches:
            Checks(plan).before(self.ids)
        return self._stored

    def _read_again(self, batches: Iterator[ReadBatch], stored: Seen) -> None:
        """Compare the data with what an interrupted dump has stored of it."""
        for read in batches:
            compare(stored, read.seen)
            rows = read.batch.rows if self._settings.unit.whole else 0
            self._report(self._progress.plus(rows, 0, rows))

    def _store(self, plan: DumpPlan, read: ReadBatch, run: RunRows, check: CheckBatch) -> None:
        item, batch, ids = plan.data[read.position], read.batch, read.ids
        parts = self._settings.unit.parts(self._settings.choice, item, read.position, batch)
        with blaming_model(f"batch {read.number} (rows {ids[0]!r} to {ids[-1]!r})", ids):
            prepared = plan.adapter.prepare(batch.inputs)
            check(prepared, ids)
            activations = run(prepared, parts)
            plan.padded.check(activations)
            tokens = plan.adapter.tokens(prepared.inputs) if item.tokens else None
        stored = row_batch(activations, batch, ids, item, parts)
        stored = with_inputs(with_tokens(stored, tokens, parts), batch, self._settings.keep_input, parts)
        self._writer.append(stored, read.seen)
        nbytes = sum(layer.array.nbytes for layer in activations.values())
        self._report(self._progress.plus(len(stored.ids), nbytes))

    def _report(self, progress: Progress) -> None:
        self._progress = progress
        if self._shown is not None:
            self._shown(progress)


def _graph(plan: DumpPlan) -> dict[str, JSON]:
    """Return which of the layers feeds which, where the adapter knows."""
    edges = plan.adapter.edges([layer.name for layer in plan.layers])
    if edges is None:
        return {}
    return {"graph": {"told_by": plan.adapter.name, "edges": [list(edge) for edge in edges]}}


def _warn_of_same_weights(model: Mapping[str, JSON], other_steps: Mapping[int, Mapping[str, JSON]]) -> None:
    weights = str(model.get("weights"))
    models = {step: provenance.get("model") for step, provenance in other_steps.items()}
    same = [
        step for step, other in models.items() if isinstance(other, Mapping) and other.get("weights") == weights
    ]
    if same and ":" in weights:
        steps = f"step {same[0]}" if len(same) == 1 else f"steps {', '.join(map(str, same))}"
        msg = f"the weights are those of {steps} of the store: was the model trained, or loaded, in between?"
        warnings.warn(msg, SameWeightsWarning, stacklevel=5)


def _reported(reductions: Reductions, stored: Seen) -> dict[str, JSON]:
    """Return what casts lost in the batches that ran, those after the ``stored`` ones where a dump was resumed."""
    report = {name: vars(cast) for name, cast in reductions.report().items()}
    if not report:
        return {}
    return {"cast": report, **({"cast_seen_after_batch": stored.batches} if stored.batches else {})}
