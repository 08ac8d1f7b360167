"""What users give in place of a NumPy array: tensors, masked arrays, sparse matrices.

Taken where the numbers stay what they are, refused in one line where they would not. A torch tensor is known by its
manners: torch is not imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["numbers", "on_the_host", "unmasked"]


def on_the_host(values: Any, what: str) -> Any:
    """Return values as they are, but a torch tensor as a NumPy array of the same numbers (bfloat16 as float32).

    Raises:
        ProblemError: values on a GPU, or in a sparse matrix; ``what`` is what they are called there.
    """
    tensor = hasattr(values, "detach") and hasattr(values, "numpy")
    _refuse_on_a_gpu(values, what, tensor)
    _refuse_sparse(values, what, tensor)
    if not tensor:
        return values
    plain = values.detach()
    return (plain.float() if str(plain.dtype) == "torch.bfloat16" else plain).numpy()


def _refuse_on_a_gpu(values: Any, what: str, tensor: bool) -> None:
    if tensor and str(values.device) != "cpu":
        msg = f"{what} lie on {values.device}; expected them on the host: give x.cpu() of torch"
        raise ProblemError(msg)
    if not tensor and hasattr(values, "__cuda_array_interface__"):
        msg = f"{what} lie on a GPU; expected rows on the host: give x.get() of CuPy, or x.cpu() of torch"
        raise ProblemError(msg)


def _refuse_sparse(values: Any, what: str, tensor: bool) -> None:
    if hasattr(values, "toarray") or (tensor and str(values.layout) != "torch.strided"):
        dense = "x.to_dense()" if tensor else "x.toarray()"
        msg = f"{what} are a sparse {type(values).__name__}; expected dense rows: give {dense}, or a row source of it"
        raise ProblemError(msg)


def unmasked(values: Any, what: str) -> Any:
    """Return values without a mask, where a masked array masks nothing.

    Raises:
        ProblemError: entries are masked: what lies under a mask is no number to learn from.
    """
    if not isinstance(values, np.ma.MaskedArray):
        return values
    masked = int(np.ma.count_masked(values))
    if masked:
        msg = f"{masked:,} entries of {what} are masked, so they have no value; leave those rows out, or fill them in"
        raise ProblemError(msg)
    return values.data


def numbers(sample_weight: Any) -> NDArray[np.float64]:
    """Return sample weights in float64.

    Raises:
        ProblemError: they are masked, or no numbers.
    """
    given = unmasked(on_the_host(sample_weight, "sample weights"), "the sample weights")
    try:
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"sample weights are no numbers ({error}); expected one weight of 0 or more per row"
        raise ProblemError(msg) from None
