"""The engine ``cupy``: the same L-BFGS, resident on a GPU. The one file that imports cupy."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from solvers.backend import Backend
from solvers.sweep import ColumnSolver

if TYPE_CHECKING:
    from solvers.problem import Problem

__all__ = ["ENGINE", "CupyEngine", "device_name"]

_BLOCK_ELEMENTS = 1 << 26
_ROTATE_WIDTH = 8192


class CupyEngine:
    """Batched L-BFGS over CuPy arrays: rows, logits and coefficients stay on the device."""

    name = "cupy"

    def unavailable(self) -> str | None:
        """Why no GPU can be used here: cupy missing, no device, or a toolkit that can not multiply."""
        return _probe_device()

    def prepare(self, problem: Problem) -> ColumnSolver:
        """Copy the rows to the device, in their Gram's eigenbasis."""
        return ColumnSolver(problem, _backend())


def device_name() -> str:
    """The name of the GPU that the engine would run on."""
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()


def _backend() -> Backend:
    import cupy

    return Backend(cupy, cupy.asnumpy, block_elements=_BLOCK_ELEMENTS, rotate_width=_ROTATE_WIDTH)


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
