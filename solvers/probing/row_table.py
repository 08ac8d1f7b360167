"""What a probe file holds beside its probes: the rows that they were scored on, once for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProbeFileError
from solvers.scoring.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from solvers.arrays import Array
    from solvers.probing.probe import Probe

__all__ = ["QUESTION", "Beside", "RowTable", "TableKey", "predictions_of", "same_rows"]

QUESTION = "question"
"""The key of a header that has the digest of what was asked, where finished layers were kept for it."""

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

    @property
    def only_rows(self) -> RowTable:
        """The table with nothing but which rows these are: what the part of a fit needs of it."""
        return RowTable(self.target, self.split, {"index": self.arrays["index"]}, self.fold)


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

    @property
    def of_no_question(self) -> Beside:
        """The same beside probes that are no longer all that one question asked for, as it was asked."""
        return replace(self, extra={name: value for name, value in self.extra.items() if name != QUESTION})


def same_rows(one: RowTable, other: RowTable) -> bool:
    """Whether two tables are of the same rows, and say the same of them."""
    if one.arrays.keys() != other.arrays.keys() or (one.classes is None) != (other.classes is None):
        return False
    classes = one.classes is None or np.array_equal(one.classes, np.asarray(other.classes))
    return classes and all(np.array_equal(each, other.arrays[name]) for name, each in one.arrays.items())


def predictions_of(probe: Probe, table: RowTable) -> Predictions | None:
    """Return what a probe said of the rows of a table; None where that was not kept.

    Raises:
        ProbeFileError: what is kept does not fit the probe's classes and the table's.
    """
    said = probe.predictions.get(table.key)
    if not said or probe.classes is None or table.classes is None:
        return None
    lacking = [name for name in ("index", "truth") if name not in table.arrays]
    if lacking:
        msg = f"the rows of target {table.target!r}, split {table.split!r} have no `{lacking[0]}`; fit the probes again"
        raise ProbeFileError(msg)
    outputs = len(probe.classes)
    truth = np.asarray(table.arrays["truth"])
    found = Predictions(
        classes=table.classes,
        outputs=outputs,
        truth=truth,
        index=np.asarray(table.arrays["index"]),
        group=table.arrays.get("group"),
        temperature=1.0 if probe.scores.temperature is None else probe.scores.temperature,
        **{name: said.get(name) for name in ("logits", "predicted", "rank", "nats", "confidence")},
    )
    problem = _unfit(found, probe, table)
    if problem:
        msg = f"the predictions of {probe.key} for split {table.split!r} {problem}; fit the probes again"
        raise ProbeFileError(msg)
    return found


def _unfit(found: Predictions, probe: Probe, table: RowTable) -> str | None:
    """Say what does not fit together, of a file that is damaged or that another program wrote."""
    rows, outputs = len(table), found.outputs
    if not np.array_equal(found.classes[:outputs], probe.classes):
        return "are of other classes than the probe's"
    if rows and not (found.truth.min() >= 0 and found.truth.max() < len(found.classes)):
        return "are of rows whose truth is none of the classes"
    if rows and not (found.index[0] >= 0 and np.all(np.diff(found.index) > 0)):
        return "are of rows that are not in ascending order"
    if found.logits is not None:
        if found.logits.shape != (rows, outputs):
            return f"have logits of shape {found.logits.shape}"
        return None if np.isfinite(found.logits).all() else "have logits that are not finite"
    for name in ("predicted", "rank", "nats", "confidence"):
        array = getattr(found, name)
        if array is None or array.shape != (rows,):
            return f"have no `{name}` for each row"
    for name, most in (("predicted", outputs - 1), ("rank", outputs)):
        array = getattr(found, name)
        if rows and not (array.min() >= 0 and array.max() <= most):
            return "are of classes that the probe does not have"
    return None
