"""What a probe file holds beside its probes: the rows that they were scored on, once for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from solvers.arrays import Array

__all__ = ["Beside", "RowTable", "TableKey"]

TableKey = tuple[str, str, int | None]


@dataclass(frozen=True, eq=False)
class RowTable:
    """The rows of one target and split that probes were scored on, once for all of them.

    Args:
        target, split, fold: whose rows they are; ``fold`` is None without folds.
        arrays: by name, an entry for each row: ``index`` (int64), its place in the store; ``truth``, its code in
            ``classes`` (int32), of a regression its value; ``group`` (int64), where there are groups; ``id`` (uint64),
            the digest of its id, where there are ids.
        classes: those of the probes that were scored, and behind them those that training had none of; None of a
            regression.
        extra: keys of the file that this version does not know.
    """

    target: str
    split: str
    arrays: Mapping[str, Array]
    fold: int | None = None
    classes: Array | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> TableKey:
        """(target, split, fold): what the predictions of a probe are found by."""
        return self.target, self.split, self.fold

    def __len__(self) -> int:
        return len(self.arrays["index"])


@dataclass(frozen=True)
class Beside:
    """What a probe file holds beside its probes.

    Args:
        tables: the rows that predictions are of.
        extra: keys of the header that this version does not know; ``arrays``: datasets alike.
    """

    tables: tuple[RowTable, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
