"""Which layers a rank begins with, where several processes fit them together."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from solvers.probing.layer.slices import FitLayer

__all__ = ["Entry", "Share", "share_of"]

PARTS_SUFFIX = ".parts"


@dataclass(frozen=True)
class Share:
    """Process ``rank`` of ``world_size``."""

    rank: int
    world_size: int

    def in_order(self, layers: Sequence[FitLayer]) -> list[FitLayer]:
        """Return all layers: first every ``world_size``-th, from ``rank`` on, then those that others begin with.

        All steps of a layer count as one, since each starts from the step before.
        """
        chains: dict[tuple[str, int], int] = {}
        for layer in layers:
            chains.setdefault((layer.name, layer.seed), len(chains))
        turns = {
            layer.number: (chains[layer.name, layer.seed] - self.rank) % self.world_size for layer in layers
        }
        return sorted(layers, key=lambda layer: (turns[layer.number], layer.number))


@dataclass(frozen=True)
class Entry:
    """How the folder of finished layers is entered: whether another question's may go, and as which rank of several."""

    overwrite: bool = False
    share: Share | None = None


def share_of(rank: Any, world_size: Any, parts: Path | None) -> Share | None:
    """Return the share of a process; None where it is the only one.

    Raises:
        ProblemError: not a rank of a world size, or no folder to share the layers through.
    """
    if rank is None and world_size is None:
        return None
    if not (_whole(rank) and _whole(world_size) and 0 <= rank < world_size):
        msg = f"rank {rank} of a world size of {world_size}; expected a rank from 0 to the world size less one"
        raise ProblemError(msg)
    if world_size == 1:
        return None
    if parts is None or parts.suffix != PARTS_SUFFIX or not parts.stem:
        msg = (
            f"parts is {None if parts is None else str(parts)!r}; ranks share their layers through a folder beside the "
            "file that the probes go to: give parts='PROBES.parts' and save to PROBES"
        )
        raise ProblemError(msg)
    return Share(int(rank), int(world_size))


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
