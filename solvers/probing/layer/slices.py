"""What probes are fitted to: layers, or slices of equal width of each, such as attention heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.linear_map import LinearMap
from solvers.rows import Columns, Project, at_full_width, draw_columns, draw_matrix, flat_width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.probing.settings import LayerSettings
    from solvers.rows import RowSource

__all__ = ["FitLayer", "LayerView", "cut", "every_draw"]


@dataclass(frozen=True)
class FitLayer:
    """A layer to fit, or a slice of one.

    ``name`` is that of its probes: the stored layer's, for a slice followed by ``@HEAD``, counted from 0. ``order``
    is its place in the network. ``source`` (rows, *features) are the rows as they are stored; ``columns`` those of the
    flattened features that the slice has, ascending, None for all. ``step`` is the training step that they are of,
    ``fingerprint`` the store's then; ``seed`` that of its draw of columns, one of ``draws``. ``number`` counts what one
    call fits; ``called`` is what it is called there.
    """

    name: str
    order: int
    source: RowSource
    head: int | None = None
    columns: NDArray[np.int64] | None = None
    step: int = 0
    seed: int = 0
    draws: int = 1
    fingerprint: str = ""
    number: int = 0
    called: str = ""

    @property
    def seen_width(self) -> int:
        """How many columns there are to look at, or to draw from."""
        return flat_width(self.source) if self.columns is None else len(self.columns)

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


def every_draw(by_step: Mapping[int, Sequence[FitLayer]], settings: LayerSettings) -> list[FitLayer]:
    """Return what one call fits, in its order: the layers of every step, those that are drawn from once for each seed.

    A layer that is no wider than what is drawn is all looked at, so it is there once.
    """
    count = settings.feature_subset or settings.random_projection
    found: list[FitLayer] = []
    for step, layers in by_step.items():
        for layer in layers:
            drawn = count is not None and count < layer.seen_width
            draws = settings.seeds if drawn else 1
            for seed in range(settings.seed, settings.seed + draws):
                several = [f"step {step}"] if len(by_step) > 1 else []
                several += [f"seed {seed}"] if draws > 1 else []
                called = f"{layer.name} ({', '.join(several)})" if several else layer.name
                number = len(found)
                found.append(replace(layer, step=step, seed=seed, draws=draws, number=number, called=called))
    return found


@dataclass(frozen=True)
class LayerView:
    """What is looked at of a layer: ``rows`` (rows, columns).

    They are those ``columns`` of its flattened features, all for None; or these times ``matrix``.
    """

    rows: RowSource
    columns: NDArray[np.int64] | None
    width: int
    matrix: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, layer: FitLayer, settings: LayerSettings) -> LayerView:
        """Return the columns of a layer, or of a slice, that are drawn or projected by its seed and its name."""
        columns, width = layer.columns, flat_width(layer.source)
        seed = [layer.seed, *layer.name.encode()]
        drawn = draw_columns(layer.seen_width, settings.feature_subset, seed)
        if drawn is not None:
            columns = drawn if columns is None else columns[drawn]
        rows = layer.source if columns is None else Columns(layer.source, columns)
        matrix = draw_matrix(layer.seen_width, settings.random_projection, seed)
        return cls(rows if matrix is None else Project(rows, matrix), columns, width, matrix)

    def start(self, earlier: LinearMap | None) -> LinearMap | None:
        """Return what a fit of these columns starts from, of an earlier map of the full width."""
        if earlier is None:
            return None
        of_columns = earlier.of_columns(self.columns)
        if self.matrix is None:
            return of_columns
        weights = self._solved(self.matrix.T @ of_columns.weights)
        return LinearMap(weights, of_columns.intercept, of_columns.mean @ self.matrix, of_columns.classes)

    def full(self, found: LinearMap) -> LinearMap:
        """Return a map of these columns as one of the layer's full width.

        Of h P, P being the matrix: (h P − m) W + b is (h − μ) P W + b + (μ P − m) W, whatever μ; taken is the smallest
        with μ P = m.
        """
        weights, intercept, mean = found.weights, found.intercept, found.mean
        if self.matrix is not None:
            mean = self.matrix @ self._solved(mean)
            intercept = intercept + (mean @ self.matrix - found.mean) @ weights
            weights = self.matrix @ weights
        return LinearMap(
            at_full_width(weights, self.columns, self.width, 0.0),
            intercept,
            at_full_width(mean, self.columns, self.width, 0.0),
            found.classes,
        )

    def full_scale(self, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the columns were divided by at full width: infinite where none was looked at, 1 if projected."""
        if self.matrix is not None:
            scale = np.ones(len(self.matrix))
        return at_full_width(scale, self.columns, self.width, np.inf)

    def _solved(self, right: Array) -> Array:
        """(PᵀP)⁻¹ of a right-hand side."""
        if self.matrix is None:
            return right
        return np.linalg.solve(self.matrix.T @ self.matrix, right)
