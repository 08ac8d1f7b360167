"""``digits``: 1,797 handwritten digits, bundled with scikit-learn, in fixed splits; the target ``digit`` comes along.

Inputs are (rows, 64) float32, the whole numbers 0 to 16 of the 8 x 8 images. With no split named, 60% are ``train``,
20% ``val`` and 20% ``test``, stratified and seeded by a rule that is spelled out here, so that it never changes.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from actstore.sources.arrays import ArraySource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.sources.base import Source

FORMS = "digits"
SPLITS = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}
_SEED = 0


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """All rows under the split the user named, or the three splits."""
    if spec != "digits":
        return None
    rows = {split: _digits()} if split else {name: split_rows(name) for name in SPLITS}
    return [(name, ArraySource(images, spec, {"digit": digits})) for name, (images, digits) in rows.items()]


def split_rows(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (rows, 64) and digits (rows,) of one split: a share of each class, drawn by one seeded permutation."""
    images, digits = _digits()
    order = np.random.default_rng(_SEED).permutation(len(digits))
    start, stop = SPLITS[name]
    rows = []
    for digit in range(10):
        of_class = order[digits[order] == digit]
        rows.append(of_class[round(start * len(of_class)) : round(stop * len(of_class))])
    chosen = np.sort(np.concatenate(rows))
    return images[chosen], digits[chosen]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.data.astype(np.float32), bunch.target.astype(np.int64)
