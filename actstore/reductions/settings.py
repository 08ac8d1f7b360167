"""What is asked of the layers, as the command line says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.errors import DumpError
from actstore.patterns import check_patterns
from actstore.store.format import FLOATS

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE = "none"
POOLS = ("mean", "max", "cls", "first", "last", NONE)


@dataclass(frozen=True)
class ReductionSettings:
    """What to keep of each layer; by default all.

    Args:
        pool: ``mean`` for every layer, ``PATTERN=mean`` for some (``actstore.patterns``); later ones win. ``mean`` and
            ``max`` go over every axis but channels and features; ``cls`` takes the first position, ``first`` and
            ``last`` those of the real tokens; ``none`` exempts layers.
        random_features: of each layer so many features, drawn without replacement (Alain & Bengio 2016, appendix A.1).
        random_projection: of each layer so many sums of its features, weighted by draws from N(0, 1/K), which keep
            distances (Johnson & Lindenstrauss 1984; proof: Dasgupta & Gupta 2003).
        dtype: what floating-point layers are stored as; None for as they are. Integers stay integers.
        seed: of the draws; each layer has draws of its own, whatever other layers there are.

    Raises:
        DumpError: a pool or a dtype that there is not, or counts below 1.
    """

    pool: Sequence[str] = ()
    random_features: int | None = None
    random_projection: int | None = None
    dtype: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.pool, str):  # one text is a sequence of its letters, too
            object.__setattr__(self, "pool", (self.pool,))
        for entry in self.pool:
            pool_entry(entry)
        for name in ("random_features", "random_projection"):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} is {value}; expected at least 1"
                raise DumpError(msg)
        if self.dtype is not None and self.dtype not in FLOATS:
            msg = f"dtype {self.dtype!r} is none to cast to; expected {', '.join(FLOATS)}"
            raise DumpError(msg)
        if self.seed < 0:
            msg = f"seed is {self.seed}; expected 0 or more"
            raise DumpError(msg)


def pool_entry(entry: str) -> tuple[str | None, str]:
    """The pattern (None for every layer) and the pool of ``[PATTERN=]POOL``.

    Raises:
        DumpError: no such pool.
        LayerError: a malformed pattern.
    """
    pattern, equals, pool = entry.rpartition("=")
    if pool not in POOLS or (equals and not pattern):
        msg = f"pool {entry!r} is not of the form [PATTERN=]POOL, with a POOL of {', '.join(POOLS)}"
        raise DumpError(msg)
    if equals:
        check_patterns([pattern])
    return (pattern if equals else None), pool
