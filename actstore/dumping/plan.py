"""A dump that nothing known speaks against: which layers of which rows, reduced how. A value, made before any row."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from actstore import arrays
from actstore.adapters.describing import NOT_ROWS
from actstore.dumping.first_look import described
from actstore.dumping.padded import Padded
from actstore.dumping.ranks import Share, all_of
from actstore.dumping.rows import RowUnit
from actstore.dumping.selfcheck import SelfCheck
from actstore.dumping.subject import SelfCheckWarning, Subject
from actstore.errors import DumpError, SourceError
from actstore.patterns import by_name, check_batch_axes_pick, matching, named_by, select, with_axes
from actstore.reductions import Reductions, ReductionSettings, kept_inputs, plan_reductions
from actstore.reductions.parts_of_examples import has_positions
from actstore.rows.choice import RowChoice
from actstore.store.format import TOKEN, WORD, StoredLayer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from actstore.adapters import Adapter, ModelLayer
    from actstore.rows.ids import RowIds
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
        axes: ``PATTERN=NAME,NAME,...``: what the axes of layers are.
        batch_axis: ``PATTERN=N``: which axis of layers is the rows of the batch.
        truncate: whether texts that are longer than the model takes are cut.
        selfcheck: whether to check the model before, within and after (see ``actstore.dumping.selfcheck``).
        keep_input: what of the inputs is stored, too (``actstore.reductions.kept_inputs``); None for nothing.
    """

    layers: tuple[str, ...]
    batch_size: int = 256
    choice: RowChoice = field(default_factory=RowChoice)
    reductions: ReductionSettings = field(default_factory=ReductionSettings)
    unit: RowUnit = field(default_factory=RowUnit)
    axes: tuple[str, ...] = ()
    selfcheck: bool = True
    exclude: tuple[str, ...] = ()
    """Patterns of layers that are left out, whatever ``layers`` picks."""
    keep_input: str | None = None
    batch_axis: tuple[str, ...] = ()
    truncate: bool = False

    def __post_init__(self) -> None:
        if self.keep_input not in (None, *kept_inputs.KINDS):
            msg = f"keep_input is {self.keep_input!r}; expected {' or '.join(kept_inputs.KINDS)}"
            raise DumpError(msg)
        if self.truncate and self.unit.name == WORD:
            msg = (
                "--truncate cuts words off, and with --row word each is a row; split the texts, or leave it out"
            )
            raise DumpError(msg)

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
            **({"axes": list(self.axes)} if self.axes else {}),
            **({"batch_axis": list(self.batch_axis)} if self.batch_axis else {}),
            **({"truncate": True} if self.truncate else {}),
            **({"keep_input": self.keep_input} if self.keep_input else {}),
        }


@dataclass(frozen=True)
class DumpPlan:
    """``layers`` of the ``share`` of ``data``, whose ``first`` batch is read already.

    Args:
        adapter: of the model.
        model: the adapter's provenance, as it was before any run.
        layers: as the model gives them.
        reductions: what is kept of them.
        passed_over: layers that patterns match and that have no row, each with the reason.
        data: what runs.
        share: of this process.
        settings: what was asked for.
        first: the first batch of all.
        first_batches: of the first item of data, that one among them.
        padded: what becomes of padding.
        selfcheck: the checks of the model.
    """

    adapter: Adapter
    model: Mapping[str, JSON]
    layers: Sequence[ModelLayer]
    reductions: Reductions
    passed_over: Mapping[str, str]
    data: Sequence[SplitData]
    share: Share
    settings: LoopSettings
    first: Batch
    first_batches: Iterator[Batch]
    padded: Padded
    selfcheck: SelfCheck

    def stored(self) -> list[StoredLayer]:
        """Return the layers as they are stored."""
        return [
            StoredLayer(layer.name, layer.dtype, tuple(layer.shape or ()), tuple(layer.axes), order)
            for order, layer in enumerate(self.reductions.layers)
        ] + self._stored_thumbnail()

    def _stored_thumbnail(self) -> list[StoredLayer]:
        if self.settings.keep_input != kept_inputs.THUMBNAIL:
            return []
        shape = kept_inputs.thumbnails(self.first.inputs).shape[1:]
        name, axes = kept_inputs.THUMBNAIL_LAYER, kept_inputs.THUMBNAIL_AXES
        return [StoredLayer(name, "uint8", shape, axes, len(self.reductions.layers))]

    def batches(self, position: int) -> Iterator[tuple[int, Batch]]:
        """Return the share's batches of an item of data, each with its number, counted from 1."""
        numbers = self.share.numbers[position]
        if numbers is not None and not len(numbers):
            return iter(())
        begun = position == 0 and numbers is None
        batches = self.first_batches if begun else self.settings.batches(self.data, position, numbers)
        return enumerate(batches, start=numbers.start + 1 if numbers else 1)

    def last_sizes(self) -> list[int]:
        """Return the sizes of the share's last batches that no other batch has, as far as they are known before."""
        sizes = set()
        for position, (item, numbers) in enumerate(zip(self.data, self.share.numbers, strict=True)):
            of_item = item.batch_rows(self.settings.batch_size, self.settings.examples, position)
            if of_item and (numbers is None or len(numbers)):
                sizes.add(of_item[-1 if numbers is None else numbers.stop - 1])
        return sorted(sizes - {self.first.rows})


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
    first_ids = ids.at(data[0].split, first.places.tolist(), data[0].row_ids)
    description = described(adapter, first, first_ids)
    if description.unproven is not None and not settings.selfcheck:
        msg = (
            f"the model could not be run on other numbers of rows ({description.unproven}), and without the self-check "
            "nothing shows which of its layers have a row for each example"
        )
        warnings.warn(msg, SelfCheckWarning, stacklevel=3)
    check_batch_axes_pick(settings.batch_axis, description.layers)
    every = with_axes(settings.axes, description.layers)
    layers, passed_over = _chosen(settings, every)
    model = adapter.identity()
    reductions = plan_reductions(settings.reductions, layers, settings.unit.name)
    _check_kept(settings, first, [layer.name for layer in layers])
    _check_tokens(adapter, data, settings.unit.name, first)
    return DumpPlan(
        adapter,
        model,
        layers,
        reductions,
        passed_over,
        data,
        share or all_of(data, settings.choice, settings.unit),
        settings,
        first,
        chain([first], batches),
        Padded.of(reductions, settings),
        SelfCheck(Subject(adapter, every, layers, first.inputs, model, first_ids)),
    )


def _check_kept(settings: LoopSettings, first: Batch, layers: Sequence[str]) -> None:
    """Refuse to keep inputs that are not of the kind, or under a name that is taken.

    Raises:
        SourceError: see ``kept_inputs``.
    """
    kind = settings.keep_input
    if kind == kept_inputs.TEXT:
        kept_inputs.kept_texts(first.inputs)
        name, taken = kept_inputs.TEXT_TARGET, [*first.targets]
    elif kind == kept_inputs.THUMBNAIL:
        kept_inputs.thumbnails(first.inputs)
        name, taken = kept_inputs.THUMBNAIL_LAYER, [*layers]
        if not settings.unit.whole:
            msg = f"--keep-input {kind} keeps one image for each row, and a row is one {settings.unit.name}"
            raise SourceError(msg)
    else:
        return
    if name in taken:
        msg = f"--keep-input {kind} is stored as {name!r}, and the data or the model has that name; rename it"
        raise SourceError(msg)


def _check_tokens(adapter: Adapter, data: Sequence[SplitData], unit: str, first: Batch) -> None:
    """Refuse the target ``token`` where a row is none, or where the inputs have none.

    Raises:
        SourceError: with what to do.
    """
    if not any(item.tokens for item in data):
        return
    if unit != TOKEN:
        msg = f"--target token is the token of each row, and a row is one {unit}; say --row token, or leave it out"
        raise SourceError(msg)
    if TOKEN in first.targets:
        msg = f"--target {TOKEN} is the model's token of each row, and the data has a target of that name; rename it"
        raise SourceError(msg)
    tokens = adapter.tokens(adapter.prepare(first.inputs).inputs)
    if tokens is None or tokens.ndim != 2:
        msg = "--target token needs inputs with input_ids, (rows, positions), and this model takes none; leave it out"
        raise SourceError(msg)


def _chosen(
    settings: LoopSettings, every: Sequence[ModelLayer]
) -> tuple[Sequence[ModelLayer], Mapping[str, str]]:
    """The layers that are dumped, and those that a glob passes over since they have no row, with the reason."""
    layers = select(settings.layers, every, settings.exclude)
    left_out = named_by(settings.exclude, every)
    passed_over = {
        name: note for name, note in _without_rows(settings.layers, every).items() if name not in left_out
    }
    if settings.unit.whole:
        return layers, passed_over
    kept = [layer for layer in layers if has_positions(layer) or by_name(settings.layers, layer.name)]
    if not kept:
        return layers, passed_over
    for layer in layers:
        if layer not in kept:
            axes = ", ".join(layer.axes) or "no axes"
            passed_over[layer.name] = f"no row per {settings.unit.name}: it has ({axes})"
    return kept, passed_over


def _without_rows(patterns: Sequence[str], every: Sequence[ModelLayer]) -> dict[str, str]:
    """The layers that a pattern matches and that have no row for each example, with the reason."""
    asked = [any(picks) for picks in zip(*(matching(pattern, every) for pattern in patterns), strict=True)]
    return {
        layer.name: layer.note
        for layer, matched in zip(every, asked, strict=True)
        if matched and (layer.note.startswith(NOT_ROWS) or layer.note.endswith(arrays.NO_ROWS))
    }
