"""What the data gives, batch after batch, with ids and hashes: a dump is resumed with the same data or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.dumping.repeats import Repeats
from actstore.errors import DumpError
from actstore.provenance import InputHash, LabelHash, hash_text
from actstore.rows.ids import RowIds
from actstore.store.documents.records import Seen

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from actstore.dumping.plan import DumpPlan
    from actstore.sources import Batch, SplitData
    from actstore.store.format import JSON


@dataclass(frozen=True)
class ReadBatch:
    """A batch as it was read.

    Args:
        batch: of the source.
        position: of its item in the list of data.
        number: of the batch within its item, counted from 1.
        ids: (examples,).
        seen: how far the dump is with it.
    """

    batch: Batch
    position: int
    number: int
    ids: Sequence[str]
    seen: Seen


class Reading:
    """Reads the data of a dump once, item after item; ids and hashes go on from plan to plan.

    ``items`` and ``skipped`` are what the provenance tells of what was read.
    """

    def __init__(self) -> None:
        self.ids = RowIds()
        self.items: list[JSON] = []
        self.skipped: list[JSON] = []
        self._done: list[str] = []
        self._inputs, self._labels = InputHash(), LabelHash()
        self.read_batches = 0

    def batches(self, plan: DumpPlan) -> Iterator[ReadBatch]:
        """Read the share's batches of all items."""
        for position, item in enumerate(plan.data):
            spanned = yield from self._of_item(plan, position)
            ids = self.ids.at(item.split, item.left_out, item.row_ids)
            files = item.left_out.values()
            self.skipped += [{"id": row, "file": file} for row, file in zip(ids, files, strict=True)]
            rows = item.source.rows
            self.ids.pass_over(item.split, spanned if rows is None else plan.settings.choice.limited(rows))

    def _of_item(self, plan: DumpPlan, position: int) -> Generator[ReadBatch, None, int]:
        """Read one item; returns how many rows its ids span, as far as reading tells."""
        item, rows, spanned = plan.data[position], 0, 0
        repeats = Repeats(item)
        for number, batch in plan.batches(position):
            if not rows:
                self._next_item()
            rows, spanned = rows + batch.rows, int(batch.places[-1]) + 1
            ids = self.ids.at(item.split, batch.places.tolist(), item.row_ids)
            repeats.add(batch)
            yield ReadBatch(batch, position, number, ids, self._update(batch))
        repeats.warn()
        if rows:
            self.items.append(self._told(item, plan.settings.unit.counted, rows))
        return spanned

    def _told(self, item: SplitData, counted: str, rows: int) -> JSON:
        return {
            "split": item.split,
            "source": item.source.spec,
            counted: rows,
            "inputs": self._inputs.hexdigest(),
        }

    def _next_item(self) -> None:
        if self.read_batches:
            self._done.append(self._inputs.hexdigest())
        self._inputs = InputHash()

    def _update(self, batch: Batch) -> Seen:
        self._inputs.update(batch.inputs)
        told = {"--split-by": batch.splits, "--group-by": batch.groups}
        self._labels.update({**batch.targets, **{name: of for name, of in told.items() if of is not None}})
        self.read_batches += 1
        inputs = hash_text(" ".join([*self._done, self._inputs.hexdigest()]))
        return Seen(self.read_batches, inputs, self._labels.hexdigest())

    def check_all_came(self, stored: Seen) -> None:
        """Refuse data that ended before what was stored of it.

        Raises:
            DumpError: with both numbers of batches.
        """
        if self.read_batches < stored.batches:
            msg = (
                f"the data ended after {self.read_batches:,} batches, where the interrupted dump had "
                f"{stored.batches:,}; resume with the same data, or dump to another name"
            )
            raise DumpError(msg)


def compare(stored: Seen, seen: Seen) -> None:
    """Refuse other inputs or labels than an interrupted dump had, once its last batch was read again.

    Raises:
        DumpError: saying which of the two differ.
    """
    if seen.batches == stored.batches and seen != stored:
        what = "inputs" if seen.inputs != stored.inputs else "labels (--target)"
        msg = (
            f"the {what} are not those of the interrupted dump: among its first {stored.batches:,} batches "
            "something changed, or is in another order. Resume with the same data, or dump to another name"
        )
        raise DumpError(msg)


def check_inputs(stored: object, told: Sequence[JSON]) -> None:
    """Refuse other inputs than a whole store tells of, where it tells.

    Raises:
        DumpError: the inputs of an item of the data are others.
    """
    known = [item for item in stored if isinstance(item, Mapping)] if isinstance(stored, list) else []
    if not known or any("inputs" not in item for item in known):
        return  # of several ranks, or another writer's
    now = [(item["split"], item["inputs"]) for item in told if isinstance(item, Mapping)]
    before = [(item.get("split"), item["inputs"]) for item in known]
    if before != now:
        msg = (
            "the inputs are not those of the store, which is whole: something changed, or is in another order. "
            "Replace it (overwrite=True, --overwrite), or dump to another name"
        )
        raise DumpError(msg)


def check_labels(stored: Mapping[str, Sequence[object]], told: Mapping[str, Sequence[object]]) -> None:
    """Refuse other labels than a whole store has of the same rows; what was attached to it later stays.

    Raises:
        DumpError: naming the target.
    """
    for name, labels in told.items():
        before = stored.get(name, [None] * len(labels))
        if len(before) == len(labels) and any(
            one != other and (one == one or other == other) for one, other in zip(before, labels, strict=True)
        ):
            msg = (
                f"the labels of {name!r} are not those of the store, which is whole. Attach them under another name "
                "(actstore label), replace the store (overwrite=True, --overwrite), or dump to another name"
            )
            raise DumpError(msg)
