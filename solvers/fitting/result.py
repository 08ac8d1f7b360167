"""What a fit gives back: a probe's coefficients with the proof of how good they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.linear_map import LinearMap, directions
from solvers.rows import as_source, flat_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.rows import RowSource

__all__ = ["Fit", "FitInterrupted", "FitPath", "FitProgress", "Status"]


class Status(StrEnum):
    """How a fit ended. The value is the word that is stored; ``message`` says it in a sentence."""

    message: str

    def __new__(cls, word: str, message: str) -> Status:
        """A member of value ``word``."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.message = message
        return member

    CONVERGED = "converged", "the loss is proven to lie within the gap asked for"
    GAP_MISSED = (
        "gap_missed",
        "the solver stopped before the gap asked for was proven; gap_nats says what was",
    )
    INTERRUPTED = "interrupted", "the fit was interrupted; the coefficients are the last ones reached"
    NOT_FITTED = (
        "not_fitted",
        "not tried: validation had stopped improving at a stronger penalty, or the fit was interrupted before",
    )
    UNPENALISED = (
        "unpenalised",
        "C is infinite, so no bound on the loss can be proven; the norm of its gradient is below the gap asked for",
    )
    BAD_DATA = "bad_data", "the activations hold NaN or infinite values, so nothing was fitted"


@dataclass(frozen=True)
class FitProgress:
    """How far a fit is: ``done`` of ``total`` columns (one per C and target), and the worst gap certified so far.

    ``passes`` are the readings of the rows by then.
    """

    done: int
    total: int
    worst_gap_nats: float
    passes: int


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C in a fit, which ends a script as ever; whoever catches it has what was reached by then in ``result``.

    Of :func:`solvers.fit` that is what it would have returned: every C that was begun is certified where it stood, and
    its status is ``interrupted`` where that misses the gap asked for; those not begun are ``not_fitted``. It is
    certified when it is first asked for, so that a script that only ends does not wait; the rows must be open then. Of
    :func:`solvers.fit_layers` it is the :class:`~solvers.Probes` of the layers that were finished (also ``probes``).
    """

    def __init__(self, message: str, result: Callable[[], Any]) -> None:
        super().__init__(message)
        self._result = result

    @cached_property
    def result(self) -> Any:
        """Return what was reached by the time of the interrupt."""
        return self._result()

    @property
    def probes(self) -> Any:
        """``result``, as :func:`solvers.fit_layers` has it."""
        return self.result


@dataclass(frozen=True, repr=False)
class Fit:
    """A linear probe, softmax(h W + b), with a certified bound on its loss.

    ``weights`` (width, classes) are float64 and act on raw activations, ``intercept`` (classes,) on centred ones: the
    logits are (h - mean) W + intercept, as they were certified. ``bias`` is the intercept of h W + bias.
    The penalty and the gap live in scaled coordinates, (h - mean) / scale, where the same probe has
    the ``coefficients`` ``weights * scale``; ``scale`` is 1 when no scaling was asked for and inf for
    a column that got weight 0 because it is constant.

    ``gap_nats`` is an upper bound on loss - optimum, ``loss`` the objective of ``solvers.fit`` in nats
    per row. ``rows`` were trained on, ``unlabelled`` were skipped. ``evaluations`` counts gradients; ``passes`` full
    readings of the rows from when this C was begun until it was certified, those shared with other C included;
    ``seconds`` runs from the start of the solve; ``bytes_read`` are those of all readings of the whole call.
    ``gradient_norm`` is ‖∇_W f‖, which is all there is to judge by where C is infinite (``unpenalised``).
    """

    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]
    classes: Array
    C: float
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    status: Status
    gap_nats: float
    loss: float
    engine: str
    engine_reason: str
    evaluations: int
    passes: int
    seconds: float
    bytes_read: int
    gradient_norm: float
    rows: int
    unlabelled: int

    @property
    def width(self) -> int:
        """Number of features of one row, flattened."""
        return len(self.weights)

    @property
    def coefficients(self) -> NDArray[np.float64]:
        """The weights in scaled coordinates, (width, classes), where the penalty is taken."""
        return self.weights * np.where(np.isfinite(self.scale), self.scale, 0.0)[:, None]

    @property
    def map(self) -> LinearMap:
        """The map from raw activations to logits that the fit is."""
        return LinearMap(self.weights, self.intercept, self.mean, self.classes)

    @property
    def bias(self) -> NDArray[np.float64]:
        """The intercept (classes,) for raw activations, h W + bias; rounded where the columns' means are large."""
        return self.map.bias

    def direction(self, space: str = "raw", *, label: Any = None) -> NDArray[np.float64]:
        """Return where the probe looks, as :meth:`solvers.Probe.direction` does: in raw or in scaled coordinates."""
        if space not in ("raw", "scaled"):
            msg = f"space is {space!r}; expected 'raw' (of activations as they are) or 'scaled' (what was penalised)"
            raise ProblemError(msg)
        return directions(self.weights if space == "raw" else self.coefficients, self.classes, label)

    def __repr__(self) -> str:
        gap = "" if self.status is Status.UNPENALISED else f", gap {self.gap_nats:.1e} nats"
        return (
            f"<Fit of {self.rows:,} rows, {self.width:,} features, {len(self.classes)} classes: C={self.C:g}, "
            f"loss {self.loss:.4f}{gap}, {self.status} by {self.engine}>"
        )

    def logits(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Logits h W + b of raw activations (rows, *features): (rows, classes), float64.

        Raises:
            ProblemError: activations of another width, or a C that was not fitted.
        """
        return self.map.logits(self._checked(activations))

    def predict(self, activations: RowSource | ArrayLike) -> Array:
        """Most probable class of each row, in the labels' own values; raises as :meth:`logits`."""
        return self.map.predict(self._checked(activations))

    def predict_proba(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Probability of each class for each row: (rows, classes), in the order of ``classes``."""
        return self.map.predict_proba(self._checked(activations))

    def predict_log_proba(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Logarithm of :meth:`predict_proba`, finite where a probability underflows."""
        return self.map.predict_log_proba(self._checked(activations))

    def _checked(self, activations: RowSource | ArrayLike) -> RowSource:
        if self.status is Status.NOT_FITTED:
            msg = f"there is no probe for C={self.C:g}, which was {self.status.message}; use .best, or full_path=True"
            raise ProblemError(msg)
        source = as_source(activations)
        if flat_width(source) != self.width:
            msg = (
                f"activations have {flat_width(source):,} features, but the probe was fitted on {self.width:,}"
            )
            raise ProblemError(msg)
        return source


@dataclass(frozen=True, repr=False)
class FitPath:
    """Fits of one problem over several C, in the order the C were given.

    ``validation_cross_entropy`` (nats per row) has one entry per C, NaN where a C was not tried or no
    validation rows were given; ``best_index`` is None without validation rows. ``passes`` counts every reading
    of the rows by solver and certificate once, ``bytes_read`` their bytes; both are those of the whole call, all its
    targets included.
    """

    fits: tuple[Fit, ...]
    validation_cross_entropy: NDArray[np.float64]
    best_index: int | None
    passes: int
    seconds: float
    bytes_read: int

    @cached_property
    def C(self) -> tuple[float, ...]:  # noqa: N802 - the field's name for it
        """Every C, in the order given."""
        return tuple(fit.C for fit in self.fits)

    @property
    def best(self) -> Fit:
        """The fit with the smallest validation cross-entropy (ties go to the smaller C).

        Raises:
            ProblemError: the sweep had no validation rows to choose by.
        """
        if self.best_index is None:
            msg = "this path has no best C, as it had no validation rows; pass validation=(activations, labels)"
            raise ProblemError(msg)
        return self.fits[self.best_index]

    def __repr__(self) -> str:
        best = "" if self.best_index is None else f", best C={self.best.C:g}"
        ended = ", ".join(f"{count} {status}" for status, count in Counter(fit.status for fit in self).items())
        return f"<FitPath of {len(self)} C from {min(self.C):g} to {max(self.C):g}{best}: {ended}>"

    def __len__(self) -> int:
        return len(self.fits)

    def __iter__(self) -> Iterator[Fit]:
        return iter(self.fits)

    def __getitem__(self, index: int) -> Fit:
        return self.fits[index]
