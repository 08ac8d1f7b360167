"""The arrays of a probe file, each at its place in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from solvers.disk.placed_arrays import Placed, PlacedArrays
from solvers.errors import ProbeFileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["HEADER", "MOST_HEADER_BYTES", "FileArrays", "unfit"]

HEADER = "header"
"""What the array is called that holds the header's bytes."""
MOST_HEADER_BYTES = 1 << 28


class FileArrays(PlacedArrays):
    """A probe file whose datasets are all known to lie in it, apart; nothing of them was read yet."""

    def __init__(self, path: Path, file: BinaryIO, places: Mapping[str, Placed]) -> None:
        super().__init__(file, places)
        self._path = path

    def bytes_of_header(self) -> bytes:
        """The header's bytes."""
        header = self.places[HEADER]
        if header.dtype != np.uint8 or len(header.shape) != 1:
            raise unfit(self._path, HEADER, "is not of type uint8")
        if header.nbytes > MOST_HEADER_BYTES:
            raise unfit(self._path, HEADER, f"is larger than {MOST_HEADER_BYTES:,} bytes")
        return self.read(HEADER).tobytes()

    def names(self) -> list[str]:
        """Every array but the header."""
        return [name for name in self.places if name != HEADER]


def unfit(path: Path, name: str, problem: str) -> ProbeFileError:
    """Return the error of a dataset that is not as probe files have it; ``problem`` says how."""
    return ProbeFileError(
        f"{path} is not as `probe fit` wrote it: its dataset `{name}` {problem}; fit the probes again"
    )
