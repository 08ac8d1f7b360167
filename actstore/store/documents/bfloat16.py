"""bfloat16, which NumPy lacks: its bits travel in uint16, the upper halves of float32s."""

from __future__ import annotations

import numpy as np


def widened(bits: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return bfloat16 bits as the same values in float32; in ``out``, where that is given, C-contiguous float32."""
    single = np.empty(np.shape(bits), np.float32) if out is None else out
    wide = single.view(np.uint32)
    wide[...] = bits
    wide <<= np.uint32(16)
    return single


def narrowed(values: np.ndarray) -> np.ndarray:
    """Floats as the bits of the nearest bfloat16, ties to even; infinities and NaN stay what they are."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.ascontiguousarray(values, np.float32)
        bits = single.view(np.uint32).copy()
    if values.dtype.itemsize > single.dtype.itemsize:
        # Rounded twice, a value could end up on the wrong side of a tie: round to odd in between (Boldo and Melquiond).
        inexact = (single != values) & ~np.isnan(single)
        bits -= inexact & (np.abs(single) > np.abs(values))
        bits |= inexact.astype(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(single), quiet, rounded).astype(np.uint16)
