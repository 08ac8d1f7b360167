"""Features of one's own for fitted probes: arrays of files as the layers that they are of, with their labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.probe.bridge import is_store, joined_labels
from cli.result import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from actstore.sources.split import SplitData
    from solvers.probing.afterwards.scores import GivenRows
    from solvers.probing.probe import Probe

__all__ = ["given_features"]

_SOURCE = re.compile(r"(?:(?P<split>[\w-]+)=)?(?P<spec>.+)", re.DOTALL)
_ARCHIVE = re.compile(r"(?P<file>.*\.npz):(?P<key>.*)", re.DOTALL)


@dataclass(frozen=True)
class _Array:
    """One array of a file: the rows of a layer in a split. ``layer`` is None until it is told which that is."""

    split: str
    spec: str
    layer: str | None

    @property
    def data(self) -> str:
        """The array as ``--data`` would name it."""
        return f"{self.split}={self.spec}" if self.split else self.spec


def given_features(
    sources: Sequence[str],
    targets: Sequence[str],
    probes: Sequence[Probe],
    stack: ExitStack,
    ignore: Sequence[str] = (),
) -> GivenRows:
    """Return the rows of files.

    The arrays of FILE.npz are layers by their names; so is FILE.npz:KEY where KEY is one. Any other array is the one
    layer that the probes look at.

    Args:
        sources: [SPLIT=]FILE, as they were typed.
        targets: of ``--target``.
        probes: those that were asked for.
        stack: closes the files.
        ignore: labels that mean "no label", besides those that the probes ignored in their fit.

    Raises:
        WrongUsage: an array that may be of several layers, layers of different rows, or no labels.
        SourceError: nothing of that name, or labels of other rows.
    """
    import numpy as np

    from actstore.rows.labels import without
    from solvers.probing.afterwards.scores import GivenRows
    from solvers.rows import ConcatRows, as_source

    layers = list(dict.fromkeys(layer for probe in probes for layer in probe.where.layers))
    arrays = [each for source in sources for each in _arrays(source, layers)]
    by_split = _by_split(arrays)
    data = _with_labels(by_split, targets, probes, ignore)
    opened = {item.split: as_source(stack.enter_context(item.source.opened())) for item in data}
    counts = [opened[split].shape[0] for split in by_split]
    found = {}
    for layer in next(iter(by_split.values())):
        rows = []
        for number, (split, own) in enumerate(by_split.items()):
            first = next(iter(own)) == layer
            rows.append(opened[split] if first else _opened(own[layer], stack))
            _refuse_other_rows(own, layer, rows[-1].shape[0], counts[number])
        found[layer] = rows[0] if len(rows) == 1 else ConcatRows(*rows)
    names = dict.fromkeys(name for item in data for name in item.targets)
    ignored = [*_ignored(probes), *ignore]
    labels = {
        name: without(joined_labels([each.targets.get(name) for each in data], counts), ignored)
        for name in names
    }
    return GivenRows(found, labels, np.repeat(list(by_split), counts), store=" ".join(sources))


def _arrays(source: str, layers: Sequence[str]) -> list[_Array]:
    """The arrays of a source, each with the layer that it says it is of."""
    from actstore.formats.numpy_files import open_npz
    from actstore.wording import listed

    if is_store(source):
        raise WrongUsage(f"{source} is a store; give one store, or files of features of your own, not both")
    typed = _SOURCE.fullmatch(source)
    if typed is None:
        raise WrongUsage("a source was given nothing; expected a store or [SPLIT=]FILE")
    split, spec = typed["split"] or "", typed["spec"]
    if not spec.endswith(".npz"):
        archive = _ARCHIVE.fullmatch(spec)
        key = archive["key"] if archive else None
        return [_Array(split, spec, key if key in layers else _only(layers, spec))]
    names = list(open_npz(Path(spec)))
    known = [name for name in names if name in layers]
    if known:
        return [_Array(split, f"{spec}:{name}", name) for name in known]
    if len(names) == 1:
        return [_Array(split, f"{spec}:{names[0]}", _only(layers, spec))]
    raise WrongUsage(
        f"{spec} holds {listed(names)}, none of which is a layer of the probes; expected {listed(layers)}, or name one "
        "array as FILE.npz:KEY and its layer with --layers"
    )


def _only(layers: Sequence[str], spec: str) -> str:
    from actstore.wording import listed

    if len(layers) != 1:
        raise WrongUsage(
            f"{spec} is one array, but the probes are of {len(layers)} layers; say which it is with --layers: "
            f"{listed(layers)}"
        )
    return layers[0]


def _by_split(arrays: Sequence[_Array]) -> dict[str, dict[str, _Array]]:
    """The arrays by split and layer; each split has the same layers."""
    found: dict[str, dict[str, _Array]] = {}
    for array in arrays:
        own = found.setdefault(array.split, {})
        if array.layer in own:
            where = f"split {array.split!r}" if array.split else "one split"
            raise WrongUsage(
                f"{own[array.layer].spec} and {array.spec} are both layer {array.layer!r} of {where}; name a split for "
                "each: a=FILE b=FILE"
            )
        own[str(array.layer)] = array
    first, layers = next(iter(found.items()))
    for split, own in found.items():
        other = sorted(layers.keys() ^ own.keys())
        if other:
            raise WrongUsage(
                f"the splits {first!r} and {split!r} were not given the same layers: {other[0]!r} is in one of them; "
                "give both the same, or choose with --layers"
            )
    return found


def _with_labels(
    by_split: dict[str, dict[str, _Array]],
    targets: Sequence[str],
    probes: Sequence[Probe],
    ignore: Sequence[str],
) -> Sequence[SplitData]:
    """The first layer of each split with its labels."""
    from actstore.sources import RowColumns, split_data
    from actstore.wording import hint

    ignored = dict.fromkeys([*_ignored(probes), *ignore])
    firsts = [next(iter(own.values())).data for own in by_split.values()]
    if not targets:
        raise WrongUsage("features of your own have no labels; give them: --target [SPLIT:]NAME=SPEC")
    data = split_data(firsts, targets, RowColumns(ignore=tuple(ignored)))
    known = list(dict.fromkeys(probe.target for probe in probes))
    for name in dict.fromkeys(name for item in data for name in item.targets):
        if name not in known:
            raise WrongUsage(f"--target {name}: the probes have no target {name!r}; {hint(name, known)}")
    return data


def _opened(array: _Array, stack: ExitStack) -> Any:
    from actstore.sources import split_data
    from solvers.rows import as_source

    (item,) = split_data([array.data])
    return as_source(stack.enter_context(item.source.opened()))


def _refuse_other_rows(own: dict[str, _Array], layer: str, rows: int, expected: int) -> None:
    if rows != expected:
        first = next(iter(own.values()))
        raise WrongUsage(
            f"{own[layer].spec} has {rows:,} rows, but {first.spec} of the same split has {expected:,}; layers of a "
            "split are of the same rows, in one order"
        )


def _ignored(probes: Sequence[Probe]) -> list[str]:
    """The labels that any of the probes ignored in its fit."""
    return [str(each) for probe in probes for each in probe.proof.chosen.get("ignore_label", ())]
