"""``[SPLIT=]FILE``: what is to be imported, and which files lie side by side."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from actstore.errors import SourceError
from actstore.exchange.base import ArrayBlock, ArrayLayer, Block, Facts
from actstore.exchange.npz_rows import read_npz
from actstore.exchange.requests import RequestBlock, is_request
from actstore.exchange.tables import TABLE_SUFFIXES, read_table
from actstore.formats.containers import kinds
from actstore.formats.containers.front import find, open_all, shown_as
from actstore.rows.labels import check_size, plain_labels
from actstore.store.format import BFLOAT16
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.formats.containers.base import FileArray
    from actstore.formats.containers.front import Found

_SPEC = re.compile(r"(?:(?P<split>[\w-]+)=)?(?P<spec>.+)", re.DOTALL)


class LeftOutWarning(UserWarning):
    """A file has more than its layers."""


@dataclass(frozen=True)
class Spec:
    """One file, or one array in it, whose rows belong to a split."""

    text: str
    split: str
    found: Found

    @property
    def path(self) -> Path:
        """The file as it was named."""
        return Path(self.found.shown)

    @property
    def key(self) -> str | None:
        """What is named in it; None where nothing is."""
        return self.found.key


def parse(text: str, split: str) -> Spec:
    """Parse ``[SPLIT=]FILE``, of ``split`` where it names none. SourceError where no such file is there."""
    told = _SPEC.fullmatch(text)
    found = None if told is None else find(told["spec"])
    is_table = found is not None and found.shown.lower().endswith(TABLE_SUFFIXES)
    if told is None or found is None or not (found.kind in (*kinds.ARRAYS, *kinds.COLUMNS) or is_table):
        msg = f"{text!r} cannot be imported; expected [SPLIT=] and one of {kinds.FORMS}, {kinds.TABLE_FORMS}"
        raise SourceError(msg)
    if not found.key:
        found = replace(found, key=None)
    return Spec(text, told["split"] or split, found)


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
    found = spec.found
    if found.kind == kinds.HDF5 and found.key is None and row_unit != "example" and _is_sentences(found):
        from actstore.exchange.sentences import SentenceBlock

        if layer is not None:
            msg = f"{spec.path} has the layers layer.0, layer.1, …; --layer names the one layer of an array"
            raise SourceError(msg)
        with shown_as(found.path, found.shown):
            return SentenceBlock(found.path, spec.split, known=row_unit in ("token", "word"))
    arrays, facts, others = _arrays(found, spec.split)
    if found.kind == kinds.SAFETENSORS and is_request(arrays):
        if layer is not None:
            msg = (
                f"{spec.path} is the hidden states of a request, with the layers layer.0, …; leave --layer out"
            )
            raise SourceError(msg)
        return RequestBlock(arrays, spec.split, found.shown)
    layers = {
        name: ArrayLayer(array.spec, array.dtype, array.shape, array.blocks) for name, array in arrays.items()
    }
    block = ArrayBlock(spec.split, layers, facts)
    _tell_of_others(spec, others)
    if layer is None:
        return block
    if len(layers) > 1:
        msg = f"{spec.text} has {len(layers)} layers, so --layer cannot name them; import one with {spec.path}:KEY"
        raise SourceError(msg)
    return block.renamed(layer)


def _arrays(found: Found, split: str) -> tuple[Mapping[str, FileArray], Facts, Sequence[str]]:
    """The arrays of a file, what it says of their rows, and the names of what else is in it."""
    if found.kind == kinds.NPZ:
        with shown_as(found.path, found.shown):
            return (*read_npz(found.path, found.key, found.shown), [])
    if found.kind in kinds.ARRAYS:
        arrays, others = open_all(found)
        if found.kind == kinds.SAFETENSORS or found.key is not None:
            return arrays, Facts(), others
        return _with_labels(arrays, others)
    return read_table(found, split)


def _with_labels(
    arrays: Mapping[str, FileArray], others: Sequence[str]
) -> tuple[Mapping[str, FileArray], Facts, Sequence[str]]:
    """Take flat whole numbers and texts beside layers for labels, where there is one for each row."""
    layers = {name: one for name, one in arrays.items() if len(one.shape) > 1}
    rows = {one.shape[0] for one in layers.values()}
    targets, left = {}, list(others)
    for name, one in arrays.items():
        kind = "" if len(one.shape) != 1 else one.values.dtype.kind
        if layers and rows == {*one.shape[:1]} and kind and kind in "iubUS" and one.dtype != BFLOAT16:
            check_size(one.shape[0], one.values.dtype, one.spec)
            targets[name] = plain_labels(one.whole(), one.spec)
        elif kind and kind in "US":
            left.append(name)
        elif name not in layers:
            layers[name] = one
    if not layers:  # texts alone, which are refused as the layers they were to be
        return arrays, Facts(), others
    return layers, Facts(targets=targets), left


def _tell_of_others(spec: Spec, others: Sequence[str]) -> None:
    if others and spec.key is None:
        msg = f"{spec.path}: left out, since it is no layer: {listed(others)}"
        warnings.warn(msg, LeftOutWarning, stacklevel=2)


def _is_sentences(found: Found) -> bool:
    """Whether all names in the root of an HDF5 file are numbers, but for one that tells which sentence each is."""
    from actstore.exchange.sentences import are_sentences
    from actstore.formats.foreign_hdf5 import root_names

    with shown_as(found.path, found.shown):
        return are_sentences(root_names(found.path))
