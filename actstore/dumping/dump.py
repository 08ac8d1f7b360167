"""Dump a model's activations over data into a store."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actstore.adapters import ModelLayer, adapt
from actstore.adapters.base import AUTOCAST
from actstore.dumping.bad_rows import without_bad
from actstore.dumping.first_look import DESCRIBED_ROWS, described
from actstore.dumping.loop import DumpLoop, LoopSettings, Progress
from actstore.dumping.ranks import Share, all_of, share_of
from actstore.dumping.row_units import row_unit
from actstore.errors import DumpError
from actstore.reductions import ReductionSettings
from actstore.row_choice import RowChoice
from actstore.store.disk.output import named_paths
from actstore.store.documents.write_place import WritePlace
from actstore.store.format import EXAMPLE, ROW_UNITS
from actstore.store.writing.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from actstore.sources import SplitData
    from actstore.store.reading.reader import Store


@dataclass(frozen=True)
class DumpSettings:
    """How to dump.

    Args:
        layers: patterns (see ``actstore.patterns``).
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
        skip_bad: leave out images that can not be read, and record which. All that are wanted are read once to know,
            before the first row is stored; the other rows keep their ids.
        overwrite: replace an existing store, once the new one is whole.
        resume: go on with what an interrupted dump of the same left, where there is such.
        resume_anyway: go on where other versions of the libraries computed rows that are there; both are recorded.
        selfcheck: whether to refuse a model whose first batch comes out differently when run again, or row by row
            (see ``actstore.dumping.selfcheck``). A dump that is resumed was checked when it began.
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
    resume_anyway: bool = False
    selfcheck: bool = True
    inputs: tuple[str, ...] = ()
    command: str = ""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            msg = f"batch_size is {self.batch_size}; at least 1 was expected"
            raise DumpError(msg)
        if self.autocast not in (None, *AUTOCAST):
            msg = f"autocast is {self.autocast!r}; {' or '.join(AUTOCAST)} was expected"
            raise DumpError(msg)
        if self.row not in (None, *ROW_UNITS):
            msg = f"row is {self.row!r}; one of {', '.join(ROW_UNITS)} was expected"
            raise DumpError(msg)
        WritePlace(self.step, self.rank, self.world_size)
        self.loop(EXAMPLE)

    def loop(self, row: str) -> LoopSettings:
        """What decides which activations there are, where a row is this."""
        choice = RowChoice(self.limit, self.sample, self.reductions.seed)
        return LoopSettings(self.layers, self.batch_size, choice, self.reductions, row, self.selfcheck)


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
            a disk that is too small; and where a dump can not be resumed because something else would come of it.
    """
    adapter = adapt(model, settings.device, autocast=settings.autocast, trace=settings.trace)
    unit = row_unit(settings.row, data)
    loop_settings = settings.loop(unit)
    if settings.skip_bad:
        data = without_bad(data, loop_settings.examples)
    share = _share(data, settings, loop_settings.choice, unit)
    place = WritePlace(settings.step, settings.rank, settings.world_size, share.first_row, share.rows)
    writer = Writer(
        out,
        place=place,
        row_unit=unit,
        overwrite=settings.overwrite,
        resume=settings.resume or settings.resume_anyway,
        resume_anyway=settings.resume_anyway,
        inputs=named_paths(*settings.inputs, *(item.source.spec for item in data)),
    )
    writer.note(command=settings.command)
    loop = DumpLoop(writer, loop_settings, progress)
    plan = loop.plan(adapter, data, share)
    if writer.whole:
        loop.announce(plan)
        return writer.open_whole(plan.stored())
    with writer:
        loop.run(plan)
        loop.check_all_came()
        return writer.finish()


def _share(data: Sequence[SplitData], settings: DumpSettings, choice: RowChoice, unit: str) -> Share:
    if settings.world_size == 1:
        return all_of(data, choice, unit)
    if unit != EXAMPLE:
        msg = (
            f"ranks can not share a dump with a row per {unit}: where a rank begins is known once all before it ran. "
            "Dump it with one process (--world-size 1), or each part to a store of its own, and merge them"
        )
        raise DumpError(msg)
    return share_of(data, settings.batch_size, choice, settings.rank, settings.world_size)


def describe_layers(
    model: object,
    data: Sequence[SplitData] | None = None,
    device: str | None = None,
    *,
    autocast: str | None = None,
    trace: bool = False,
) -> list[ModelLayer]:
    """Every layer of ``model`` in call order, as one small batch of ``data`` shows them; without data, what is known.

    With them, as ``goes_in``, what goes into each; the other arguments are those of ``DumpSettings``.

    Raises:
        ActstoreError: the model or the source fails, or shows its layers only when it runs.
    """
    adapter = adapt(model, device, autocast=autocast, trace=trace)
    if not data:
        return adapter.layers(None)
    with closing(data[0].batches(DESCRIBED_ROWS, RowChoice())) as batches:
        return described(adapter, next(batches))
