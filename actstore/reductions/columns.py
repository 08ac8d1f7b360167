"""Random features and random projections: drawn from a layer's own generator, whatever other layers there are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from actstore.errors import LayerError

if TYPE_CHECKING:
    from actstore.store.format import JSON

_FEATURES, _PROJECTION = 0, 1  # keeps the draws of the two apart
_MOST_BYTES = 4 * 2**30
_CHECKED_VALUES = 1024
_ALGORITHM = (
    "numpy.random.Generator(PCG64(SeedSequence([seed, 1, *words]))).standard_normal((of, to), float32) / sqrt(to), "
    "where words are blake2b(layer name in UTF-8, 16 bytes) as 4 little-endian uint32"
)
_ALGORITHM_VERSION = 1


@dataclass(frozen=True, eq=False)
class RandomFeatures:
    """Some features of a layer, flattened in C order.

    Args:
        of: how many features the layer has.
        asked: how many were asked for.
        indices: (asked,) int64, ascending; None where the layer has no more than that and all are stored.
    """

    of: int
    asked: int
    indices: np.ndarray | None

    @property
    def features(self) -> int:
        """How many are stored."""
        return min(self.of, self.asked)

    def document(self) -> dict[str, JSON]:
        """For the provenance: the indices themselves."""
        found: dict[str, JSON] = {"step": "random_features", "of": self.of}
        if self.indices is None:
            return {**found, "note": f"left alone: it has no more than {self.asked} features"}
        return {**found, "indices": self.indices.tolist()}


@dataclass(frozen=True)
class Projection:
    """Sums of a layer's features, flattened in C order, weighted by draws from N(0, 1/K).

    Args:
        layer: its name.
        seed: of the settings.
        of: how many features the layer has.
        asked: how many sums were asked for, K.
    """

    layer: str
    seed: int
    of: int
    asked: int

    @property
    def changes(self) -> bool:
        """Whether there is something to project: a layer of no more than K features is stored as it is."""
        return self.of > self.asked

    @property
    def features(self) -> int:
        """How many values are stored."""
        return min(self.of, self.asked)

    def matrix(self) -> np.ndarray:
        """(features of the layer, K) float32, drawn anew with each call."""
        return self._drawn(self.of).reshape(self.of, self.asked)

    def document(self) -> dict[str, JSON]:
        """For the provenance: how the matrix is drawn, and a hash by which another NumPy's draws would be noticed."""
        found: dict[str, JSON] = {"step": "random_projection", "of": self.of}
        if not self.changes:
            return {**found, "note": f"left alone: it has no more than {self.asked} features"}
        rows = min(self.of, -(-_CHECKED_VALUES // self.asked))
        return {
            **found,
            "to": self.asked,
            "seed": self.seed,
            "algorithm": _ALGORITHM,
            "version": _ALGORITHM_VERSION,
            "first_rows": rows,
            "first_rows_hash": f"xxh3_128:{xxhash.xxh3_128_hexdigest(self._drawn(rows).data)}",
        }

    def _drawn(self, rows: int) -> np.ndarray:
        values = _generator(self.layer, self.seed, _PROJECTION).standard_normal(rows * self.asked, np.float32)
        values /= np.float32(self.asked**0.5)
        return values


def draw_features(layer: str, seed: int, of: int, asked: int) -> RandomFeatures:
    """``asked`` of a layer's features without replacement."""
    if of <= asked:
        return RandomFeatures(of, asked, None)
    drawn = _generator(layer, seed, _FEATURES).choice(of, asked, replace=False)
    return RandomFeatures(of, asked, np.sort(drawn))


def plan_projection(layer: str, seed: int, of: int, asked: int) -> Projection:
    """A projection of a layer, of which nothing is drawn yet.

    Raises:
        LayerError: its matrix would not fit the memory that is allowed for it.
    """
    projection = Projection(layer, seed, of, asked)
    needed = 4 * of * asked
    if projection.changes and needed > _MOST_BYTES:
        msg = (
            f"layer {layer!r}: projecting {of:,} features to {asked:,} takes a matrix of {needed / 2**30:.1f} GiB, "
            f"more than the {_MOST_BYTES / 2**30:.0f} GiB that are allowed; take fewer features first, with "
            "--random-features or a --pool"
        )
        raise LayerError(msg)
    return projection


def _generator(layer: str, seed: int, purpose: int) -> np.random.Generator:
    digest = hashlib.blake2b(layer.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    words = np.frombuffer(digest, "<u4").tolist()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose, *words])))
