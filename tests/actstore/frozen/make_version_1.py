"""Makes ``version_1/``, the frozen example of format version 1: every file of docs/format.md, as small as they come.

    python tests/actstore/frozen/make_version_1.py FOLDER

It was run once. What is in ``version_1/`` is never made again: later versions have to read it as it is. The functions
below say what is in it, without a line of the package; ``test_frozen.py`` compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from actstore import Captured, RowBatch, Writer
from actstore import open as open_store
from actstore.store.documents.write_place import WritePlace
from actstore.store.writing.pack import pack_store

ROWS = 7
STEPS = (0, 500)
SHARDS = [[2, 2], [3]]  # of each rank, the rows
PROVENANCE = {"command": "make_version_1.py", "versions": {"actstore": "1"}, "model": {"weights": "frozen"}}

LAYERS = {
    "": ("float64", ()),
    "conv/1": ("float32", (2, 3)),
    "%2F": ("float16", (4,)),
    "日本語": ("bfloat16", (3,)),
    "empty": ("int8", (0, 2)),
    **{
        f"of {kind}": (kind, (2,))
        for kind in ("int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
    "..": ("bool", ()),
}
AXES = ("channel", "ширина")
IDS = ["", "a/b", "0", "日", "e\u0301", "\u00e9", "a b"]
SPLITS = ["train", "train", "val", "train", "", "test", "train"]
GROUPS = ["s1", "s1", "s1", "s2", "", "s2", "s3"]
POSITIONS = [0, 1, 2, 0, -1, 2**40, 0]
DIGITS = [3, None, -1, 3, 2**33, None, 0]
WORDS = [None, None, None, None, "chat", "", "été"]  # the first rank has no such target
FLAGS = [True, False, True, True, False, False, True]
LATER = ["x", None, "日本", "x", None, None, "y"]


def activations(name: str, step: int) -> np.ndarray:
    """All rows of a layer; bfloat16 as its bits."""
    dtype, shape = LAYERS[name]
    numbers = np.arange(ROWS * int(np.prod(shape, dtype=int))).reshape(ROWS, *shape)
    if dtype == "bool":
        return (numbers + step) % 3 == 0
    if dtype == "bfloat16":  # NaNs with payloads, infinities, a subnormal and zeros of both signs among them
        return ((numbers * 0x0F85 + 0x7F80 + step) % 2**16).astype(np.uint16)
    if dtype == "float16":
        return ((numbers * 0x08C1 + 0x7C00 + step) % 2**16).astype(np.uint16).view(np.float16)
    if dtype == "float32":
        bits = (numbers * 0x1234567 + 0x7FC00123 + step) % 2**32
        return bits.astype(np.uint32).view(np.float32)
    if dtype == "float64":
        return np.where(numbers == 3, -0.0, numbers / 8 + step)
    return (numbers * 37 + step - 5).astype(dtype)  # integers wrap around


def masked(labels: list, dtype: type) -> np.ma.MaskedArray:
    """Labels, masked where they are None."""
    filled = [dtype() if label is None else label for label in labels]
    return np.ma.MaskedArray(filled, mask=[label is None for label in labels])


def batch(step: int, start: int, stop: int) -> RowBatch:
    """Rows ``start`` to ``stop``."""
    rows = slice(start, stop)
    layers = {
        name: Captured(activations(name, step)[rows], dtype, AXES[: len(shape)])
        for name, (dtype, shape) in LAYERS.items()
    }
    targets = {"digit": masked(DIGITS[rows], int), "a/flag": np.array(FLAGS[rows])}
    if start >= sum(SHARDS[0]):
        targets["word"] = masked(WORDS[rows], str)
    return RowBatch(layers, IDS[rows], SPLITS[rows], targets, GROUPS[rows], POSITIONS[rows])


def make(folder: Path) -> None:
    """Write ``store.acts`` (two steps, each of two ranks), attach a target, and pack step 500 as ``single.h5``."""
    path = folder / "store.acts"
    for step in STEPS:
        first = 0
        for rank, shards in enumerate(SHARDS):
            place = WritePlace(step, rank, len(SHARDS), first, sum(shards))
            writer = Writer(path, place=place, row_unit="token", provenance=PROVENANCE, shard_bytes=1)
            for rows in shards:
                writer.append(batch(step, first, first + rows))
                first += rows
            writer.note(data=[{"split": "train", "rows": sum(shards)}])
            writer.finish().close()
    with open_store(path) as store:
        store.attach("later", masked(LATER, str))
    pack_store(path, folder / "single.h5", step=STEPS[1])
    for lock in [path / "journal.lock", *path.glob("steps/*/rank-*/lock")]:
        lock.unlink()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
