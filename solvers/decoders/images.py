"""Pictures as a store has them and as a decoder sees them: axes, units, and the way there and back.

The trap of decoding: which tensor is "the input", in which units. A decoder works on (rows, channels, height, width) in
[0, 1]; ``ImageUnits`` says how the stored ``input`` becomes that, and goes into the decoder file.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.problem.moments import not_finite
from solvers.rows import as_source, read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.rows import RowSource

__all__ = ["AXES", "ImageUnits", "image_units"]

AXES = ("HW", "HWC", "CHW")
"""How the axes of one stored picture may lie."""
_CHANNELS = (1, 3, 4)
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class ImageUnits:
    """How a stored picture becomes (channels, height, width) in [0, 1], and back.

    Args:
        stored: the shape of one row of the layer ``input``.
        shape: the same values as axes: ``stored``, unless pictures are stored flat.
        axes: of ``shape``: HW, HWC or CHW.
        low, high: the stored values that become 0 and 1.
        from_dtype: the stored dtype.
        rule: how low and high were found.
        held: the least and the largest value of the training rows.
    """

    stored: tuple[int, ...]
    shape: tuple[int, ...]
    axes: str
    low: float
    high: float
    from_dtype: str
    rule: str
    held: tuple[float, float]

    @property
    def pale(self) -> bool:
        """Whether the training pictures use less than a quarter of the range, so that they are nearly flat in it."""
        return self.held[1] - self.held[0] < (self.high - self.low) / 4

    @property
    def picture(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        place = dict(zip(self.axes, self.shape, strict=True))
        return place.get("C", 1), place["H"], place["W"]

    @property
    def values(self) -> int:
        """How many values a picture has, all channels together."""
        return math.prod(self.shape)

    def to_unit(self, block: Array) -> NDArray[np.float64]:
        """Return stored rows (rows, ...) as (rows, channels, height, width) float64, [0, 1] where in the range."""
        block = np.asarray(block, np.float64).reshape(-1, *self.shape)
        if self.axes == "HW":
            block = block[:, None]
        elif self.axes == "HWC":
            block = block.transpose(0, 3, 1, 2)
        return (block - self.low) / (self.high - self.low)

    def to_stored(self, pictures: Any) -> Any:
        """Return (rows, channels, height, width) as rows of the stored shape and units, as floats.

        Written in operations that arrays of NumPy and tensors of torch share, so that gradients go through.
        """
        if self.axes == "HWC":
            pictures = (
                pictures.permute(0, 2, 3, 1) if hasattr(pictures, "permute") else pictures.transpose(0, 2, 3, 1)
            )
        return (pictures * (self.high - self.low) + self.low).reshape((len(pictures), *self.stored))

    def to_json(self) -> dict[str, Any]:
        """Return the units as the decoder file has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> ImageUnits:
        """Return the units of a decoder file; KeyError, TypeError or ValueError where they are none."""
        units = cls(
            tuple(int(length) for length in found["stored"]),
            tuple(int(length) for length in found["shape"]),
            str(found["axes"]),
            float(found["low"]),
            float(found["high"]),
            str(found["from_dtype"]),
            str(found["rule"]),
            (float(found["held"][0]), float(found["held"][1])),
        )
        fits = units.axes in AXES and len(units.axes) == len(units.shape) and min(units.shape) > 0
        if not fits or math.prod(units.stored) != units.values or not units.low < units.high < math.inf:
            msg = f"{found!r} describes no pictures"
            raise ValueError(msg)
        return units


def image_units(
    images: RowSource | Array,
    train: NDArray[np.int64],
    axes: str | None = None,
    shape: tuple[int, ...] | None = None,
) -> ImageUnits:
    """Find the units of stored pictures.

    Whole numbers of one or two bytes are scaled by the range of their dtype; others by the least and the largest value
    over the training rows.

    Args:
        images: (rows, height, width), (rows, height, width, channels) or (rows, channels, height, width).
        train: numbers of the training rows.
        axes: HW, HWC or CHW, where it cannot be told.
        shape: of one picture, where it is stored flat.

    Raises:
        ProblemError: what is stored is no picture, or its axes cannot be told; values that are not finite, or all one.
    """
    source = as_source(images)
    stored = tuple(int(length) for length in source.shape[1:])
    shaped = _shaped(stored, shape)
    named = _named(shaped, axes)
    kind, size = source.dtype.kind, source.dtype.itemsize
    held = _range(source, train)
    if kind == "b":
        low, high, rule = 0.0, 1.0, "false and true"
    elif kind in "iu" and size <= 2:
        info = np.iinfo(source.dtype)
        low, high, rule = float(info.min), float(info.max), f"the range of {source.dtype}"
    else:
        low, high = held
        rule = f"least and largest value of {len(train):,} training rows"
    return ImageUnits(stored, shaped, named, low, high, str(source.dtype), rule, held)


def _shaped(stored: tuple[int, ...], shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one picture."""
    if shape is None:
        if len(stored) in (2, 3):
            return stored
        msg = (
            f"the stored input has the shape {stored}; expected a picture, (height, width) or that with channels: "
            "say its shape with --image-shape, such as 28x28 or 3x32x32, or dump the pictures with their axes"
        )
        raise ProblemError(msg)
    if len(shape) not in (2, 3) or min(shape) < 1 or math.prod(shape) != math.prod(stored):
        msg = (
            f"--image-shape {'x'.join(map(str, shape))} does not hold the {math.prod(stored):,} values of a stored "
            f"input of shape {stored}; give two or three lengths whose product is that"
        )
        raise ProblemError(msg)
    return tuple(shape)


def _named(shape: tuple[int, ...], axes: str | None) -> str:
    """The names of the axes of a picture."""
    if axes is not None:
        if axes not in AXES or len(axes) != len(shape):
            fitting = ", ".join(each for each in AXES if len(each) == len(shape))
            msg = f"--image-axes {axes} does not fit pictures of shape {shape}; expected {fitting}"
            raise ProblemError(msg)
        return axes
    if len(shape) == 2:
        return "HW"
    first, last = shape[0] in _CHANNELS, shape[-1] in _CHANNELS
    if first == last:
        msg = (
            f"which axis of pictures of shape {shape} has the channels cannot be told; say --image-axes HWC or "
            "--image-axes CHW"
        )
        raise ProblemError(msg)
    return "CHW" if first else "HWC"


def _range(source: RowSource, train: NDArray[np.int64]) -> tuple[float, float]:
    """The least and the largest value over rows."""
    from solvers.rows import Rows, flat_width

    rows = Rows(source, train)
    block_rows = max(1, _BLOCK_ELEMENTS // flat_width(source))
    low, high = math.inf, -math.inf
    for start in range(0, len(train), block_rows):
        block = read(rows, slice(start, start + block_rows))
        if bad := not_finite(block):
            msg = f"{bad:,} training rows of the stored input hold NaN or infinities; leave those rows out"
            raise ProblemError(msg)
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    if not low < high:
        msg = (
            f"every value of the stored input is {low:g} over the training rows; there is no picture to decode"
        )
        raise ProblemError(msg)
    return low, high
