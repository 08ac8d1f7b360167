"""The one loop: inputs from sources, through a model, into a store; a batch of activations in memory at a time."""

from __future__ import annotations

from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from actstore.adapters import Adapter, LayerRow, adapt
from actstore.captured import RowBatch
from actstore.choice import RowChoice
from actstore.errors import ActstoreError, DumpError, SourceError
from actstore.patterns import select
from actstore.provenance import InputHash, versions
from actstore.store.writer import Writer
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from os import PathLike

    from actstore.adapters.base import Run
    from actstore.sources import Batch, SplitData
    from actstore.store.format import JSON
    from actstore.store.reader import Store

_DESCRIBED_ROWS = 2


@dataclass(frozen=True)
class DumpSettings:
    """How to dump.

    Args:
        layers: patterns (see ``actstore.patterns``).
        batch_size: rows that go through the model together, where the source lets us choose.
        limit: of each source, the first so many rows; None for all. (``digits`` alone is three sources, its splits.)
        device: where the model runs; None for where it is.
        overwrite: replace an existing store, once the new one is whole.
        command: the command line, for the provenance.
    """

    layers: tuple[str, ...]
    batch_size: int = 256
    limit: int | None = None
    device: str | None = None
    overwrite: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        for name in ("batch_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} is {value}; at least 1 was expected"
                raise DumpError(msg)


@dataclass(frozen=True)
class Progress:
    """How far a dump is: rows so far, of how many (None where a source does not know), bytes of activations so far."""

    rows: int
    total_rows: int | None
    bytes: int


def dump(
    model: object,
    data: Sequence[SplitData],
    out: str | PathLike[str],
    settings: DumpSettings,
    progress: Callable[[Progress], None] | None = None,
) -> Store:
    """Run ``data`` through ``model`` and store the layers that ``settings.layers`` picks.

    Everything that can be refused is refused before the first row is stored. After an error, what was sealed stays
    as an incomplete store that says so, and a note on the error says where.

    Raises:
        ActstoreError: unknown layers, labels of another length, a model or a source that fails, an existing ``out``.
    """
    adapter = adapt(model, settings.device)
    writer = Writer(out, overwrite=settings.overwrite)
    loop = DumpLoop(writer, settings, progress)
    plan = loop.plan(adapter, data)
    with writer:
        loop.run(plan)
        return writer.finish()


def describe_layers(
    model: object, data: Sequence[SplitData] | None = None, device: str | None = None
) -> list[LayerRow]:
    """Every layer of ``model`` in call order, as one small batch of ``data`` shows them; without data, what is known.

    Raises:
        ActstoreError: the model or the source fails, or shows its layers only when it runs.
    """
    adapter = adapt(model, device)
    if not data:
        return adapter.layers(None)
    with closing(data[0].batches(_DESCRIBED_ROWS, RowChoice())) as batches:
        return _described(adapter, next(batches))


class RowIds:
    """Default ids: ``SPLIT/INDEX``, counted within each split; only ``INDEX`` where there is no split."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()

    def of(self, splits: Sequence[str]) -> list[str]:
        """The ids of the next rows, which belong to ``splits``."""
        ids = []
        for split in splits:
            ids.append(f"{split}/{self._rows[split]}" if split else str(self._rows[split]))
            self._rows[split] += 1
        return ids


@dataclass(frozen=True)
class Plan:
    """A dump that nothing known speaks against: ``layers`` of every row of ``data``, whose first batches are read."""

    adapter: Adapter
    layers: Sequence[LayerRow]
    data: Sequence[SplitData]
    first_batches: Iterator[Batch]


class DumpLoop:
    """Feeds a writer: ``run(plan(...))``, as often as there is data; the ids go on."""

    def __init__(
        self, writer: Writer, settings: DumpSettings, progress: Callable[[Progress], None] | None = None
    ) -> None:
        self.ids = RowIds()
        self._writer, self._settings, self._progress = writer, settings, progress
        self._so_far = Progress(0, 0, 0)
        self._data: list[JSON] = []
        self._model: Mapping[str, JSON] | None = None

    def plan(self, adapter: Adapter, data: Sequence[SplitData]) -> Plan:
        """Refuse what can be refused before a row is stored.

        Raises:
            ActstoreError: see ``dump``.
        """
        if not data:
            msg = "there is no data to dump; name some"
            raise SourceError(msg)
        for item in data:
            item.check_lengths()
        batches = self._batches(data[0])
        first = next(batches)
        layers = select(self._settings.layers, _described(adapter, first))
        model = adapter.provenance()
        if self._model not in (None, model):
            msg = "the model is not the one this store was begun with (its weights changed); begin another store for it"
            raise DumpError(msg)
        self._model = model
        return Plan(adapter, layers, data, chain([first], batches))

    def run(self, plan: Plan) -> None:
        """Store all rows.

        Raises:
            ActstoreError: see ``dump``.
        """
        options: JSON = {**asdict(self._settings), "layers": list(self._settings.layers)}
        self._writer.note(model=self._model, options=options)
        self._expect(plan.data)
        with plan.adapter.running(plan.layers) as run:
            for index, item in enumerate(plan.data):
                self._store(item, self._batches(item) if index else plan.first_batches, run)
        self._writer.note(data=self._data, versions=versions())

    def _store(self, item: SplitData, batches: Iterator[Batch], run: Run) -> None:
        inputs_hash, rows = InputHash(), 0
        for number, batch in enumerate(batches, start=1):
            splits = [item.split] * batch.rows
            ids = self.ids.of(splits)
            with _blaming_model(f"batch {number} (rows {ids[0]!r} to {ids[-1]!r})"):
                activations = run(batch.inputs)
            self._writer.append(RowBatch(activations, ids, splits, batch.targets))
            inputs_hash.update(batch.inputs)
            rows += batch.rows
            self._report(batch.rows, sum(layer.array.nbytes for layer in activations.values()))
        spec = item.source.spec
        self._data.append(
            {"split": item.split, "source": spec, "rows": rows, "inputs": inputs_hash.hexdigest()}
        )

    def _batches(self, item: SplitData) -> Iterator[Batch]:
        return item.batches(self._settings.batch_size, RowChoice(self._settings.limit))

    def _expect(self, data: Sequence[SplitData]) -> None:
        choice = RowChoice(self._settings.limit)
        expected = [self._so_far.total_rows, *(item.expected_rows(choice) for item in data)]
        known = [rows for rows in expected if rows is not None]
        self._so_far = replace(self._so_far, total_rows=sum(known) if len(known) == len(expected) else None)

    def _report(self, rows: int, nbytes: int) -> None:
        self._so_far = replace(self._so_far, rows=self._so_far.rows + rows, bytes=self._so_far.bytes + nbytes)
        if self._progress is not None:
            self._progress(self._so_far)


def _described(adapter: Adapter, batch: Batch) -> list[LayerRow]:
    with _blaming_model("the first batch"):
        return adapter.layers(batch.inputs)


@contextmanager
def _blaming_model(where: str) -> Iterator[None]:
    """Errors of the user's model as one line that names the batch."""
    try:
        yield
    except ActstoreError:
        raise
    except Exception as error:
        msg = f"the model failed on {where}: {explain(error)}"
        raise DumpError(msg) from error
