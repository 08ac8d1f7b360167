"""The operations of a reduction on torch tensors, on the device where they are: only the result is ever copied."""

from __future__ import annotations

from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.reductions.cast import accumulated

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from actstore.activations import Captured
    from actstore.reductions.columns import Projection

_WITHOUT_OPERATIONS = ("uint16", "uint32", "uint64")  # torch can hold them, but hardly compute with them


def takes(value: object) -> bool:
    """Whether ``value`` is a tensor that torch can reduce."""
    return arrays.is_tensor(value) and _name(value.dtype) not in _WITHOUT_OPERATIONS  # type: ignore[attr-defined]


@contextmanager
def reducing(tensor: Any) -> Iterator[None]:
    """A context without gradients, and in the precision that is asked for whatever the model runs in."""
    import torch

    with torch.no_grad(), torch.autocast(tensor.device.type, enabled=False):
        yield


class TensorOperations:
    """``apply.Operations`` of torch. Keeps indices and the matrices of projections on the devices that need them."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, torch.device], torch.Tensor] = {}

    def given(self, value: Any) -> torch.Tensor:
        """Without its gradients."""
        return value.detach()

    def captured(self, value: torch.Tensor, given: torch.Tensor, axes: tuple[str, ...]) -> Captured:
        """A copy in the CPU's memory."""
        return arrays.capture(value, axes)

    def shape(self, value: torch.Tensor) -> tuple[int, ...]:
        """Rows and features."""
        return tuple(value.shape)

    def dtype(self, value: torch.Tensor) -> str:
        """Without the name of the library."""
        return _name(value.dtype)

    def mean(self, value: torch.Tensor, axes: tuple[int, ...], real: np.ndarray | None) -> torch.Tensor:
        """Summed in float32, or float64 for that, without a copy in it."""
        dtype = _dtype(accumulated(_name(value.dtype)))
        if real is None:
            return value.mean(axes, dtype=dtype)
        mask = _mask(value, real)
        others = prod(
            length for axis, length in enumerate(value.shape) if axis in axes and mask.shape[axis] == 1
        )
        return value.masked_fill(~mask, 0).sum(axes, dtype=dtype) / (mask.sum(axes) * others)

    def largest(self, value: torch.Tensor, axes: tuple[int, ...], real: np.ndarray | None) -> torch.Tensor:
        """Exact, in the dtype of the layer."""
        if real is not None:
            value = value.masked_fill(~_mask(value, real), _lowest(value.dtype))
        return value.amax(axes)

    def at(self, value: torch.Tensor, axis: int, index: np.ndarray | int) -> torch.Tensor:
        """A view, or a copy of just these entries."""
        import torch

        if isinstance(index, int):
            return value.select(axis, index)
        rows = torch.arange(len(value), device=value.device)
        return value.movedim(axis, 1)[rows, torch.from_numpy(index).to(value.device)]

    def spread(self, value: torch.Tensor, axis: int, rows: np.ndarray, index: np.ndarray) -> torch.Tensor:
        """A copy of just these entries."""
        import torch

        pair = (torch.from_numpy(which).to(value.device) for which in (rows, index))
        return value.movedim(axis, 1)[tuple(pair)]

    def joined(self, value: torch.Tensor, counts: np.ndarray, kind: str) -> torch.Tensor:
        """Summed one by one in their order, so that the same run gives the same bits on every device."""
        import torch

        largest, starts = kind == "max", np.cumsum(counts) - counts
        found = value[torch.from_numpy(starts).to(value.device)]
        found = found if largest else found.to(_dtype(accumulated(_name(value.dtype))))
        for part in range(1, counts.max(initial=1)):
            longer = np.flatnonzero(counts > part)
            more = value[torch.from_numpy(starts[longer] + part).to(value.device)]
            rows = torch.from_numpy(longer).to(value.device)
            found[rows] = torch.maximum(found[rows], more) if largest else found[rows] + more
        return found if largest else found / _mask(value, counts).reshape(-1, *[1] * (value.ndim - 1))

    def columns(self, value: torch.Tensor, layer: str, indices: np.ndarray) -> torch.Tensor:
        """A copy of just these features."""
        import torch

        key = ("indices", layer, value.device)
        if key not in self._kept:
            self._kept[key] = torch.from_numpy(indices).to(value.device)
        return _flat(value).index_select(1, self._kept[key])

    def project(self, value: torch.Tensor, projection: Projection) -> torch.Tensor:
        """In float32, or float64 for that."""
        import torch

        dtype = _dtype(accumulated(_name(value.dtype)))
        key = ("matrix", projection.layer, value.device)
        if key not in self._kept:
            self._kept[key] = torch.from_numpy(projection.matrix()).to(value.device, dtype)
        return _flat(value).to(dtype) @ self._kept[key]

    def cast(self, value: torch.Tensor, dtype: str) -> torch.Tensor:
        """Rounding to nearest even."""
        return value.to(_dtype(dtype))

    def cost(self, before: torch.Tensor, after: torch.Tensor) -> tuple[float, int, int]:
        """Compared in the wider of the two dtypes."""
        if not before.numel():
            return 0.0, 0, 0
        import torch

        wide = torch.promote_types(before.dtype, after.dtype)
        errors = (after.to(wide) - before.to(wide)).abs()
        largest = errors.masked_fill(~errors.isfinite(), 0).amax()
        overflows = (after.isinf() & before.isfinite()).sum()
        return float(largest), int(overflows), int(after.isnan().sum())


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(name: str) -> torch.dtype:
    import torch

    return getattr(torch, name)


def _mask(value: torch.Tensor, real: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(real).to(value.device)


def _lowest(dtype: torch.dtype) -> bool | int | float:
    import torch

    if dtype == torch.bool:
        return False
    return float("-inf") if dtype.is_floating_point else int(torch.iinfo(dtype).min)


def _flat(value: torch.Tensor) -> torch.Tensor:
    return value.reshape(len(value), prod(value.shape[1:]))
