"""What probes are fitted to: layers, or slices of equal width of each, such as attention heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.rows import Columns, draw_columns, flat_width

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from solvers.probing.settings import LayerSettings
    from solvers.rows import RowSource

__all__ = ["FitLayer", "LayerView", "cut"]


@dataclass(frozen=True)
class FitLayer:
    """A layer to fit, or a slice of one.

    ``name`` is that of its probes: the stored layer's, for a slice followed by ``@HEAD``, counted from 0. ``order``
    is its place. ``source`` (rows, *features) are the rows as they are stored; ``columns`` those of the flattened
    features that the slice has, ascending, None for all.
    """

    name: str
    order: int
    source: RowSource
    head: int | None = None
    columns: NDArray[np.int64] | None = None

    @property
    def stored(self) -> str:
        """The name of the stored layer."""
        return self.name if self.head is None else self.name.removesuffix(f"@{self.head}")

    @property
    def stored_layers(self) -> tuple[str, ...]:
        """The names of the stored layers whose features it has, side by side."""
        return tuple(getattr(self.source, "names", ())) or (self.stored,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The features of one stored row."""
        return tuple(self.source.shape[1:])


def cut(sources: Mapping[str, RowSource], split_features: int | None) -> list[FitLayer]:
    """The layers as they are, or each as ``split_features`` slices of neighbouring features.

    No two slices have one name: what stands before the last ``@`` is the layer, what follows it the slice.

    Raises:
        ProblemError: fewer than one slice, or a layer whose width is not a multiple of their number.
    """
    if split_features is None:
        return [FitLayer(name, order, source) for order, (name, source) in enumerate(sources.items())]
    if split_features < 1:
        msg = f"split_features is {split_features}; expected a number of slices, 1 or more"
        raise ProblemError(msg)
    layers: list[FitLayer] = []
    for name, source in sources.items():
        width, rest = divmod(flat_width(source), split_features)
        if rest:
            msg = (
                f"layer {name!r} has {flat_width(source):,} features, which cannot be cut into {split_features:,} "
                "slices of one width; give a number that divides it, or choose other layers"
            )
            raise ProblemError(msg)
        for head in range(split_features):
            columns = np.arange(head * width, (head + 1) * width)
            layers.append(FitLayer(f"{name}@{head}", len(layers), source, head, columns))
    return layers


@dataclass(frozen=True)
class LayerView:
    """What is looked at of a layer: ``rows`` (rows, columns), which are those ``columns`` of its flattened features."""

    rows: RowSource
    columns: NDArray[np.int64] | None
    width: int

    @classmethod
    def of(cls, layer: FitLayer, settings: LayerSettings) -> LayerView:
        """Return the columns of a layer, or of a slice, that are drawn by the settings' seed and its name."""
        columns, width = layer.columns, flat_width(layer.source)
        seed = [settings.seed, *layer.name.encode()]
        drawn = draw_columns(width if columns is None else len(columns), settings.random_features, seed)
        if drawn is not None:
            columns = drawn if columns is None else columns[drawn]
        return cls(layer.source if columns is None else Columns(layer.source, columns), columns, width)
