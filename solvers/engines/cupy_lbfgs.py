"""The engine ``cupy``: the same L-BFGS, resident on a GPU. The one file that imports cupy."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from solvers.arrays import Backend
from solvers.goals import Bid
from solvers.lbfgs.sweep import ColumnSolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.problem import Problem

__all__ = ["ENGINE", "CupyEngine", "device_name"]

_BLOCK_ELEMENTS = 1 << 26


class CupyEngine:
    """Batched L-BFGS over CuPy arrays: rows, logits and coefficients stay on the device."""

    name = "cupy"
    finishes = True

    def unavailable(self) -> str | None:
        """Say why no GPU can be used here: cupy missing, no device, or a toolkit that cannot multiply."""
        return _probe_device()

    def devices(self) -> Sequence[str]:
        """Return the GPUs by number, cuda:0 first; none where none can be used."""
        if self.unavailable() is not None:
            return ()
        import cupy

        return tuple(f"cuda:{number}" for number in range(cupy.cuda.runtime.getDeviceCount()))

    def bid(self, problem: Problem, fits: int) -> Bid:
        """Bid for everything: a GPU that works is taken."""
        return Bid(10.0, "a GPU works here")

    def prepare(
        self, problems: Sequence[Problem], memory_bytes: int | None = None, device: str | None = None
    ) -> ColumnSolver:
        """Copy the rows to the device where they fit its memory, and stream them where they do not."""
        import cupy

        cupy.cuda.Device(int((device or "cuda:0").removeprefix("cuda:"))).use()
        return ColumnSolver(problems, _backend(), memory_bytes)


def device_name() -> str:
    """The name of the GPU that the engine would run on."""
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()


def _backend() -> Backend:
    import cupy

    return Backend(
        xp=cupy,
        to_host=cupy.asnumpy,
        block_elements=_BLOCK_ELEMENTS,
        factor=_factor,
        solve=_solve,
        free_bytes=lambda: int(0.8 * cupy.cuda.runtime.memGetInfo()[0]),
    )


def _factor(matrix: Any) -> Any:
    """The Cholesky factor; cuSOLVER leaves NaN where a matrix is not positive definite."""
    import cupy

    factor = cupy.linalg.cholesky(matrix)
    return factor if bool(cupy.isfinite(factor[-1, -1])) else None


def _solve(factor: Any, sides: Any) -> Any:
    from cupyx.scipy.linalg import solve_triangular

    half = solve_triangular(factor, sides, lower=True)
    return solve_triangular(factor, half, lower=True, trans="T")


@cache
def _probe_device() -> str | None:
    """Import, ask for a device, then a tiny product and exponential: without cuBLAS only those tell."""
    try:
        import cupy
    except ImportError as error:
        return f"cupy can not be imported ({error}); install actstore[gpu-cuda12] or actstore[gpu-cuda13]"
    try:
        if not cupy.cuda.is_available():
            return "cupy is installed but finds no GPU (no CUDA driver, or no device)"
        ones = cupy.ones((2, 2), dtype=cupy.float32)
        float(cupy.exp(ones @ ones).sum())
    except Exception as error:  # noqa: BLE001 - a broken toolkit raises whatever it likes; the reason is kept
        return (
            f"cupy finds a GPU but can not compute on it ({type(error).__name__}: {str(error).splitlines()[0]})"
        )
    return None


ENGINE = CupyEngine()
