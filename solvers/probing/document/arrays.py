"""The arrays of a file of probes or decoders, each at its place in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from solvers.disk.placed_arrays import Placed, PlacedArrays
from solvers.errors import ProbeFileError
from solvers.probing.document.kind import PROBES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from solvers.probing.document.kind import FileKind

__all__ = ["HEADER", "MOST_HEADER_BYTES", "FileArrays", "unfit"]

HEADER = "header"
"""What the array is called that holds the header's bytes."""
MOST_HEADER_BYTES = 1 << 28


class FileArrays(PlacedArrays):
    """A file whose datasets are all known to lie in it, apart; nothing of them was read yet."""

    def __init__(
        self, path: Path, file: BinaryIO, places: Mapping[str, Placed], kind: FileKind = PROBES
    ) -> None:
        super().__init__(file, places)
        self._path = path
        self._kind = kind

    def bytes_of_header(self) -> bytes:
        """The header's bytes."""
        header = self.places[HEADER]
        if header.dtype != np.uint8 or len(header.shape) != 1:
            raise unfit(self._path, HEADER, "is not of type uint8", self._kind)
        if header.nbytes > MOST_HEADER_BYTES:
            raise unfit(self._path, HEADER, f"is larger than {MOST_HEADER_BYTES:,} bytes", self._kind)
        return self.read(HEADER).tobytes()

    def names(self) -> list[str]:
        """Every array but the header."""
        return [name for name in self.places if name != HEADER]


def unfit(path: Path, name: str, problem: str, kind: FileKind = PROBES) -> ProbeFileError:
    """Return the error of a dataset that is not as the files of a kind have it; ``problem`` says how."""
    return ProbeFileError(
        f"{path} is not as `{kind.made_by}` wrote it: its dataset `{name}` {problem}; {kind.again}"
    )
