"""What of the inputs a store keeps, so that examples can be shown and not ids alone (``dump --keep-input``).

Texts are a target, ``input_text``: one entry in its vocabulary for each text, however many rows the text has.
Thumbnails are a layer, ``input_thumbnail``. The provenance says which under ``kept_input``. See
docs/decisions/0016-inputs-that-a-store-keeps.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.errors import SourceError

if TYPE_CHECKING:
    from actstore.store.format import JSON

TEXT, THUMBNAIL = "text", "thumbnail"
KINDS = (TEXT, THUMBNAIL)
TEXT_TARGET, THUMBNAIL_LAYER = "input_text", "input_thumbnail"
MOST_CHARACTERS = 1000
"""Of a text, which is stored in as many characters as the longest one that is kept has."""
LARGEST_SIDE = 32
THUMBNAIL_AXES = ("height", "width", "channel")
CUT = "…"


def document(kind: str) -> dict[str, JSON]:
    """Return what the provenance says of it."""
    if kind == TEXT:
        return {"kind": TEXT, "target": TEXT_TARGET, "most_characters": MOST_CHARACTERS}
    return {"kind": THUMBNAIL, "layer": THUMBNAIL_LAYER, "largest_side": LARGEST_SIDE}


def kept_texts(inputs: object) -> np.ndarray:
    """(examples,) the texts of a batch, or its words with blanks between them; cut after so many characters.

    Raises:
        SourceError: the batch is no text.
    """
    if not arrays.is_text(inputs):
        msg = f"--keep-input text keeps texts, but the data gives {arrays.describe(inputs)}; leave it out"
        raise SourceError(msg)
    texts = [one if isinstance(one, str) else " ".join(one) for one in inputs]  # type: ignore[attr-defined]
    return np.array([_cut(text) for text in texts], np.str_)


def _cut(text: str) -> str:
    """A text that can be stored: no NUL, no half of a pair of surrogates, not too long."""
    text = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + CUT
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def thumbnails(inputs: object) -> np.ndarray:
    """(examples, height, width, channels) uint8: images, each pixel the mean of those that it stands for.

    Raises:
        SourceError: the batch is no uint8 images, (rows, height, width) or (rows, height, width, 1 or 3).
    """
    found: Any = inputs
    is_images = arrays.is_array(found) and str(found.dtype).endswith("uint8") and found.ndim in (3, 4)
    if not is_images or (found.ndim == 4 and found.shape[-1] not in (1, 3)) or 0 in tuple(found.shape):
        msg = (
            "--keep-input thumbnail keeps images, uint8 of (rows, height, width) or (rows, height, width, 1 or 3), but "
            f"the data gives {arrays.describe(inputs)}; leave it out"
        )
        raise SourceError(msg)
    images = arrays.to_bits(found)[0]
    images = images[..., None] if images.ndim == 3 else images
    factor = -(-max(images.shape[1:3]) // LARGEST_SIDE)
    return _smaller(_smaller(images, 1, factor), 2, factor)


def _smaller(images: np.ndarray, axis: int, factor: int) -> np.ndarray:
    """Means over so many neighbours along an axis; the last ones may be fewer."""
    if factor == 1:
        return images
    side = images.shape[axis]
    starts = np.arange(0, side, factor)
    counts = np.diff(np.append(starts, side))
    shape = [-1 if place == axis else 1 for place in range(images.ndim)]
    sums = np.add.reduceat(images, starts, axis=axis, dtype=np.uint32)
    return np.round(sums / counts.reshape(shape)).astype(np.uint8)
