"""Decoders as values: what one is, what it was found to be worth, and those of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.decoders.architecture import Architecture
from solvers.decoders.linear import LinearDecoder
from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.decoders.images import ImageUnits
    from solvers.scoring.score import Score

__all__ = ["LAYER", "REFERENCE", "Decoder", "Decoders"]

LAYER, REFERENCE = "layer", "reference"


@dataclass(frozen=True, eq=False)
class Decoder:
    """One decoder of one layer.

    Args:
        layer, step: whose activations it decodes.
        method: ``linear`` or ``conv``.
        role: ``layer``, of stored activations; or ``reference``, of an encoder that was trained with it.
        alpha: of (1 − α) · squared error, summed over the image, + α · cross-entropy in nats.
        seed: of the training.
        units: of the pictures.
        architecture: JSON, what ``arrays`` are of.
        arrays: the weights by name; of a linear decoder ``weights``, ``mean`` and ``intercept``.
        training: JSON, how it was found: settings and the loss of each epoch, or penalties and the proof.
        seen: what it made of the scored rows (rows, ...), by name: ``squared_error`` per value; of a reference
            ``pictures``, float16.
        scores: of the scored rows.
    """

    layer: str
    step: int
    method: str
    role: str
    alpha: float
    seed: int
    units: ImageUnits
    architecture: Mapping[str, Any]
    arrays: Mapping[str, Array]
    training: Mapping[str, Any] = field(default_factory=dict)
    seen: Mapping[str, Array] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()

    @property
    def part(self) -> str:
        """What tells it from the others of its layer and seed."""
        return "reference" if self.role == REFERENCE else f"alpha={self.alpha:g}"

    def reconstruct(self, codes: Array) -> NDArray[np.float64]:
        """Return the pictures (rows, channels, height, width), 0 to 1, of activations (rows, *features).

        Raises:
            ProblemError: a reference, whose activations are not the stored ones; or rows of another layer.
            EngineError: a convolutional decoder without torch.
        """
        if self.role == REFERENCE:
            msg = (
                f"the reference of {self.layer!r} decodes its own encoder, not stored activations; "
                "what it made of the scored rows is in seen['pictures']"
            )
            raise ProblemError(msg)
        expected = tuple(self.architecture["code"])
        if np.shape(codes)[1:] != expected:
            msg = f"activations of shape {np.shape(codes)[1:]}; this decoder of {self.layer!r} takes {expected}"
            raise ProblemError(msg)
        if self.method == "linear":
            weights, mean, intercept = (self.arrays[name] for name in ("weights", "mean", "intercept"))
            return LinearDecoder(mean, weights, intercept, self.units.picture).reconstruct(codes)
        from solvers.decoders.by_torch.fit import ConvDecoder

        built = Architecture.from_json(self.architecture)
        return ConvDecoder(built, dict(self.arrays)).reconstruct(codes)


@dataclass(frozen=True, eq=False)
class Decoders:
    """The decoders of a file.

    Args:
        decoders: in the order of the layers.
        rows: (scored,) int64, the places in the store of the rows that were scored.
        split: which split these are.
        provenance: JSON: the store's ``fingerprint``, ``target``, ``classes``, ``stored`` (how each layer was dumped),
            ``command``, ``version``.
        scores: of the pictures themselves, and of several seeds together.
    """

    decoders: tuple[Decoder, ...]
    rows: NDArray[np.int64]
    split: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()

    def __len__(self) -> int:
        return len(self.decoders)

    def __iter__(self) -> Iterator[Decoder]:
        return iter(self.decoders)

    def all_scores(self) -> list[Score]:
        """Every score: of the pictures, of each decoder, of several seeds together."""
        return [*(score for decoder in self.decoders for score in decoder.scores), *self.scores]
