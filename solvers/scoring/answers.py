"""Predictions as metrics read them: what was right, the nats, the probabilities, each worked out once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.scoring.predictions import Predictions

__all__ = ["Answers"]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a probe said of scored rows, for metrics to read; ``rows`` below are those of the predictions.

    Args:
        predictions: of the rows to score.
        positive: the code of the class that metrics of two classes call positive; None where more classes are scored
            one against the rest.
        negatives: predictions of the same probe whose rows of other classes set a threshold; None: the same rows.
    """

    predictions: Predictions
    positive: int | None = None
    negatives: Predictions | None = None

    @classmethod
    def of(
        cls, predictions: Predictions, positive: object = None, negatives: Predictions | None = None
    ) -> Answers:
        """Return answers whose positive class is a label; None: the second of two classes, or none of more.

        Raises:
            ProblemError: the probe has no such class.
        """
        if positive is None:
            return cls(predictions, 1 if predictions.outputs == 2 else None, negatives)
        return cls(predictions, code_of(positive, predictions), negatives)

    def __len__(self) -> int:
        return len(self.predictions)

    def only(self, rows: NDArray[Any]) -> Answers:
        """Return the answers of some rows: a mask (rows,), or their places."""
        return replace(self, predictions=taken(self.predictions, rows))

    def of_negatives(self) -> Answers:
        """Return the answers whose rows of other classes set a threshold."""
        return self if self.negatives is None else replace(self, predictions=self.negatives, negatives=None)

    @property
    def outputs(self) -> int:
        """How many classes the probe knows."""
        return self.predictions.outputs

    @cached_property
    def truth(self) -> NDArray[np.int64]:
        """(rows,) the code of the class of each row; ``outputs`` or more where the probe does not know it."""
        return np.asarray(self.predictions.truth, dtype=np.int64)

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """(rows,) whether the probe knows the class of the row."""
        return self.truth < self.outputs

    @cached_property
    def finite(self) -> bool:
        """Whether the probe said a number of every row; no metric has a value otherwise."""
        if self.predictions.logits is not None:
            return bool(np.isfinite(self.predictions.logits).all())
        return not bool(
            np.isnan(_kept(self.predictions.nats)).any() or np.isnan(_kept(self.predictions.confidence)).any()
        )

    @cached_property
    def logits(self) -> NDArray[np.float64]:
        """(rows, outputs).

        Raises:
            ProblemError: they were not kept.
        """
        if self.predictions.logits is None:
            msg = f"the logits of {self.outputs:,} classes were not kept; expected at most 32 classes"
            raise ProblemError(msg)
        return np.asarray(self.predictions.logits, dtype=np.float64)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(rows,) the code of the likeliest class, the lower one in a tie."""
        if self.predictions.logits is None:
            return np.asarray(self.predictions.predicted, dtype=np.int64)
        return self.logits.argmax(axis=1)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """(rows,) whether the likeliest class is the true one; never where the class is unseen."""
        return self.predicted == self.truth

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """(rows,) how many classes stand before the truth, a tie by the lower code; ``outputs`` where it is unseen."""
        if self.predictions.logits is None:
            return np.asarray(self.predictions.rank, dtype=np.int64)
        own = self._of_truth[:, None]
        before = np.arange(self.outputs) < self.truth[:, None]
        ahead = (self.logits > own) | ((self.logits == own) & before)
        return np.where(self.seen, ahead.sum(axis=1), self.outputs)

    @cached_property
    def nats(self) -> NDArray[np.float64]:
        """(rows,) −log of the probability of the truth; infinite where its class is unseen."""
        if self.predictions.logits is None:
            return np.asarray(self.predictions.nats, dtype=np.float64)
        return np.where(self.seen, self._log_total - self._of_truth, np.inf)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """(rows,) the probability of the likeliest class."""
        if self.predictions.logits is None:
            return np.asarray(self.predictions.confidence, dtype=np.float64)
        return self.probabilities.max(axis=1, initial=0.0)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(rows, outputs) of each class."""
        return np.exp(self.logits - self._log_total[:, None])

    def odds(self, code: int) -> NDArray[np.float64]:
        """Return the log-odds of a class against the rest, (rows,): never rounded as its probability is."""
        rest = np.sort(np.delete(self.logits, code, axis=1), axis=1)  # in one order, so that ties stay ties
        largest = rest[:, -1]
        return (self.logits[:, code] - largest) - np.log(np.exp(rest - largest[:, None]).sum(axis=1))

    @cached_property
    def _log_total(self) -> NDArray[np.float64]:
        """(rows,) the logarithm of the sum of the exponentials of the logits."""
        largest = self.logits.max(axis=1, initial=-np.inf)
        return largest + np.log(np.exp(self.logits - largest[:, None]).sum(axis=1))

    @property
    def _of_truth(self) -> NDArray[np.float64]:
        """(rows,) the logit of the true class, of class 0 where it is unseen."""
        return self.logits[np.arange(len(self)), np.where(self.seen, self.truth, 0)]


def code_of(label: object, predictions: Predictions) -> int:
    """Return the code of a class that the probe knows, by its label or by the label as text.

    Raises:
        ProblemError: it knows no such class.
    """
    known = [_shown(each) for each in predictions.classes[: predictions.outputs].tolist()]
    if _shown(label) not in known:
        some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        msg = f"the positive class {_shown(label)!r} is none of the probe's; expected one of {some}"
        raise ProblemError(msg)
    return known.index(_shown(label))


def taken(predictions: Predictions, rows: NDArray[Any]) -> Predictions:
    """Return the predictions of some rows: a mask (rows,), or their places."""
    names = ("truth", "index", "group", "logits", "predicted", "rank", "nats", "confidence")
    arrays = {name: getattr(predictions, name) for name in names}
    return replace(predictions, **{name: array[rows] for name, array in arrays.items() if array is not None})


def _shown(label: object) -> str:
    return label.decode("latin-1") if isinstance(label, bytes) else str(label)


def _kept(array: Array | None) -> Array:
    if array is None:
        msg = "predictions hold neither logits nor nats; expected one or the other"
        raise ProblemError(msg)
    return array
