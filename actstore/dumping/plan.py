"""A dump that nothing known speaks against: which layers of which rows, reduced how. A value, made before any row."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from actstore.dumping.first_look import described
from actstore.dumping.ranks import Share, all_of
from actstore.dumping.rows import RowUnit
from actstore.dumping.selfcheck import SelfCheck
from actstore.errors import SourceError
from actstore.patterns import select
from actstore.reductions import Reductions, ReductionSettings, plan_reductions
from actstore.row_choice import RowChoice
from actstore.store.format import StoredLayer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from actstore.adapters import Adapter, ModelLayer
    from actstore.row_ids import RowIds
    from actstore.sources import Batch, SplitData
    from actstore.store.format import JSON


@dataclass(frozen=True)
class LoopSettings:
    """What decides which activations a dump has, besides the model and the data.

    Args:
        layers: patterns (see ``actstore.patterns``).
        batch_size: examples that go through the model together, where the source lets us choose.
        choice: which rows of each source.
        reductions: what is kept of each layer.
        unit: what a row is.
        selfcheck: whether to compare runs of the first batch before a row is stored
            (see ``actstore.dumping.selfcheck``).
    """

    layers: tuple[str, ...]
    batch_size: int = 256
    choice: RowChoice = field(default_factory=RowChoice)
    reductions: ReductionSettings = field(default_factory=ReductionSettings)
    unit: RowUnit = field(default_factory=RowUnit)
    selfcheck: bool = True

    @property
    def examples(self) -> RowChoice:
        """Which examples of each source run."""
        return self.unit.examples(self.choice)

    def batches(
        self, data: Sequence[SplitData], position: int, numbers: range | None = None
    ) -> Iterator[Batch]:
        """Return the batches of an item of data; of these ``numbers`` alone, or all."""
        return data[position].batches(self.batch_size, self.examples, position, numbers)

    def document(self) -> dict[str, JSON]:
        """Return the settings that an interrupted dump must be resumed with.

        Layers and reductions are not among them: they are compared as such.
        """
        choice = self.choice
        return {
            "batch_size": self.batch_size,
            "limit": choice.limit,
            "sample": choice.sample,
            "seed": choice.seed,
        }


@dataclass(frozen=True)
class DumpPlan:
    """``layers`` of the ``share`` of ``data``, whose first batches are read already.

    ``model`` is the adapter's provenance, as it was before any run.
    """

    adapter: Adapter
    model: Mapping[str, JSON]
    layers: Sequence[ModelLayer]
    reductions: Reductions
    data: Sequence[SplitData]
    share: Share
    settings: LoopSettings
    first_batches: Iterator[Batch]
    selfcheck: SelfCheck

    def stored(self) -> list[StoredLayer]:
        """Return the layers as they are stored."""
        return [
            StoredLayer(layer.name, layer.dtype, tuple(layer.shape or ()), tuple(layer.axes), order)
            for order, layer in enumerate(self.reductions.layers)
        ]

    def batches(self, position: int) -> Iterator[tuple[int, Batch]]:
        """Return the share's batches of an item of data, each with its number, counted from 1."""
        numbers = self.share.numbers[position]
        if numbers is not None and not len(numbers):
            return iter(())
        begun = position == 0 and numbers is None
        batches = self.first_batches if begun else self.settings.batches(self.data, position, numbers)
        return enumerate(batches, start=numbers.start + 1 if numbers else 1)


def make_plan(
    adapter: Adapter,
    data: Sequence[SplitData],
    settings: LoopSettings,
    ids: RowIds,
    share: Share | None = None,
) -> DumpPlan:
    """Refuse what can be refused before a row is stored.

    Raises:
        ActstoreError: see ``dump``.
    """
    if not data:
        msg = "there is no data to dump; name some"
        raise SourceError(msg)
    RowUnit.of(settings.unit.name, data)  # refuses labels of words where a row is none
    for item in data:
        item.check_lengths()
    batches = settings.batches(data, 0)
    first = next(batches)
    first_ids = ids.at(data[0].split, first.places.tolist())
    every = described(adapter, first, first_ids)
    layers = select(settings.layers, every)
    model = adapter.provenance()
    return DumpPlan(
        adapter,
        model,
        layers,
        plan_reductions(settings.reductions, layers, settings.unit.name),
        data,
        share or all_of(data, settings.choice, settings.unit),
        settings,
        chain([first], batches),
        SelfCheck(adapter, every, layers, first.inputs, model, first_ids),
    )
