"""The linear decoder: ridge regression from activations to pictures, in closed form, every penalty at once.

    minimise over W, b:   Σ_i ‖y_i − b − W'h_i‖² + λ ‖W‖²      (h_i activations, y_i pictures in [0, 1])

scikit-learn's ``Ridge(alpha=λ)``. The Gram of the centred rows is summed in one pass and decomposed once, so that
another penalty costs two products. What proves the result is no part of what found it: one more pass over the rows
measures the normal equations' residual R = Σ (h_i − m)(y_i − b − W'(h_i − m))' − λW, which is 0 at the optimum alone;
the loss is above the least one by at most ‖R‖²/λ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.arrays import NUMPY, Backend
from solvers.errors import EngineError, ProblemError
from solvers.problem.moments import not_finite
from solvers.rows import Rows, as_source, flat_width, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.decoders.examples import Examples
    from solvers.rows import RowSource

__all__ = ["LinearDecoder", "LinearFit", "fit_linear", "linear_backend"]

RESIDUAL = 1e-10
"""The normal equations' relative residual that a decoder must be below."""
_REFINEMENTS = 3
_GRID = tuple(10.0**power for power in range(-6, 3))
"""Penalties that are tried by default, as parts of the mean eigenvalue of the centred Gram."""
_BLOCK_ELEMENTS = 1 << 21

Pair = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class LinearDecoder:
    """(h − mean) W + intercept: the values of a picture in [0, 1], channels, height and width flattened in C order.

    Args:
        mean: (width,) of the training rows.
        weights: (width, values) float64.
        intercept: (values,).
        picture: (channels, height, width).
    """

    mean: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]
    picture: tuple[int, int, int]

    def reconstruct(self, codes: Array) -> NDArray[np.float64]:
        """Return the pictures (rows, channels, height, width) of activations (rows, ...); they may leave [0, 1]."""
        flat = np.asarray(codes, np.float64).reshape(len(codes), -1)
        return ((flat - self.mean) @ self.weights + self.intercept).reshape(-1, *self.picture)


@dataclass(frozen=True)
class LinearFit:
    """A linear decoder and how it was found and proven.

    Args:
        decoder: at the penalty that was chosen.
        penalty: λ, as scikit-learn's ``alpha``.
        path: (penalty, mean squared error per value of the selection rows) of each that was tried; NaN without rows.
        residual: ‖R‖ / ‖Σ (h_i − m) y_i'‖ of the normal equations.
        gap: how far the mean squared error per value with its penalty can be above the least one.
        status: ``converged``, or ``residual_missed``.
    """

    decoder: LinearDecoder
    penalty: float
    path: tuple[tuple[float, float], ...]
    residual: float
    gap: float
    status: str


def linear_backend(engine: str = "auto") -> Backend:
    """Return where the linear decoder computes: on a CPU (``numpy``), on a GPU (``cupy``), or on one where one works.

    Raises:
        EngineError: an engine that there is not, or which does not work here.
    """
    from solvers.engines import choice, cupy_lbfgs

    if engine not in ("auto", "numpy", "cupy"):
        msg = f"a linear decoder has no engine {engine!r}; expected auto, numpy or cupy"
        raise EngineError(msg)
    obstacle = None if engine == "numpy" else choice.available("cupy")
    if engine == "cupy" and obstacle is not None:
        msg = f"engine 'cupy' does not work here: {obstacle}; choose numpy"
        raise EngineError(msg)
    return NUMPY if engine == "numpy" or obstacle is not None else cupy_lbfgs.device_backend()


def fit_linear(
    codes: RowSource | Array,
    examples: Examples,
    penalties: Sequence[float] | None = None,
    backend: Backend = NUMPY,
    memory_bytes: int | None = None,
) -> LinearFit:
    """Fit a linear decoder.

    Args:
        codes: (rows, *features) activations of a layer.
        examples: pictures of the same rows; its ``select`` choose the penalty where there are several.
        penalties: λ to try; None: nine, from 1e-6 to 100 times the mean eigenvalue of the Gram.
        backend: where it is computed, see ``linear_backend``.
        memory_bytes: what the Gram and its decomposition may take; None: what is free.

    Raises:
        ProblemError: rows that do not match or are not finite, a penalty that is not above 0, or several and no rows
            to choose by.
        EngineError: the Gram does not fit.
    """
    source = as_source(codes)
    examples.refuse_others(source)
    _refuse_penalties(penalties, examples)
    rows = _Pairs(source, examples, backend)
    rows.refuse_memory(memory_bytes)
    with backend.here():
        sums = _Sums.over(rows, examples.train)
        ridge = _Ridge.of(sums, backend.xp)
        tried = _penalties(penalties, ridge)
        errors = _selection_errors(rows, ridge, tried)
        best = _best(tried, errors)
        weights, residual, gap = _proven(rows, ridge, best)
        found = [backend.to_host(each) for each in (sums.mean_code, weights, sums.mean_image)]
    decoder = LinearDecoder(found[0], found[1], found[2], examples.units.picture)
    status = "converged" if residual <= RESIDUAL else "residual_missed"
    return LinearFit(decoder, best, tuple(zip(tried, errors, strict=True)), residual, gap, status)


class _Pairs:
    """Rows of activations and their pictures, block by block, in float64 on the device."""

    def __init__(self, codes: RowSource, examples: Examples, backend: Backend) -> None:
        self.codes, self.examples, self.backend = codes, examples, backend
        self.width, self.values = flat_width(codes), examples.units.values

    def refuse_memory(self, memory_bytes: int | None) -> None:
        """Refuse a Gram that does not fit, with its decomposition and the weights."""
        needed = 8 * (4 * self.width**2 + 4 * self.width * self.values)
        there = self.backend.free_bytes() if memory_bytes is None else memory_bytes
        if needed > there:
            msg = (
                f"a linear decoder of {self.width:,} features takes {needed / 1e9:.1f} GB, more than the "
                f"{there / 1e9:.1f} GB it may; take --decoder conv, or dump the layer with --random-projection"
            )
            raise EngineError(msg)

    def blocks(self, rows: NDArray[np.int64]) -> Iterator[Pair]:
        """Yield (activations, pictures) of some rows, (block, width) and (block, values)."""
        codes = Rows(self.codes, rows)
        block_rows = max(1, _BLOCK_ELEMENTS // max(self.width, self.values))
        for start in range(0, len(rows), block_rows):
            part = slice(start, min(start + block_rows, len(rows)))
            given = read(codes, part)
            if bad := not_finite(given):
                msg = f"{bad:,} rows of the activations hold NaN or infinities; leave those rows out"
                raise ProblemError(msg)
            pictures = self.examples.pictures(rows[part]).reshape(len(given), -1)
            yield self.backend.float64(given.astype(np.float64)), self.backend.float64(pictures)


@dataclass(frozen=True)
class _Sums:
    """Means, and sums of products of the centred rows, on the device."""

    rows: int
    mean_code: Any
    mean_image: Any
    gram: Any
    cross: Any

    @classmethod
    def over(cls, pairs: _Pairs, rows: NDArray[np.int64]) -> _Sums:
        """Two passes: the means, then the products."""
        xp, values = pairs.backend.xp, pairs.values
        code, image = xp.zeros(pairs.width), xp.zeros(values)
        for given, shown in pairs.blocks(rows):
            code, image = code + given.sum(axis=0), image + shown.sum(axis=0)
        code, image = code / len(rows), image / len(rows)
        gram, cross = xp.zeros((pairs.width, pairs.width)), xp.zeros((pairs.width, values))
        for given, shown in pairs.blocks(rows):
            centred = given - code
            gram += centred.T @ centred
            cross += centred.T @ (shown - image)
        return cls(len(rows), code, image, gram, cross)


@dataclass(frozen=True)
class _Ridge:
    """The eigendecomposition that every penalty shares: Gram = V diag(λ) V'."""

    sums: _Sums
    eigenvalues: Any
    vectors: Any
    turned: Any

    @classmethod
    def of(cls, sums: _Sums, xp: Any) -> _Ridge:
        """Decompose."""
        eigenvalues, vectors = xp.linalg.eigh(sums.gram)
        return cls(sums, eigenvalues.clip(0, None), vectors, vectors.T @ sums.cross)

    @property
    def mean_eigenvalue(self) -> float:
        """The mean eigenvalue; 1 where every activation is constant."""
        return float(self.eigenvalues.mean()) or 1.0

    def solve(self, penalty: float, turned: Any) -> Any:
        """(Gram + penalty)⁻¹ of a right-hand side that is turned already, in the turned coordinates."""
        return turned / (self.eigenvalues + penalty)[:, None]


def _refuse_penalties(penalties: Sequence[float] | None, examples: Examples) -> None:
    for penalty in penalties or ():
        if not 0 < penalty < math.inf:
            msg = f"penalty {penalty:g}; expected a number above 0: without one, many decoders fit equally well"
            raise ProblemError(msg)
    if penalties is not None and not len(penalties):
        msg = "no penalty was given; expected at least one"
        raise ProblemError(msg)
    several = penalties is None or len(penalties) > 1
    if several and (examples.select is None or not len(examples.select)):
        msg = "several penalties and no rows to choose one by; give one penalty, or rows of a split `val`"
        raise ProblemError(msg)
    if len(examples.train) < 2:
        msg = f"{len(examples.train)} rows to fit a decoder on; expected at least 2"
        raise ProblemError(msg)


def _penalties(given: Sequence[float] | None, ridge: _Ridge) -> tuple[float, ...]:
    """The penalties to try, ascending."""
    found = given if given is not None else [part * ridge.mean_eigenvalue for part in _GRID]
    return tuple(sorted({float(penalty) for penalty in found}))


def _selection_errors(pairs: _Pairs, ridge: _Ridge, tried: Sequence[float]) -> list[float]:
    """Return the mean squared error per value of the selection rows, for each penalty, in one pass."""
    rows = pairs.examples.select
    if rows is None or len(tried) == 1:
        return [math.nan] * len(tried)
    sums = ridge.sums
    totals = [0.0] * len(tried)
    turned = [ridge.solve(penalty, ridge.turned) for penalty in tried]
    for given, shown in pairs.blocks(rows):
        coordinates, wanted = (given - sums.mean_code) @ ridge.vectors, shown - sums.mean_image
        for place, weights in enumerate(turned):
            totals[place] += float(((wanted - coordinates @ weights) ** 2).sum())
    return [total / (len(rows) * pairs.values) for total in totals]


def _best(tried: Sequence[float], errors: Sequence[float]) -> float:
    """The penalty of the least error; of equal ones the strongest."""
    if len(tried) == 1:
        return tried[0]
    least = min(errors)
    return max(penalty for penalty, error in zip(tried, errors, strict=True) if error == least)


def _proven(pairs: _Pairs, ridge: _Ridge, penalty: float) -> tuple[Any, float, float]:
    """The weights at a penalty, their relative residual, and how far the loss can be above the least one.

    Where the residual is too large, it is solved for, and what that gives is added, up to three times.
    """
    weights = ridge.vectors @ ridge.solve(penalty, ridge.turned)
    size = math.sqrt(float((ridge.sums.cross**2).sum()))
    best: tuple[Any, float, float] = (weights, math.inf, math.inf)
    for _ in range(1 + _REFINEMENTS):
        left = _residual(pairs, ridge.sums, weights, penalty)
        norm = math.sqrt(float((left**2).sum()))
        relative = norm / size if size else norm
        if relative < best[1]:
            best = weights, relative, norm**2 / penalty / (ridge.sums.rows * pairs.values)
        if best[1] <= RESIDUAL / 10:
            break
        weights = weights + ridge.vectors @ ridge.solve(penalty, ridge.vectors.T @ left)
    return best


def _residual(pairs: _Pairs, sums: _Sums, weights: Any, penalty: float) -> Any:
    """The normal equations' residual, by a pass over the rows: not by the Gram, which may be wrong itself."""
    left = -penalty * weights
    for given, shown in pairs.blocks(pairs.examples.train):
        centred = given - sums.mean_code
        left = left + centred.T @ (shown - sums.mean_image - centred @ weights)
    return left
