"""The engine ``cupy``: the same L-BFGS, resident on a GPU. The one file that imports cupy."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from solvers.arrays import Backend
from solvers.errors import EngineError
from solvers.goals import Bid
from solvers.lbfgs.sweep import ColumnSolver
from solvers.workers.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from solvers.problem.problem import Problem

__all__ = ["ENGINE", "CupyEngine", "device_backend", "device_name"]

BLOCK_ELEMENTS = 1 << 26


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

    def bid(self, problem: Problem, fits: int, memory_bytes: int | None = None) -> Bid:
        """Bid for everything: a GPU that works is taken."""
        return Bid(10.0, "a GPU works here")

    def backend(self, device: str | None = None) -> Backend:
        """Return where it computes; None is the first GPU."""
        return _backend(int((device or "cuda:0").removeprefix("cuda:")))

    def prepare(
        self, problems: Sequence[Problem], memory_bytes: int | None = None, device: str | None = None
    ) -> ColumnSolver:
        """Copy the rows to the device where they fit its memory, and stream them where they do not.

        Raises:
            EngineError: not even streamed rows fit.
        """
        backend = self.backend(device)
        try:
            return ColumnSolver(problems, backend, memory_bytes)
        except EngineError:
            # Others take memory meanwhile, and pieces of it lie apart: rows that should have fit are streamed.
            rows_bytes = 4 * len(problems[0].codes) * problems[0].width
            with backend.here():
                less = min(backend.free_bytes() // 4, rows_bytes)
            return ColumnSolver(problems, backend, less if memory_bytes is None else min(less, memory_bytes))


def device_name() -> str:
    """Return the name of the GPU that the engine would run on."""
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()


def device_backend(number: int = 0) -> Backend:
    """Return a GPU as a backend, for mathematics other than a fit's; the engine must be available."""
    return _backend(number)


def _backend(number: int) -> Backend:
    import cupy

    with cupy.cuda.Device(number):
        stream = cupy.cuda.Stream(non_blocking=True)

    @contextmanager
    def here() -> Iterator[None]:
        """On the device and in the stream of this backend, in whatever thread, and back to the caller's after it.

        One stream for all threads: what a reader copies is in order with what the others make of it, as each is only
        asked for once the other was told to the stream.
        """
        try:
            with cupy.cuda.Device(number), stream:
                yield
        except cupy.cuda.memory.OutOfMemoryError as error:
            with cupy.cuda.Device(number):
                cupy.get_default_memory_pool().free_all_blocks()
            said = f"device cuda:{number} is out of memory ({error})"
            msg = f"{said}; bound it with memory_bytes (--memory), or take the engine numpy"
            raise EngineError(msg) from error

    return Backend(
        xp=cupy,
        to_host=cupy.asnumpy,
        block_elements=BLOCK_ELEMENTS,
        factor=_factor,
        solve=_solve,
        free_bytes=_free_bytes,
        workers=Threads(1, here),
        here=here,
    )


def _free_bytes() -> int:
    """Return what the current device has left, and what CuPy's pool holds of it for arrays that are gone."""
    import cupy

    free, _ = cupy.cuda.runtime.memGetInfo()
    return int(0.8 * (free + cupy.get_default_memory_pool().free_bytes()))


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
        return f"cupy cannot be imported ({error}); install actstore[gpu-cuda12] or actstore[gpu-cuda13]"
    try:
        if not cupy.cuda.is_available():
            return "cupy is installed but finds no GPU (no CUDA driver, or no device)"
        ones = cupy.ones((2, 2), dtype=cupy.float32)
        float(cupy.exp(ones @ ones).sum())
    except Exception as error:  # noqa: BLE001 - a broken toolkit raises whatever it likes; the reason is kept
        return (
            f"cupy finds a GPU but cannot compute on it ({type(error).__name__}: {str(error).splitlines()[0]})"
        )
    return None


ENGINE = CupyEngine()
