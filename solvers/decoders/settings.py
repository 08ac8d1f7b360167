"""How decoders are trained, and the two conventions that the trade-off is written in."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DecoderSettings", "Progress", "TrainingProgress", "alpha_per_image", "alpha_per_value"]


def alpha_per_value(alpha: float, values: int) -> float:
    """Return the α of a squared error that is a mean over values, for one that is a sum over the image.

    (1 − α) · sum + α · CE and (1 − α') · mean + α' · CE have the same optima where α/(1 − α) = P · α'/(1 − α'), with P
    values per image.
    """
    return alpha / (alpha + values * (1 - alpha)) if alpha < 1 else 1.0


def alpha_per_image(alpha: float, values: int) -> float:
    """Return the α of a squared error that is a sum over the image, for one that is a mean over values."""
    return alpha * values / (alpha * values + 1 - alpha) if alpha < 1 else 1.0


@dataclass(frozen=True)
class DecoderSettings:
    """How a convolutional decoder is trained: Adam on the mean squared error per value, as its authors did.

    Args:
        epochs: passes over the training rows.
        batch_rows: rows of a step.
        learning_rate, weight_decay: Adam's.
        alpha: of (1 − α) · squared error, summed over the image, + α · cross-entropy of the classifier in nats.
        seed: of the first weights and of the order of the rows.
        device: of torch.

    Raises:
        ProblemError: a number that none of these can be.
    """

    epochs: int = 5
    batch_rows: int = 128
    learning_rate: float = 3e-4
    weight_decay: float = 1e-5
    alpha: float = 0.0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_rows"):
            if not getattr(self, name) >= 1:
                msg = f"{name} is {getattr(self, name)}; expected 1 or more"
                raise ProblemError(msg)
        if not 0 <= self.alpha <= 1:
            msg = f"alpha is {self.alpha:g}; expected 0 (the picture alone) to 1 (the classifier alone)"
            raise ProblemError(msg)
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf and self.seed >= 0):
            msg = (
                f"learning_rate {self.learning_rate:g}, weight_decay {self.weight_decay:g} and seed {self.seed}; "
                "expected one above 0, and two of 0 or more"
            )
            raise ProblemError(msg)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as the decoder file has them."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is: ``rows`` of ``of_rows`` in an epoch counted from 1; ``loss`` is the last step's."""

    epoch: int
    epochs: int
    rows: int
    of_rows: int
    loss: float


Progress: TypeAlias = "Callable[[TrainingProgress], None]"
