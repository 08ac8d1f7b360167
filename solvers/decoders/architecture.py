"""The shape of the convolutional decoder, found from the shape of a layer and of the pictures; no torch is needed.

A vector goes through Linear and ReLU to a map of 1 x 1, a map through a 3 x 3 convolution and ReLU. Transposed 4 x 4
convolutions of stride 2 then double it, from widths that halve down to 64 to the channels of the picture, with ReLU
between them and a sigmoid at the end (Schneider & Vlachos). The number of doublings follows from the two sizes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Architecture", "architecture"]

_LAST_WIDTH = 64
_MOST_WIDTH = 1024
"""Where doubled widths end: those of a vector that becomes a picture of 32 x 32."""
MAP_AXES = ("channel", "height", "width")


@dataclass(frozen=True)
class Architecture:
    """A decoder from a layer's rows to pictures.

    Args:
        code: the shape of a row of the layer.
        order: which axes of it are channel, height and width; () where it is flattened into a vector.
        widths: channels before each doubling, or of the one hidden map where nothing is doubled.
        doublings: how often height and width are doubled.
        fit: ``exact``, ``crop`` (what is too large then is cut off, less than half a cell of the map on a side)
            or ``resize`` (the map is resized to ``cells`` before it is doubled); docs/decisions/0022.
        picture: (channels, height, width).
    """

    code: tuple[int, ...]
    order: tuple[int, ...]
    widths: tuple[int, ...]
    doublings: int
    fit: str
    picture: tuple[int, int, int]

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of the map that is doubled."""
        return -(-self.picture[1] >> self.doublings), -(-self.picture[2] >> self.doublings)

    def to_json(self) -> dict[str, Any]:
        """Return it as the decoder file has it."""
        return {"kind": "conv", **asdict(self)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Architecture:
        """Return that of a decoder file; KeyError, TypeError or ValueError where it is none that is built here."""
        code, order, widths, picture = (
            tuple(int(each) for each in found[name]) for name in ("code", "order", "widths", "picture")
        )
        read = cls(code, order, widths, int(found["doublings"]), str(found["fit"]), (*picture,))  # type: ignore[arg-type]
        sizes = (*code, *picture)
        usual = len(picture) == 3 and 0 < len(code) <= 16 and min(sizes) > 0 and max(sizes) < 1 << 24
        if not usual or read != architecture(code, _names(code, order), read.picture):
            msg = f"{dict(found)!r} describes no decoder"
            raise ValueError(msg)
        return read


def architecture(code: Sequence[int], axes: Sequence[str], picture: tuple[int, int, int]) -> Architecture:
    """Return the decoder from rows of a layer to pictures.

    Args:
        code: the shape of a row of the layer.
        axes: what its axes are called; a map has ``channel``, ``height`` and ``width`` in any order. Anything else is
            flattened: what axes nobody knows cannot be kept apart.
        picture: (channels, height, width).

    Raises:
        ProblemError: a map that is more than twice as large as the picture.
    """
    order = _order(axes) if len(axes) == len(code) else ()
    height, width = (code[order[1]], code[order[2]]) if order else (1, 1)
    _, wanted_height, wanted_width = picture
    if height >= 2 * wanted_height or width >= 2 * wanted_width:
        msg = (
            f"a map of {height} x {width} is at least twice as large as a picture of {wanted_height} x {wanted_width}"
            "; dump the layer with --pool mean, or decode another"
        )
        raise ProblemError(msg)
    doublings = 0
    while height << doublings < wanted_height or width << doublings < wanted_width:
        doublings += 1
    surplus = max((height << doublings) - wanted_height, (width << doublings) - wanted_width)
    fit = "crop" if surplus else "exact"
    if order and surplus >= 1 << doublings:  # half a cell of the map or more would be lost on a side
        fit, doublings = "resize", max(0, doublings - 1)
    widths = tuple(min(_LAST_WIDTH << back, _MOST_WIDTH) for back in reversed(range(max(1, doublings))))
    return Architecture(tuple(code), order, widths, doublings, fit, picture)


def _order(axes: Sequence[str]) -> tuple[int, ...]:
    named = list(axes)
    return tuple(named.index(axis) for axis in MAP_AXES) if sorted(named) == sorted(MAP_AXES) else ()


def _names(code: tuple[int, ...], order: tuple[int, ...]) -> tuple[str, ...]:
    """The names of axes that an order is of."""
    names = [""] * len(code)
    for axis, place in zip(MAP_AXES, order, strict=False):
        names[place] = axis
    return tuple(names)
