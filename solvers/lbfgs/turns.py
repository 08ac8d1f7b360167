"""Turns of rows: other coordinates in which every probe of a layer is the same problem, and cheaper.

An orthogonal change of the columns changes no logit and no norm of the weights. Rows that are fewer than the columns
have only so many coordinates in which they differ (the best weights are a sum of rows, whatever the penalty: the
representer theorem): with ``X Xᵀ = L Lᵀ`` the rows of L make the same problem as those of X. Along principal axes the
Hessian of every class is nearly diagonal, whatever C is: exactly where all probabilities are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.lbfgs.working import column_gram

if TYPE_CHECKING:
    from solvers.arrays import Backend

__all__ = ["Turn", "along_axes", "spanned_by_axes", "spanned_by_factor"]

_CHUNK = 1024
"""Columns of the rows that are turned to float64 at a time, at least."""
_JITTER = 1e-15
"""What is added to the diagonal of X Xᵀ, as a share of its trace: rows that add up to zero span one dimension less."""
_TRIES = 6
_LEAST = 1e-300
"""The square of the size of an axis, where no column varies."""


class Turn:
    """Rows x (rows, width), times ``stretch`` (width,), as ``turned`` (rows, fewer), in the dtype of the work."""

    principal = False
    """Whether the new columns are the principal axes."""
    lower = False
    """Whether the turned rows are a lower triangle."""
    turned: Any

    def __init__(self, backend: Backend, x: Any, stretch: Any) -> None:
        self.backend, self.x, self.stretch = backend, x, stretch

    def entered(self, weights: Any) -> Any:
        """Return weights (columns, width) of the problem's columns as those (columns, fewer) of the turned rows."""
        raise NotImplementedError

    def left(self, weights: Any) -> Any:
        """Return weights (columns, fewer) of the turned rows as those (columns, width) of the problem's columns."""
        raise NotImplementedError


class _Spanned(Turn):
    """Rows in the space that they span; how X Xᵀ is factored is for others to say."""

    def entered(self, weights: Any) -> Any:
        xp, moved = self.backend.xp, weights * self.stretch
        reached = xp.empty((len(self.x), len(weights)))
        for part in self._parts():
            reached[part] = self.backend.float64(self.x[part]) @ moved.T
        return self._solved(reached).T

    def left(self, weights: Any) -> Any:
        shares, xp = self._shares(weights), self.backend.xp
        found = xp.zeros((len(shares), self.x.shape[1]))
        for part in self._parts():
            found += shares[:, part] @ self.backend.float64(self.x[part])
        found *= self.stretch
        return found

    def _solved(self, reached: Any) -> Any:
        raise NotImplementedError

    def _shares(self, weights: Any) -> Any:
        raise NotImplementedError

    def _parts(self) -> list[slice]:
        step = max(1, self.backend.block_elements // self.x.shape[1])
        return [slice(start, min(start + step, len(self.x))) for start in range(0, len(self.x), step)]


class _ByFactor(_Spanned):
    """Rows of a factor L: weights u of them are ``stretch Xᵀ L⁻ᵀ u``."""

    lower = True

    def __init__(self, backend: Backend, x: Any, stretch: Any, lower: Any) -> None:
        super().__init__(backend, x, stretch)
        self._lower = self.turned = lower

    def _solved(self, reached: Any) -> Any:
        return self._lower.T @ self.backend.solve(self._lower, reached)

    def _shares(self, weights: Any) -> Any:
        return self.backend.solve(self._lower, self._lower @ weights.T).T


class _ByAxes(_Spanned):
    """Rows along their principal axes: ``U diag(sizes)``, where ``X Xᵀ = U diag(sizes²) Uᵀ``."""

    principal = True

    def __init__(self, backend: Backend, x: Any, stretch: Any, axes: Any, sizes: Any) -> None:
        super().__init__(backend, x, stretch)
        self._axes, self._sizes = axes, sizes
        self.turned = axes * sizes

    def _solved(self, reached: Any) -> Any:
        return (self._axes.T @ reached) / self._sizes[:, None]

    def _shares(self, weights: Any) -> Any:
        return (weights / self._sizes) @ self._axes.T


class _Rotated(Turn):
    """Rows along the axes (width, width) of an orthogonal matrix."""

    principal = True

    def __init__(self, backend: Backend, x: Any, stretch: Any, axes: Any) -> None:
        super().__init__(backend, x, stretch)
        self._axes = axes
        turn = (stretch[:, None] * axes).astype(x.dtype)
        self.turned = backend.xp.empty(x.shape, dtype=x.dtype)

        def work(parts: list[slice]) -> None:
            for part in parts:
                self.turned[part] = x[part] @ turn

        backend.workers.map(work, backend.workers.shares(len(x), -(-len(x) // backend.workers.count)))

    def entered(self, weights: Any) -> Any:
        return weights @ self._axes

    def left(self, weights: Any) -> Any:
        return weights @ self._axes.T


def spanned_by_factor(backend: Backend, x: Any, stretch: Any) -> Turn | None:
    """Turn resident rows into the space that they span; None where rounding leaves no factor."""
    gram = _gram(backend, x, stretch)
    diagonal = backend.xp.arange(len(gram))
    plain, jitter = gram[diagonal, diagonal].copy(), _JITTER * float(gram[diagonal, diagonal].sum())
    for _ in range(_TRIES):
        gram[diagonal, diagonal] = plain + jitter
        factor = backend.factor(gram)
        if factor is not None:
            # Its columns one after another, as whatever solves with it wants them.
            return _ByFactor(backend, x, stretch, backend.xp.triu(factor.T).T)
        jitter *= 10
    return None


def spanned_by_axes(backend: Backend, x: Any, stretch: Any) -> Turn:
    """Turn resident rows into the space that they span, along their principal axes."""
    gram = _gram(backend, x, stretch)
    squares, axes = backend.xp.linalg.eigh(gram)
    least = max(_JITTER * float(squares.sum()), _LEAST)
    return _ByAxes(backend, x, stretch, axes, backend.xp.sqrt(squares.clip(0, None) + least))


def along_axes(backend: Backend, x: Any, stretch: Any) -> Turn:
    """Turn resident rows, at least as many as their columns, along their principal axes.

    Those of a Gram matrix in the dtype of the rows: any orthogonal matrix is exact, and these are near enough.
    """
    gram = column_gram(backend, x)
    gram *= stretch[:, None] * stretch[None, :]
    return _Rotated(backend, x, stretch, backend.xp.linalg.eigh(gram)[1])


def _gram(backend: Backend, x: Any, stretch: Any) -> Any:
    """(X stretch) (X stretch)ᵀ (rows, rows) in float64, some columns at a time: two squares of them, or more."""
    width, workers = x.shape[1], backend.workers
    pieces = max(workers.count, -(-width // max(_CHUNK, 2 * len(x))))

    def work(parts: list[slice]) -> Any:
        found = None
        for part in parts:
            columns = x[:, part] * stretch[part]  # in float64, as the stretch is
            product = columns @ columns.T
            found = product if found is None else backend.xp.add(found, product, out=found)
        return found

    found, *others = workers.map(work, workers.shares(width, -(-width // pieces)))
    for other in others:
        found += other
    return found
