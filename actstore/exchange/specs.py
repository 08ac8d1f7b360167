"""``[SPLIT=]FILE``: what is to be imported, and which files lie side by side."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import SourceError
from actstore.exchange.base import ArrayBlock, ArrayLayer, Block, Facts, sliced
from actstore.exchange.numpy_files import read_npy, read_npz
from actstore.formats import safetensors
from actstore.formats.foreign_hdf5 import open_array
from actstore.formats.opening import existing
from actstore.store.format import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMS = "FILE.npy, FILE.npz[:KEY], FILE.safetensors[:KEY], FILE.h5[:/PATH]"

_SPEC = re.compile(
    r"(?:(?P<split>[\w-]+)=)?(?P<file>.*?\.(?P<kind>npy|npz|safetensors|h5|hdf5))(?::(?P<key>.*))?", re.DOTALL
)


@dataclass(frozen=True)
class Spec:
    """One file, or one array in it, whose rows belong to a split."""

    text: str
    split: str
    path: Path
    kind: str
    key: str | None


def parse(text: str, split: str) -> Spec:
    """Parse ``[SPLIT=]FILE``, of ``split`` where it names none. SourceError where no such file is there."""
    found = _SPEC.fullmatch(text)
    if found is None:
        msg = f"{text!r} cannot be imported; expected [SPLIT=] and one of {FORMS}"
        raise SourceError(msg)
    path = existing(Path(found["file"]))
    return Spec(text, found["split"] or split, path, found["kind"].replace("hdf5", "h5"), found["key"] or None)


def check_once(specs: Sequence[Spec]) -> None:
    """SourceError where an array would be read twice: by a name, a link, or its key and all of its file."""
    seen: dict[tuple[int, int], list[Spec]] = {}
    for spec in specs:
        status = os.stat(spec.path)
        others = seen.setdefault((status.st_dev, status.st_ino), [])
        for other in others:
            if spec.key is None or other.key is None or _array(spec.key) == _array(other.key):
                msg = f"{spec.text} is what {other.text} is already, so its rows would come twice; name each file once"
                raise SourceError(msg)
        others.append(spec)


def _array(key: str) -> list[str]:
    return [part for part in key.split("/") if part]


def blocks(specs: Sequence[Spec], layer: str | None, row_unit: str | None = None) -> list[Block]:
    """The rows of all files, split after split.

    Files of one split whose layers have other names lie side by side; a layer that came before begins new rows.
    ``layer`` is what the only layer of each split is called; ``row_unit`` what the user says that a row is.
    """
    found: list[Block] = []
    for split in dict.fromkeys(spec.split for spec in specs):
        of_split: list[Block] = []
        for spec in (spec for spec in specs if spec.split == split):
            _add(of_split, _read(spec, layer, row_unit), spec)
        found += of_split
    _check_same(found)
    return found


def _add(of_split: list[Block], new: Block, spec: Spec) -> None:
    last = of_split[-1] if of_split else None
    if (
        isinstance(last, ArrayBlock)
        and isinstance(new, ArrayBlock)
        and not last.layers.keys() & new.layers.keys()
    ):
        of_split[-1] = last.beside(new, spec.text)
    else:
        of_split.append(new)


def _check_same(found: Sequence[Block]) -> None:
    """SourceError unless all rows have the same layers; a store could not hold them."""
    first = found[0]
    for other in found[1:]:
        if dict(other.layers) != dict(first.layers):
            msg = (
                f"the rows of split {other.split!r} have {_listing(other.layers)} where those of split "
                f"{first.split!r} have {_listing(first.layers)}; expected the same layers. "
                "Name the files alike, or name the one layer with --layer"
            )
            raise SourceError(msg)


def _listing(layers: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name!r} {dtype} {shape}" for name, (dtype, shape) in list(layers.items())[:5])


def _read(spec: Spec, layer: str | None, row_unit: str | None) -> Block:
    if spec.kind == "h5" and spec.key is None:
        from actstore.exchange.sentences import SentenceBlock

        if layer is not None:
            msg = f"{spec.path} has the layers layer.0, layer.1, …; --layer names the one layer of an array"
            raise SourceError(msg)
        return SentenceBlock(spec.path, spec.split, known=row_unit in ("token", "word"))
    facts = Facts()
    if spec.kind == "npz":
        arrays, facts = read_npz(spec.path, spec.key)
    else:
        arrays = {"npy": _npy, "safetensors": _safetensors, "h5": _hdf5}[spec.kind](spec)
    block = ArrayBlock(spec.split, arrays, facts)
    if layer is None:
        return block
    if len(arrays) > 1:
        msg = f"{spec.text} has {len(arrays)} layers, so --layer cannot name them; import one with {spec.path}:KEY"
        raise SourceError(msg)
    return block.renamed(layer)


def _npy(spec: Spec) -> dict[str, ArrayLayer]:
    if spec.key is not None:
        msg = f"{spec.text}: a .npy file holds one array; write {spec.path}"
        raise SourceError(msg)
    return {spec.path.stem: read_npy(spec.path)}


def _safetensors(spec: Spec) -> dict[str, ArrayLayer]:
    tensors = {tensor.name: tensor for tensor in safetensors.read_header(spec.path)}
    if spec.key is not None and spec.key not in tensors:
        msg = f"{spec.path} holds no {spec.key!r}; it holds {', '.join(map(repr, list(tensors)[:5])) or 'nothing'}"
        raise SourceError(msg)
    chosen = [tensor for name, tensor in tensors.items() if spec.key in (None, name)]
    if not chosen:
        msg = f"{spec.path} holds no tensors"
        raise SourceError(msg)
    return {tensor.name: _tensor(spec.path, tensor) for tensor in chosen}


def _tensor(path: Path, tensor: safetensors.Tensor) -> ArrayLayer:
    dtype = numpy_dtype(tensor.dtype)
    array: np.ndarray = np.empty(0 if tensor.nbytes else tensor.shape, dtype)
    if tensor.nbytes:  # nothing cannot be mapped
        array = np.memmap(path, dtype, "r", tensor.offset, tensor.shape)
    return ArrayLayer(f"{path}:{tensor.name}", tensor.dtype, tensor.shape, sliced(array))


def _hdf5(spec: Spec) -> dict[str, ArrayLayer]:
    key = spec.key or ""
    found = open_array(spec.path, key, spec.text)
    return {
        key.strip("/"): ArrayLayer(spec.text, found.dtype.newbyteorder("=").name, found.shape, sliced(found))
    }
