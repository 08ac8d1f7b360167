"""What is measured of decoded pictures beside the true ones, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.decoders.examples import Examples

__all__ = ["UNITS", "class_means", "high_frequency_share", "mean_picture", "measured", "total_variation"]

UNITS = {
    "squared_error": "per value",
    "squared_error_image": "per image",
    "total_variation": "per value",
    "high_frequency_share": "share",
    "squared_error_to_class_mean": "per value",
    "nearer_to_class_mean": "share",
    "cross_entropy": "nats",
    "accuracy": "share",
    "agreement": "share",
    "evaluation_accuracy": "share",
}
"""Every metric of a decoder, and its unit; pictures are in [0, 1]."""
_BLOCK_ROWS = 512


def measured(
    decoded: NDArray[np.float64], true: NDArray[np.float64], means: NDArray[np.float64] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return what is measured of decoded pictures without any network, a number for each row.

    Args:
        decoded: (rows, channels, height, width), about [0, 1].
        true: alike, in [0, 1].
        means: (rows, channels, height, width), the mean training picture of each row's class; NaN where it has none.
    """
    error = _error(decoded, true)
    found = {
        "squared_error": error,
        "squared_error_image": error * float(np.prod(true.shape[1:])),
        "total_variation": total_variation(decoded),
        "high_frequency_share": high_frequency_share(decoded),
    }
    if means is not None:
        to_mean = _error(decoded, means)
        nearer = np.where(np.isnan(to_mean), np.nan, to_mean < error)
        found |= {"squared_error_to_class_mean": to_mean, "nearer_to_class_mean": nearer}
    return found


def total_variation(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean absolute difference of neighbours, down plus across, per value."""
    down = np.abs(np.diff(pictures, axis=2)).sum(axis=(1, 2, 3))
    across = np.abs(np.diff(pictures, axis=3)).sum(axis=(1, 2, 3))
    return (down + across) / float(np.prod(pictures.shape[1:]))


def high_frequency_share(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of a picture's power above a quarter of a cycle per pixel; its mean is no part of it."""
    power = np.abs(np.fft.fft2(pictures)) ** 2
    power[:, :, 0, 0] = 0
    height, width = pictures.shape[2:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    whole = power.sum(axis=(1, 2, 3))
    high = power[:, :, radius > 0.25].sum(axis=(1, 2))
    # Of a flat picture all that is left is rounding, of which there is no share.
    flat = whole <= 1e-20 * np.prod(pictures.shape[1:]) ** 2
    return np.where(flat, 0.0, high / np.where(flat, 1.0, whole))


def class_means(examples: Examples, classes: int) -> NDArray[np.float64] | None:
    """Return the mean training picture of each class (classes, channels, height, width); NaN without any row of it."""
    labels = examples.labels
    if labels is None:
        return None
    classes = max(classes, int(labels.max(initial=-1)) + 1)
    sums, counts = np.zeros((classes, *examples.units.picture)), np.zeros(classes)
    rows = examples.train[labels[examples.train] >= 0]
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = rows[start : start + _BLOCK_ROWS]
        np.add.at(sums, labels[part], examples.pictures(part))
        np.add.at(counts, labels[part], 1)
    with np.errstate(invalid="ignore"):
        return sums / counts[:, None, None, None]


def mean_picture(examples: Examples) -> NDArray[np.float64]:
    """Return the mean training picture (channels, height, width): what a decoder must do better than."""
    total = np.zeros(examples.units.picture)
    for start in range(0, len(examples.train), _BLOCK_ROWS):
        total += examples.pictures(examples.train[start : start + _BLOCK_ROWS]).sum(axis=0)
    return total / max(1, len(examples.train))


def _error(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((one - other) ** 2).mean(axis=(1, 2, 3))
