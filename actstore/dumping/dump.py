"""Dump a model's activations over data into a store."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from actstore.adapters import ModelLayer, adapt
from actstore.adapters.base import AUTOCAST
from actstore.dumping.first_look import DESCRIBED_ROWS, described
from actstore.dumping.loop import DumpLoop, Progress
from actstore.dumping.plan import LoopSettings
from actstore.dumping.ranks import share_of
from actstore.dumping.rows import RowUnit
from actstore.errors import DumpError, SourceError
from actstore.models import as_model
from actstore.patterns import check_axes, check_batch_axes, check_batch_axes_pick, check_patterns
from actstore.reductions import ReductionSettings
from actstore.rows.choice import RowChoice
from actstore.sources.base import SlicedSource
from actstore.store.disk.output import named_paths
from actstore.store.documents.write_place import WritePlace
from actstore.store.writing.destination import choose
from actstore.store.writing.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from os import PathLike

    from actstore.adapters.base import Adapter
    from actstore.sources import SplitData
    from actstore.store.reading.reader import Store


@dataclass(frozen=True)
class DumpSettings:
    """How to dump.

    Args:
        layers: patterns (see ``actstore.patterns``).
        exclude_layers: patterns of layers that are left out, whatever ``layers`` picks.
        batch_size: examples that go through the model together, where the source lets us choose.
        limit: of each source, the first so many examples; None for all. (``digits`` is three sources, its splits.)
        sample: keep each row with this probability; None for all.
        reductions: what is kept of each layer. Its seed is the sample's, too.
        row: what a row is: "example", "token" or "word"; None for what the data would have (a treebank: words).
        device: where the model runs; None for where it is.
        autocast: ``bf16`` or ``fp16``: run a torch model under autocast to it; layers keep the dtypes that come.
        trace: show the functional calls between torch modules as layers, too (``add``, ``layer1.0.relu_1``).
        step: the training step; a store can have several, of the same rows. None for a store without steps.
        rank: which share of the rows this process dumps, from 0.
        world_size: how many processes share them.
        skip_bad: leave out images that cannot be read, and record which. All that are wanted are read once to know,
            before the first row is stored; the other rows keep their ids.
        overwrite: replace an existing store, once the new one is whole.
        resume: go on with what an interrupted dump of the same left, where there is such.
        axes: ``PATTERN=NAME,NAME,...``: what the axes of layers are, where nobody can know (``channel,height,width``).
        stop_early: end each pass of a torch or Keras model after the deepest layer asked for. A model that keeps
            something from one layer to a later one may find it in its next pass.
        resume_anyway: go on where other versions of the libraries computed rows that are there; both are recorded.
        batch_axis: ``PATTERN=N``: which axis of layers is the rows of the batch, where it is not the first (of a model
            that works sequence first inside).
        truncate: cut texts that are longer than the model takes; they are refused otherwise.
        selfcheck: whether to refuse a model that gives a row other values when it runs again, beside other rows, or
            padded (see ``actstore.dumping.selfcheck``). A dump that is resumed was checked when it began.
        keep_input: "text" or "thumbnail": store the text, or a small image, of each example, too, to show it later
            (``store.inputs_kept``).
        inputs: files and folders that are read besides the data (model, weights, labels), as SPECs; like the data's own
            files, none of them is ever replaced.
        command: the command line, for the provenance.
    """

    layers: tuple[str, ...]
    batch_size: int = 256
    limit: int | None = None
    sample: float | None = None
    reductions: ReductionSettings = field(default_factory=ReductionSettings)
    row: str | None = None
    device: str | None = None
    autocast: str | None = None
    trace: bool = False
    step: int | None = None
    rank: int = 0
    world_size: int = 1
    skip_bad: bool = False
    overwrite: bool = False
    resume: bool = False
    axes: tuple[str, ...] = ()
    stop_early: bool = False
    resume_anyway: bool = False
    selfcheck: bool = True
    keep_input: str | None = None
    inputs: tuple[str, ...] = ()
    command: str = ""
    exclude_layers: tuple[str, ...] = ()
    batch_axis: tuple[str, ...] = ()
    truncate: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            msg = f"batch_size is {self.batch_size}; expected at least 1"
            raise DumpError(msg)
        if self.autocast not in (None, *AUTOCAST):
            msg = f"autocast is {self.autocast!r}; expected {' or '.join(AUTOCAST)}"
            raise DumpError(msg)
        WritePlace(self.step, self.rank, self.world_size)
        check_patterns([*self.layers, *self.exclude_layers])
        check_axes(self.axes)
        check_batch_axes(self.batch_axis)
        self.loop(RowUnit() if self.row is None else RowUnit(self.row))

    def adapted(self, model: object) -> Adapter:
        """Return the adapter that runs a model as is asked here; AdapterError where none can."""
        return adapt(
            model,
            self.device,
            autocast=self.autocast,
            trace=self.trace,
            stop_early=self.stop_early,
            batch_axis=self.batch_axis,
            truncate=self.truncate,
        )

    def loop(self, unit: RowUnit) -> LoopSettings:
        """Return what decides which activations there are, where a row is this."""
        choice = RowChoice(self.limit, self.sample, self.reductions.seed)
        return LoopSettings(
            self.layers,
            self.batch_size,
            choice,
            self.reductions,
            unit,
            axes=self.axes,
            batch_axis=self.batch_axis,
            truncate=self.truncate,
            selfcheck=self.selfcheck,
            exclude=self.exclude_layers,
            keep_input=self.keep_input,
        )

    def inputs_of(self, data: Sequence[SplitData]) -> list[str]:
        """Return the files and folders that are read, none of which is ever replaced."""
        return named_paths(*self.inputs, *(item.source.spec for item in data))


def check_beforehand(data: Sequence[SplitData], settings: DumpSettings) -> WritePlace:
    """Refuse what can be refused without the model; nothing is written. Returns the place that the dump would have.

    Raises:
        ActstoreError: data that cannot be read, or not in such rows; ranks of a source without a length; --skip-bad
            for what is no folder of images; columns that are not there.
    """
    if settings.skip_bad:
        check_can_be_bad(data)
    loop_settings = settings.loop(RowUnit.of(settings.row, data))
    for position, item in enumerate(data):
        if isinstance(item.source, SlicedSource) and not settings.skip_bad:  # what it gives once it gives again
            with closing(item.batches(1, loop_settings.examples, position, range(1))) as batches:
                next(batches)
    share = share_of(data, loop_settings, settings.rank, settings.world_size)
    return WritePlace(settings.step, settings.rank, settings.world_size, share.first_row, share.rows)


def check_output(
    data: Sequence[SplitData], out: str | PathLike[str], settings: DumpSettings, place: WritePlace
) -> None:
    """Refuse an output that the dump could not write, before anything runs; nothing is written.

    Raises:
        StoreError: see ``Writer``. InUseError where another process writes it.
    """
    choose(
        out,
        place,
        overwrite=settings.overwrite,
        resume=settings.resume or settings.resume_anyway,
        inputs=settings.inputs_of(data),
    )


def dump(
    model: object,
    data: Sequence[SplitData],
    out: str | PathLike[str],
    settings: DumpSettings,
    progress: Callable[[Progress], None] | None = None,
) -> Store:
    """Run ``data`` through ``model`` and store the layers that ``settings.layers`` picks.

    Everything that can be refused is refused before the first row is stored. After an error, what was sealed stays
    as an incomplete store that says so, and a note on the error says where. Resuming reads the data from its beginning,
    compares it with what was seen, and runs the model again from the first batch that is not there.

    Raises:
        ActstoreError: unknown layers, labels of another length, a model or a source that fails, an existing ``out``,
            a disk that is too small; and where a dump cannot be resumed because something else would come of it.
    """
    adapter = settings.adapted(model)
    unit = RowUnit.of(settings.row, data)
    loop_settings = settings.loop(unit)
    if settings.skip_bad:
        data = without_bad(data, loop_settings.examples)
    share = share_of(data, loop_settings, settings.rank, settings.world_size)
    place = WritePlace(settings.step, settings.rank, settings.world_size, share.first_row, share.rows)
    writer = Writer(
        out,
        place=place,
        row_unit=unit.name,
        overwrite=settings.overwrite,
        resume=settings.resume or settings.resume_anyway,
        resume_anyway=settings.resume_anyway,
        inputs=settings.inputs_of(data),
    )
    writer.note(command=settings.command)
    loop = DumpLoop(writer, loop_settings, progress)
    plan = loop.plan(adapter, data, share)
    if writer.whole:
        loop.announce(plan)
        store = writer.open_whole(plan.stored())
        own = store.at(place.number) if place.number in store.steps else store
        loop.check_whole(plan, own)
        return store
    with writer:
        loop.run(plan)
        loop.check_all_came()
        return writer.finish()


def describe_layers(
    model: object,
    data: Sequence[SplitData] | None = None,
    device: str | None = None,
    *,
    autocast: str | None = None,
    trace: bool = False,
    batch_axis: Sequence[str] = (),
    truncate: bool = False,
) -> list[ModelLayer]:
    """Every layer of ``model`` in call order, as one small batch of ``data`` shows them; without data, what is known.

    With them, as ``goes_in``, what goes into each; the other arguments are those of ``DumpSettings``.

    Raises:
        ActstoreError: the model or the source fails, or shows its layers only when it runs.
    """
    check_batch_axes(batch_axis)
    how = {"autocast": autocast, "trace": trace, "batch_axis": tuple(batch_axis), "truncate": truncate}
    adapter = adapt(as_model(model), device, **how)  # type: ignore[arg-type]
    if not data:
        return adapter.layers(None)
    with closing(data[0].batches(DESCRIBED_ROWS, RowChoice())) as batches:
        layers = list(described(adapter, next(batches)).layers)
    check_batch_axes_pick(batch_axis, layers)
    return layers


@runtime_checkable
class CheckedSource(Protocol):
    """A source of files, some of which may be bad."""

    def bad_rows(self, places: Iterable[int]) -> Mapping[int, str]:
        """Return those of these places that cannot be read, each with its file."""
        ...


def without_bad(data: Sequence[SplitData], choice: RowChoice) -> list[SplitData]:
    """Read the rows that are wanted of the data once, and leave out those that cannot be read.

    The other rows keep their places, and with them their labels and ids.

    Raises:
        SourceError: no source that can tell, or one of which no row can be read.
    """
    check_can_be_bad(data)
    return [_without_bad(item, choice, position) for position, item in enumerate(data)]


def check_can_be_bad(data: Sequence[SplitData]) -> None:
    """SourceError unless some of the data can tell which of its rows are bad."""
    if not any(isinstance(item.source, CheckedSource) for item in data):
        specs = ", ".join(item.source.spec for item in data)
        msg = f"--skip-bad is for folders of images, but the data is {specs}; leave it out"
        raise SourceError(msg)


def _without_bad(item: SplitData, choice: RowChoice, position: int) -> SplitData:
    if not isinstance(item.source, CheckedSource):
        return item
    places = item.places(choice, position)
    bad = item.source.bad_rows(places)
    if bad and len(bad) == len(places):
        msg = f"none of the {len(bad):,} rows of {item.source.spec} can be read; without --skip-bad the reason is told"
        raise SourceError(msg)
    return replace(item, left_out=bad)
