"""Rows that are parts of examples: which positions of a batch they are, where a row is a token or a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from actstore.errors import DumpError, LayerError, RowError
from actstore.reductions.pool import POSITION, Pool, chosen_kinds
from actstore.reductions.settings import NONE
from actstore.store.format import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actstore.activations import ModelLayer

JOINS = ("mean", "max", "first", "last")
"""How the sub-words of a word become one row; the first is the default."""

Kept: TypeAlias = "Callable[[int, int], np.ndarray]"
"""``kept(example, rows)`` says which of so many rows of an example of the batch are wanted, as (rows,) bools."""


@dataclass(frozen=True)
class Spots:
    """Rows, each with the positions that it is made of, those of one row together and in their order.

    Args:
        examples: (rows,) which example of the batch.
        positions: (rows,) index of the row among those of its example.
        counts: (rows,) of how many positions it is made; 1 for tokens.
        places: (sum of counts,) these positions.
    """

    examples: np.ndarray
    positions: np.ndarray
    counts: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, row_of: np.ndarray) -> Spots:
        """From (examples, positions) the row that each position belongs to, counted within its example; -1 for none."""
        examples, places = np.nonzero(row_of >= 0)
        rows = row_of[examples, places]
        order = np.lexsort((places, rows, examples))
        examples, rows, places = examples[order], rows[order], places[order]
        begins = np.ones(len(rows), bool)
        begins[1:] = (np.diff(examples) != 0) | (np.diff(rows) != 0)
        starts = np.flatnonzero(begins)
        return cls(examples[starts], rows[starts], np.diff(np.append(starts, len(rows))), places)

    def only(self, wanted: np.ndarray) -> Spots:
        """The rows where ``wanted``, (rows,) bools."""
        of_places = np.repeat(wanted, self.counts)
        return Spots(self.examples[wanted], self.positions[wanted], self.counts[wanted], self.places[of_places])


class BatchRows:
    """The rows of one batch of examples: its tokens, or its words.

    Known once the batch began; where no mask says which positions are real, once the first layer came.

    Args:
        unit: "token" or "word".
        words: (examples,) how many words each example has; None where the source does not say.
        kept: which rows of an example are wanted; None for all.
    """

    def __init__(self, unit: str = TOKEN, words: np.ndarray | None = None, kept: Kept | None = None) -> None:
        self.unit = unit
        self._words, self._kept = words, kept
        self._examples = 0
        self._length: int | None = None
        self.spots = Spots.of(np.empty((0, 0), np.int64))

    def __len__(self) -> int:
        return len(self.spots.examples)

    def begin(self, examples: int, real: np.ndarray | None, word_of: np.ndarray | None) -> None:
        """Find the rows of a batch.

        Args:
            examples: how many there are.
            real: (examples, positions) bools, where there is a token; None where all are or the batch does not say.
            word_of: (examples, positions) ints, which word of its example each position belongs to, -1 for none; None
                where the adapter does not know.

        Raises:
            DumpError: words are asked for, and nobody knows them.
            RowError: an example has other words than its source says.
        """
        self._examples, self._length = examples, None
        if self.unit != TOKEN and word_of is None:
            msg = (
                "a row per word was asked for, but this model's adapter does not know which positions belong to which "
                "word; give text to a Hugging Face model with a fast tokenizer (hf:FOLDER), or use --row token"
            )
            raise DumpError(msg)
        if self.unit == TOKEN and real is not None:
            self._find(_numbered(real))
        elif self.unit != TOKEN and word_of is not None:
            self._find(word_of)
            self._check_words()

    def at(self, layer: str, shape: tuple[int, ...], axis: int) -> Spots:
        """The rows, for a layer whose ``axis`` holds positions.

        Raises:
            LayerError: the layer has other positions than the batch, or the layers before it.
        """
        if self._length is None:
            self._find(_numbered(np.ones((self._examples, shape[axis]), bool)))
        if shape[axis] != self._length:
            msg = (
                f"layers whose row counts differ: {layer!r} has the shape {shape[1:]} for a batch whose examples have "
                f"{self._length} positions, so it has no row per {self.unit}: leave it out, or dump it with "
                "--row example"
            )
            raise LayerError(msg)
        return self.spots

    def _find(self, row_of: np.ndarray) -> None:
        self._length = row_of.shape[1]
        self.spots = Spots.of(row_of)
        if self._kept is not None:
            counts = np.bincount(self.spots.examples, minlength=self._examples)
            parts = [self._kept(example, int(count)) for example, count in enumerate(counts)]
            self.spots = self.spots.only(np.concatenate([np.empty(0, bool), *parts]))

    def _check_words(self) -> None:
        if self._words is None or self._kept is not None:
            return
        found = np.bincount(self.spots.examples, minlength=self._examples)
        wrong = np.flatnonzero(found != self._words)
        if len(wrong):
            row = int(wrong[0])
            raise RowError(row, f"has {self._words[row]} words, of which the tokenizer made {found[row]}")


def choose_rows(unit: str, entries: Sequence[str], layers: Sequence[ModelLayer]) -> dict[str, Pool]:
    """Return what makes the positions of each layer rows, by name.

    Args:
        unit: "token" or "word".
        entries: of ``--pool``: how the sub-words of a word are joined, by default by their mean.
        layers: with an axis that is called position.

    Raises:
        LayerError: a layer without positions, or a pool where there is nothing to pool.
    """
    kinds = chosen_kinds(entries, layers)
    found = {}
    for layer in layers:
        kind = kinds.get(layer.name, NONE if unit == TOKEN else JOINS[0])
        if unit == TOKEN and kind != NONE:
            msg = (
                f"--pool {kind} of layer {layer.name!r} has no positions to pool: with --row token each of them is a "
                "row; leave --pool or --row token out"
            )
            raise LayerError(msg)
        if unit != TOKEN and kind not in JOINS:
            msg = f"pool {kind!r} does not make one row of a word's sub-words; expected {', '.join(JOINS)}"
            raise LayerError(msg)
        axis = _position_axis(unit, layer)
        found[layer.name] = Pool(kind, (axis,), axis, (POSITION,), unit)
    return found


def _position_axis(unit: str, layer: ModelLayer) -> int:
    """Which axis of the layer's array holds positions."""
    named = _positions_of(layer)
    if len(named) == 1:
        return named[0]
    what = f"{len(named)} axes of positions" if named else "no axis that is known to hold positions"
    others = ",".join(["other"] * (len(layer.axes) - 2))
    names = f"position,{others},feature" if others else "position,feature"
    hint = f", or say which axis is the {unit}s: --axes '{layer.name}={names}'" if len(layer.axes) > 1 else ""
    msg = (
        f"layers whose row counts differ: {layer.name!r} has the shape {layer.shape} of "
        f"({', '.join(layer.axes) or 'no axes'}) per example, {what}, so it has no row per {unit}: leave it out, or "
        f"dump it with --row example{hint}"
    )
    raise LayerError(msg)


def has_positions(layer: ModelLayer) -> bool:
    """Return whether a layer has a row per token: exactly one of its axes is known to hold positions."""
    return len(_positions_of(layer)) == 1


def _positions_of(layer: ModelLayer) -> list[int]:
    return [axis for axis, name in enumerate(layer.axes, start=1) if name == POSITION]


def _numbered(real: np.ndarray) -> np.ndarray:
    """(examples, positions) each real position's index among the real ones of its example; -1 for the others."""
    return np.where(real, np.cumsum(real, axis=1) - 1, -1)
