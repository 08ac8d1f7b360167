"""Image files as arrays: decoded, resized and cropped by Pillow, which is imported here alone."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.usercode import explain
from actstore.wording import hint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_EXTENT = re.compile(r"([1-9][0-9]{0,4})(?:x([1-9][0-9]{0,4}))?")
_CHOICES = {"layout": ("hwc", "chw"), "dtype": ("uint8", "float32")}
OPTIONS = ("resize", "crop", *_CHOICES)
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""What Pillow has in 8 bits a channel; the others (16 bits, floats) would be cut off, not scaled."""


@dataclass(frozen=True)
class Preparation:
    """What is done with every image.

    Args:
        resize: (height, width), or (shorter side, None); None for none.
        crop: (height, width); None for none.
        layout: "hwc" or "chw".
        dtype: "uint8" or "float32".
    """

    resize: tuple[int, int | None] | None = None
    crop: tuple[int, int] | None = None
    layout: str = "hwc"
    dtype: str = "uint8"

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that ``resize`` gives an image."""
        if self.resize is None:
            return height, width
        side, other = self.resize
        if other is not None:
            return side, other
        return (side, side * width // height) if height <= width else (side * height // width, side)

    @property
    def takes_any_size(self) -> bool:
        """Whether all images come to one size, however large they are."""
        return self.resize is not None and (self.crop is not None or self.resize[1] is not None)

    def apply(self, image: Any) -> np.ndarray:
        """(height, width, 3) or (3, height, width) uint8 of an RGB image of Pillow's."""
        from PIL import Image

        height, width = self.resized(image.height, image.width)
        if (height, width) != (image.height, image.width):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.array(image)
        if self.crop is not None:
            top, left = (
                round((have - want) / 2) for have, want in zip((height, width), self.crop, strict=True)
            )
            pixels = pixels[top : top + self.crop[0], left : left + self.crop[1]]
        return np.ascontiguousarray(pixels if self.layout == "hwc" else pixels.transpose(2, 0, 1))


def preparation(options: str, spec: str) -> Preparation:
    """Return what ``resize=N,crop=N,...`` asks for, in any order; nothing where nothing is written.

    Raises:
        SourceError: unknown options, values that mean nothing, or a crop larger than what it is cut out of.
    """
    given: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name not in OPTIONS:
            msg = f"{spec}: option {name!r} is not known; {hint(name, OPTIONS)}"
            raise SourceError(msg)
        if name in given:
            msg = f"{spec}: option {name!r} appears twice; give it once"
            raise SourceError(msg)
        given[name] = _choice(name, value, spec) if name in _CHOICES else _extent(name, value, spec)
    if "crop" in given:
        side, other = given["crop"]
        given["crop"] = (side, other or side)
    how = Preparation(**given)
    if how.resize is not None and how.crop is not None:
        height, width = how.resize[0], how.resize[1] or how.resize[0]
        if height < how.crop[0] or width < how.crop[1]:
            msg = f"{spec}: the crop is larger than what it is cut out of; resize to more, or crop to less"
            raise SourceError(msg)
    return how


def read_image(path: Path, how: Preparation) -> np.ndarray:
    """(height, width, 3) or (3, height, width) uint8.

    Raises:
        SourceError: a file that is broken, or has other than 8 bits a channel.
    """
    with _opened(path) as image:
        return how.apply(as_rgb(image))


def as_rgb(image: Any) -> Any:
    """An image of Pillow's as RGB. ValueError where it has other than 8 bits a channel, which would be cut off."""
    if image.mode not in _MODES:
        msg = f"it is in mode {image.mode}; expected 8 bits a channel"
        raise ValueError(msg)
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")  # the way that Pillow does not warn of
    return image.convert("RGB")


def image_size(path: Path) -> tuple[int, int]:
    """Height and width as the head of a file says.

    Raises:
        SourceError: a file that is broken from its beginning.
    """
    with _opened(path) as image:
        return image.height, image.width


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An image of Pillow's; whatever goes wrong with it as one line."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        msg = f"{path} cannot be read as an image: {explain(error)}; dump --skip-bad leaves such out"
        raise SourceError(msg) from error


def _choice(name: str, value: str, spec: str) -> str:
    if value not in _CHOICES[name]:
        choices = " or ".join(f"{name}={choice}" for choice in _CHOICES[name])
        msg = f"{spec}: {name}={value}; expected {choices}"
        raise SourceError(msg)
    return value


def _extent(name: str, value: str, spec: str) -> tuple[int, int | None]:
    found = _EXTENT.fullmatch(value)
    if found is None:
        msg = f"{spec}: {name}={value}; expected {name}=N or {name}=HEIGHTxWIDTH, in pixels"
        raise SourceError(msg)
    return int(found[1]), int(found[2]) if found[2] else None
