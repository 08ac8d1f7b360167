"""A probe as a module of torch: the one place of solvers, besides decoders, that loads torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError

try:
    import torch
except ImportError as error:
    _MISSING = "probe.to_torch needs torch, which is not installed; pip install 'actstore[torch]'"
    raise ProblemError(_MISSING) from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.linear_map import LinearMap

__all__ = ["ProbeModule", "as_module"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class ProbeModule(torch.nn.Module):
    """Logits (h − mean) W + b of raw rows: (rows, *features) to (rows, classes).

    Like ``nn.Linear`` it has a ``weight`` (classes, width) and a ``bias`` (classes,), of centred rows, besides the
    ``mean`` (width,). None of them is trained (``requires_grad`` is False), so that it stays what was certified; the
    gradient by the rows flows. Rows are cast to the module's dtype. ``classes`` are the labels in the logits' order.
    """

    def __init__(self, linear: LinearMap, columns: NDArray[np.int64] | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.classes = None if linear.classes is None else linear.classes.tolist()
        self.weight = _frozen(linear.weights.T, dtype)
        self.bias = _frozen(linear.intercept, dtype)
        self.register_buffer("mean", _tensor(linear.mean, dtype))
        self.register_buffer("columns", None if columns is None else torch.from_numpy(np.array(columns)))
        self.width = linear.width

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the logits of raw rows. ProblemError where a row has another width."""
        flat = rows.flatten(1)
        if flat.shape[1] != self.width:
            msg = f"rows of shape {tuple(rows.shape)} have {flat.shape[1]:,} features; the probe takes {self.width:,}"
            raise ProblemError(msg)
        if self.columns is not None:
            flat = flat[:, self.columns]
        centred = flat.to(self.weight.dtype) - self.mean
        return torch.nn.functional.linear(centred, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return what the module is, for its ``repr``."""
        dtype = str(self.weight.dtype).removeprefix("torch.")
        return f"in_features={self.width}, out_features={len(self.bias)}, dtype={dtype}"


def as_module(linear: LinearMap, columns: NDArray[np.int64] | None, dtype: str) -> ProbeModule:
    """Return a map of all features as a module that looks at some columns of them.

    Args:
        linear: of the width of the layer.
        columns: those that are looked at, ascending; None for all.
        dtype: "float64" or "float32".

    Raises:
        ProblemError: another dtype.
    """
    called = str(dtype).removeprefix("torch.")
    if called not in _DTYPES:
        msg = f"dtype is {dtype!r}; expected 'float64', which acts as predict_proba does, or 'float32'"
        raise ProblemError(msg)
    width = linear.width
    module = ProbeModule(linear.of_columns(columns), columns, _DTYPES[called])
    module.width = width
    return module


def _tensor(values: Any, dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(values), dtype=dtype)


def _frozen(values: Any, dtype: torch.dtype) -> torch.nn.Parameter:
    return torch.nn.Parameter(_tensor(values, dtype), requires_grad=False)
