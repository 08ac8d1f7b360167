"""What a row of the store is: an example, or each token or word of one; its id, and the rows of a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from actstore.activations import Captured, RowBatch
from actstore.errors import DumpError, SourceError
from actstore.reductions import kept_inputs
from actstore.reductions.parts_of_examples import BatchRows
from actstore.rows.choice import KeptRows
from actstore.store.format import EXAMPLE, ROW_UNITS, TOKEN, WORD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.reductions.parts_of_examples import Spots
    from actstore.rows.choice import RowChoice
    from actstore.sources import Batch, SplitData


@dataclass(frozen=True)
class RowUnit:
    """The kind of row that a store has: "example", "token" or "word". Decides everything that depends on it.

    Raises:
        DumpError: there is no such kind.
    """

    name: str = EXAMPLE

    def __post_init__(self) -> None:
        if self.name not in ROW_UNITS:
            msg = f"row is {self.name!r}; expected one of {', '.join(ROW_UNITS)}"
            raise DumpError(msg)

    @classmethod
    def of(cls, asked: str | None, data: Sequence[SplitData]) -> RowUnit:
        """Return the kind that was asked for, or else the one that all the data would have.

        Raises:
            SourceError: data of several kinds, or whose labels are of words where a row is none.
        """
        own = {item.row_unit: item.source.spec for item in data}
        if asked is None and len(own) > 1:
            kinds = ", ".join(f"a row of {spec} is one {unit}" for unit, spec in own.items())
            msg = f"a store has one kind of row, but {kinds}; make a store of each, or say --row {WORD} for all"
            raise SourceError(msg)
        unit = asked or next(iter(own), EXAMPLE)
        if unit != WORD and WORD in own:
            msg = (
                f"the labels of {own[WORD]} are of words, and a row per {unit} has no place for them; leave --row out, "
                "or give its sentences as text"
            )
            raise SourceError(msg)
        return cls(unit)

    @property
    def whole(self) -> bool:
        """Whether rows are the examples themselves, and not parts of them."""
        return self.name == EXAMPLE

    @property
    def counted(self) -> str:
        """Return what the provenance counts of the data."""
        return "rows" if self.whole else "examples"

    def examples(self, choice: RowChoice) -> RowChoice:
        """Return which examples run: all that the limit leaves, where the sample is one of their parts."""
        return choice if self.whole else replace(choice, sample=None)

    def expected(self, item: SplitData, choice: RowChoice, position: int) -> int | None:
        """Return how many rows an item of data gives; None where only reading, or running the model, would tell."""
        if self.whole:
            return item.expected_rows(choice, position)
        return item.expected_words(choice) if self.name == WORD else None

    def parts(self, choice: RowChoice, item: SplitData, position: int, batch: Batch) -> BatchRows | None:
        """Return the tokens or words of a batch, yet to be found in it; None where its examples are the rows."""
        if self.whole:
            return None
        kept, places = KeptRows(choice, position, item.split), batch.places.tolist()
        wanted = None if choice.sample is None else lambda example, rows: kept.within(places[example], rows)
        return BatchRows(self.name, batch.words, wanted)


def row_batch(
    activations: Mapping[str, Captured],
    batch: Batch,
    ids: Sequence[str],
    item: SplitData,
    rows: BatchRows | None,
) -> RowBatch:
    """Return what is stored of a batch.

    Args:
        activations: its layers.
        batch: with a label per example, or per word where it has ``words``.
        ids: (examples,).
        item: of data that they are of; its split is that of rows without one of their own.
        rows: which tokens or words are the rows, ``ID/POSITION`` in the group ``ID``; None where examples are. A wider
            group of the examples is then a target of the rows.
    """
    splits = [item.split] * batch.rows if batch.splits is None else batch.splits.tolist()
    if rows is None:
        own = None if batch.groups is None else batch.groups.tolist()
        return RowBatch(activations, ids, splits, batch.targets, own)
    examples, positions = rows.spots.examples, rows.spots.positions
    groups = [ids[example] for example in examples.tolist()]
    return RowBatch(
        activations,
        [f"{group}/{position}" for group, position in zip(groups, positions.tolist(), strict=True)],
        [splits[example] for example in examples.tolist()],
        _targets_of_parts(batch, rows.spots, item.columns.group_by),
        groups,
        positions,
    )


def with_inputs(stored: RowBatch, batch: Batch, kind: str | None, rows: BatchRows | None) -> RowBatch:
    """Return a batch with what is kept of its inputs: texts, each at all rows of its example, or thumbnails."""
    if kind == kept_inputs.TEXT:
        texts = kept_inputs.kept_texts(batch.inputs)
        texts = texts if rows is None else texts[rows.spots.examples]
        named = np.ma.MaskedArray(texts, mask=texts == "")
        return replace(stored, targets={**stored.targets, kept_inputs.TEXT_TARGET: named})
    if kind == kept_inputs.THUMBNAIL:
        images = Captured(kept_inputs.thumbnails(batch.inputs), "uint8", kept_inputs.THUMBNAIL_AXES)
        return replace(stored, activations={**stored.activations, kept_inputs.THUMBNAIL_LAYER: images})
    return stored


def with_tokens(stored: RowBatch, tokens: np.ndarray | None, rows: BatchRows | None) -> RowBatch:
    """Return a batch with the token of each row as a target, out of (examples, positions) tokens."""
    if tokens is None or rows is None:
        return stored
    own = tokens[rows.spots.examples, rows.spots.places]
    return replace(stored, targets={**stored.targets, TOKEN: own})


def _targets_of_parts(batch: Batch, spots: Spots, wider: str | None) -> dict[str, np.ndarray]:
    """The labels of tokens or words, and as one more target the groups of their examples, by the name ``wider``."""
    labels = spots.examples
    if batch.words is not None:
        labels = (np.cumsum(batch.words) - batch.words)[spots.examples] + spots.positions
    targets = {name: values[labels] for name, values in batch.targets.items()}
    if batch.groups is not None and wider is not None:
        targets.setdefault(wider, batch.groups[spots.examples])
    return targets
