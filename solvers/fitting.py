"""The one entry point: fit a probe, for one C or a path of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from solvers.result import Fit, Path
    from solvers.rows import RowSource

__all__ = ["fit"]


@overload
def fit(
    activations: RowSource | ArrayLike,
    labels: ArrayLike,
    *,
    C: float = 1.0,
    sample_weight: ArrayLike | None = None,
    validation: tuple[RowSource | ArrayLike, ArrayLike] | None = None,
    scale: bool = False,
    engine: str = "auto",
    gap_nats: float = 1e-5,
    seed: int = 0,
    warm_start: Fit | None = None,
    full_path: bool = False,
    random_features: int | None = None,
) -> Fit: ...


@overload
def fit(
    activations: RowSource | ArrayLike,
    labels: ArrayLike,
    *,
    C: Sequence[float] | NDArray[np.float64],
    sample_weight: ArrayLike | None = None,
    validation: tuple[RowSource | ArrayLike, ArrayLike] | None = None,
    scale: bool = False,
    engine: str = "auto",
    gap_nats: float = 1e-5,
    seed: int = 0,
    warm_start: Fit | None = None,
    full_path: bool = False,
    random_features: int | None = None,
) -> Path: ...


def fit(activations, labels, *, C=1.0, **settings):  # type: ignore[no-untyped-def]
    """Being written."""
    raise NotImplementedError
