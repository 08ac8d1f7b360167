"""From what lies on disk to a problem for the solvers: a store's layers and labels, or features of one's own."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.rows import RowSource

FEATURES = "features"
"""What the layer is called where the features are the user's own."""


@dataclass(frozen=True)
class LayerProblem:
    """Layers and the labels of each target over the same rows; labels are masked where a row has none."""

    layers: Mapping[str, RowSource]
    labels: Mapping[str, np.ndarray]
    splits: np.ndarray
    groups: np.ndarray | None = None
    step: int = 0
    fingerprint: str = ""


@contextmanager
def open_problem(
    sources: Sequence[str], targets: Sequence[str], patterns: Sequence[str], step: int | None = None
) -> Iterator[LayerProblem]:
    """The problem that `probe fit SOURCES --target TARGETS --layers PATTERNS --step STEP` asks for."""
    with ExitStack() as stack:
        if len(sources) == 1 and is_store(sources[0]):
            store = stack.enter_context(open_store(sources[0], step))
            yield _of_store(store, targets, patterns)
        else:
            if step is not None:
                raise click.UsageError("--step chooses a step of a store; features of your own have none")
            if patterns:
                raise click.UsageError("--layers chooses layers of a store; features of your own are one layer")
            yield _of_features(sources, targets, stack)


def is_store(source: str) -> bool:
    """Whether a source is a store rather than features: a folder, `NAME.acts`, or `NAME.h5` without `:/PATH`."""
    return Path(source).is_dir() or source.endswith((".acts", ".h5"))


def open_store(path: str, step: int | None = None) -> Store:
    """One step of a store, complete; without a name, the only one."""
    import actstore
    from actstore.errors import StoreError

    chosen = actstore.open(path).one(step)
    if not chosen.complete:
        msg = f"{path} is incomplete: its dump did not finish, so rows are missing; finish it with --resume"
        raise StoreError(msg)
    return chosen


def target_of(store: Store, name: str) -> np.ndarray:
    """A target of the store; an unknown one is refused with the names there are."""
    from actstore.errors import StoreError

    if name not in store.targets:
        known = ", ".join(repr(target) for target in store.targets) or "none"
        msg = f"{store.path} has no target {name!r}; it has {known}; labels of your own: --target {name}=labels.npy"
        raise StoreError(msg)
    return store.targets[name]


def _of_store(store: Store, targets: Sequence[str], patterns: Sequence[str]) -> LayerProblem:
    labels: dict[str, np.ndarray] = {}
    for target in targets:
        name, separator, spec = target.partition("=")
        if name in labels:
            raise click.UsageError(f"--target {name} was given twice; give each target of a store once")
        of_its_own = _labels_by_position(spec, store.rows, str(store.path)) if separator else None
        labels[name] = target_of(store, name) if of_its_own is None else of_its_own
    names = list(store.layers)
    layers = {layer: store.layers[layer] for layer in (_chosen(patterns, names) if patterns else names)}
    return LayerProblem(layers, labels, store.splits, store.groups, store.steps[0], store.fingerprint)


def _labels_by_position(spec: str, rows: int, where: str) -> np.ndarray:
    from actstore.errors import SourceError
    from actstore.sources import read_labels

    labels = read_labels(spec)
    if len(labels) != rows:
        msg = f"{spec} has {len(labels):,} labels but {where} has {rows:,} rows; expected one per row, in order"
        raise SourceError(msg)
    return labels


def _of_features(sources: Sequence[str], targets: Sequence[str], stack: ExitStack) -> LayerProblem:
    """Features of the user's own: one layer, its splits one after another in the order given."""
    import numpy as np

    from actstore.sources import split_data
    from solvers.rows import Concat, as_source

    data = split_data(sources, targets)
    names = list(dict.fromkeys(name for item in data for name in item.targets))
    if not names:
        raise click.UsageError(
            "features of your own take labels, --target [SPLIT:]NAME=SPEC; came: only a name"
        )
    rows = [as_source(stack.enter_context(item.source.opened())) for item in data]
    counts = [part.shape[0] for part in rows]
    labels = {name: _joined([item.targets.get(name) for item in data], counts) for name in names}
    splits = np.repeat([item.split for item in data], counts)
    layers: dict[str, Any] = {FEATURES: rows[0] if len(rows) == 1 else Concat(*rows)}
    return LayerProblem(layers, labels, splits)


def _joined(labels: Sequence[np.ndarray | None], rows: Sequence[int]) -> np.ndarray:
    """Labels one after another, masked over the rows of a part that has none."""
    import numpy as np

    given = [part for part in labels if part is not None]
    dtype = np.result_type(*(part.dtype for part in given))
    if len({part.dtype.kind in "SU" for part in given}) > 1:
        kinds = ", ".join(str(part.dtype) for part in given)
        raise click.UsageError(
            f"the labels of one target are text and numbers ({kinds}); give one kind for all splits"
        )
    if dtype.kind == "f" and all(
        part.dtype.kind in "iu" for part in given
    ):  # int64 beside uint64 is float64 to NumPy
        least = min(int(part.min()) for part in given if np.ma.count(part))
        most = max(int(part.max()) for part in given if np.ma.count(part))
        if least < 0 and most >= 2**63:
            raise click.UsageError(f"labels from {least} to {most} fit no whole number of 64 bits; give others")
        dtype = np.dtype(np.int64 if most < 2**63 else np.uint64)
    filled = [
        np.ma.masked_all(count, dtype) if part is None else part
        for part, count in zip(labels, rows, strict=True)
    ]
    return np.ma.concatenate(filled)


def _chosen(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The stored layers that at least one pattern picks, in their order; each pattern must pick one."""
    from actstore.patterns import matcher, unknown

    picked: set[str] = set()
    for pattern in patterns:
        matches = matcher(pattern, names)
        found = {name for name in names if matches(name)}
        if not found:
            raise unknown(pattern, names)
        picked |= found
    return [name for name in names if name in picked]
