"""What happens to each layer, settled before the first row: the layers as they are stored, and the record of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from actstore.reductions.apply import reduce_layer
from actstore.reductions.cast import CastReport, accumulated, is_exact, resting
from actstore.reductions.columns import Projection, RandomFeatures, draw_features, plan_projection
from actstore.reductions.parts_of_examples import choose_rows
from actstore.reductions.pool import Pool, choose_pools
from actstore.store.format import EXAMPLE, FLOATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actstore.activations import Captured, ModelLayer
    from actstore.reductions.apply import Operations
    from actstore.reductions.positions import RealPositions
    from actstore.reductions.settings import ReductionSettings
    from actstore.store.format import JSON


@dataclass(frozen=True, eq=False)
class LayerReduction:
    """What happens to one layer, in this order; None for what was not asked for.

    Args:
        layer: as the model gives it.
        stored: as it is stored.
        pool: the first step.
        random_features: the second.
        projection: the third.
        computed: the dtype that the values have after these; at last they are cast to that of ``stored``.
        reported: whether the cast can lose something that was not lost by a sum alone.
    """

    layer: ModelLayer
    stored: ModelLayer
    pool: Pool | None
    random_features: RandomFeatures | None
    projection: Projection | None
    computed: str
    reported: bool

    @property
    def changes(self) -> bool:
        """Whether anything is done to the layer at all."""
        return any(self._done())

    def document(self) -> dict[str, JSON]:
        """Return what it was, and the steps."""
        steps = [
            step.document() for step in (self.pool, self.random_features, self.projection) if step is not None
        ]
        if self.computed != self.stored.dtype:
            steps.append({"step": "cast", "from": self.computed, "to": self.stored.dtype})
        return {"axes": list(self.layer.axes), "dtype": self.layer.dtype, "steps": steps}

    def _done(self) -> tuple[bool, ...]:
        return (
            self.pool is not None and bool(self.pool.axes),
            self.random_features is not None and self.random_features.indices is not None,
            self.projection is not None and self.projection.changes,
            self.computed != self.stored.dtype,
        )


class Reductions:
    """The reductions of all layers, and a count of what their casts cost.

    ``layers`` are the layers as they are stored: in the order and by the names that they had.
    """

    def __init__(self, settings: ReductionSettings, reductions: Sequence[LayerReduction]) -> None:
        self.layers: Sequence[ModelLayer] = [reduction.stored for reduction in reductions]
        self._settings = settings
        self._reductions = {reduction.layer.name: reduction for reduction in reductions}
        self._reports = {
            name: CastReport(reduction.computed, reduction.stored.dtype)
            for name, reduction in self._reductions.items()
            if reduction.reported
        }

    def of(self, layer: str) -> LayerReduction | None:
        """Return what happens to a layer; None for one that was not planned for."""
        return self._reductions.get(layer)

    def document(self) -> dict[str, JSON]:
        """Return what was asked for and its outcome, as plain JSON: enough to do the same to a dump of whole layers.

        The same for the same settings and layers, whatever the number of rows or positions in the batch that showed
        the layers. Values stay in the dtype of their sums (float64 for float64, else float32) from the first mean or
        projection up to the cast.
        """
        settings: dict[str, JSON] = {**asdict(self._settings), "pool": list(self._settings.pool)}
        return {
            "settings": settings,
            "layers": {name: step.document() for name, step in self._reductions.items()},
        }

    def report(self) -> dict[str, CastReport]:
        """By layer whose cast can lose something, what it did so far."""
        return dict(self._reports)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """A context in which casts are not counted: what runs is not stored."""
        reports = dict(self._reports)
        try:
            yield
        finally:
            self._reports = reports

    def changed(self) -> set[str]:
        """Return the layers to which anything is done at all."""
        return {name for name, reduction in self._reductions.items() if reduction.changes}

    def capture(self, layer: str, value: object, real: RealPositions, operations: Operations[Any]) -> Captured:
        """Reduce rows of a layer as a model gives them, copy what is left off their device, and count the cast's cost.

        Raises:
            TypeError: the array is of a dtype that stores do not hold.
            LayerError, DumpError: see ``reduce_layer``.
        """
        reduction = self._reductions[layer]
        given = operations.given(value)
        reduced, cost = reduce_layer(given, reduction, real, operations)
        if cost is not None:
            self._reports[layer] = self._reports[layer].plus(*cost)
        return operations.captured(reduced, given, reduction.stored.axes)


def plan_reductions(
    settings: ReductionSettings, layers: Sequence[ModelLayer], row: str = EXAMPLE
) -> Reductions:
    """Plan ``settings`` for ``layers`` whose shapes are known, where a ``row`` is an example, token or word.

    Raises:
        LayerError: a pattern picks no layer, a layer has not the axes that its pool needs, or its projection would be
            too large.
    """
    pools = choose_pools(settings.pool, layers) if row == EXAMPLE else choose_rows(row, settings.pool, layers)
    return Reductions(settings, [_plan(layer, pools.get(layer.name), settings) for layer in layers])


def _plan(layer: ModelLayer, pool: Pool | None, settings: ReductionSettings) -> LayerReduction:
    shape, axes = layer.shape or (), layer.axes
    if pool is not None:
        shape, axes = pool.kept(shape), pool.kept_names(axes)
    chosen = projection = None
    if settings.random_features is not None:
        chosen = draw_features(layer.name, settings.seed, prod(shape), settings.random_features)
        if chosen.indices is not None:
            shape, axes = (chosen.features,), ("feature",)
    if settings.random_projection is not None:
        projection = plan_projection(layer.name, settings.seed, prod(shape), settings.random_projection)
        if projection.changes:
            shape, axes = (projection.features,), ("feature",)
    projected = projection is not None and projection.changes
    summed = projected or (pool is not None and pool.kind == "mean" and bool(pool.axes))
    computed = accumulated(layer.dtype) if summed else layer.dtype
    dtype = resting(layer.dtype) if summed else layer.dtype
    cast = settings.dtype is not None and computed in FLOATS
    if cast:
        dtype = settings.dtype or dtype
    stored = replace(layer, shape=shape, axes=axes, dtype=dtype)
    reported = (cast or projected) and not is_exact(computed, dtype)
    return LayerReduction(layer, stored, pool, chosen, projection, computed, reported)
