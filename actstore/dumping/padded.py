"""What becomes of padding: no row of a store is to be made of it unasked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore import arrays
from actstore.adapters.moves import POSITION
from actstore.errors import LayerError
from actstore.reductions.pool import chosen_kinds
from actstore.reductions.positions import EXPECTED, MASK, read_mask
from actstore.reductions.settings import NONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.activations import Captured, ModelLayer
    from actstore.dumping.plan import LoopSettings
    from actstore.reductions import Reductions
    from actstore.reductions.plan import LayerReduction

_CHOICES = (
    "choose --pool last or --pool mean (one vector for each example), or --row token (a row for each token); "
    "--pool none stores what there is, the padding too"
)


@dataclass(frozen=True)
class Padded:
    """The layers that are stored with all their positions, by name, each with how many it had when it was described.

    Not those that an entry of ``--pool`` exempts by ``none``: their padding is asked for.
    """

    positions: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, reductions: Reductions, settings: LoopSettings) -> Padded:
        """Find them among the layers of a dump; there are none where a row is a token or a word."""
        if not settings.unit.whole:
            return cls({})
        found = (reductions.of(layer.name) for layer in reductions.layers)
        plans = [plan for plan in found if plan is not None]
        asked = chosen_kinds(settings.reductions.pool, [plan.layer for plan in plans])
        kept = [plan.layer for plan in plans if _keeps_positions(plan)]
        return cls({layer.name: _where(layer) for layer in kept if asked.get(layer.name) != NONE})

    def refuse(self, inputs: object) -> None:
        """Refuse a batch that says of some positions that they are padding, or says it in a way that is not known.

        Raises:
            LayerError: naming a layer and what to do.
        """
        given = inputs.get(MASK) if isinstance(inputs, Mapping) else None
        if given is None or not self.positions:
            return
        name = next(iter(self.positions))
        would = f"layer {name!r} would be stored with all positions of each example, but the batch"
        rows, real = arrays.count_rows(inputs), read_mask(given)
        if real is None or len(real) != rows:
            msg = (
                f"{would}'s {MASK} is {arrays.describe(given)}, which does not tell which of them are padding: "
                f"({rows} rows, positions) {EXPECTED}; --pool none stores what there is, the padding too"
            )
            raise LayerError(msg)
        if not real.all():
            msg = f"{would} is padded (its {MASK} has zeros), and a probe would be fitted on the padding: {_CHOICES}"
            raise LayerError(msg)

    def check(self, activations: Mapping[str, Captured]) -> None:
        """Refuse a batch of other lengths than the first.

        Raises:
            LayerError: naming a layer and what to do.
        """
        for name, (axis, length) in self.positions.items():
            shape: Sequence[int] = activations[name].array.shape
            if len(shape) > axis and shape[axis] != length:
                msg = (
                    f"layer {name!r} has {shape[axis]} positions for this batch, where the first had {length}, and a "
                    f"row is the same size throughout a store: {_CHOICES}"
                )
                raise LayerError(msg)


def _keeps_positions(plan: LayerReduction) -> bool:
    return POSITION in plan.layer.axes and (plan.pool is None or not plan.pool.axes)


def _where(layer: ModelLayer) -> tuple[int, int]:
    """Which axis of a layer's array holds positions, and how many."""
    axis = layer.axes.index(POSITION)
    return axis + 1, (layer.shape or ())[axis]
