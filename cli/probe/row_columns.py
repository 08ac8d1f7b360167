"""Targets and joined layers of a store, and splits and groups that targets or columns of files say, for `probe fit`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import exclude_option, ignore_label_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from actstore.store.reading.reader import Store


ROW_OPTIONS = (
    exclude_option,
    click.option(
        "--concat",
        multiple=True,
        metavar="A,B",
        help="Fit layers with their features side by side too, as A+B, beside those of --layers; repeatable.",
    ),
    click.option(
        "--split-as",
        multiple=True,
        metavar="train|val|test=NAME",
        help="Which split is meant, where it is called otherwise; validation, valid and dev are val.",
    ),
    click.option(
        "--split-by",
        metavar="TARGET|SPEC",
        help="A target, or a column FILE.csv:COLUMN, with each row's split.",
    ),
    click.option(
        "--group-by",
        metavar="TARGET|SPEC",
        help="A target, or a column, that says which rows stay together where some are held out.",
    ),
    ignore_label_option,
    click.option(
        "--folds",
        type=click.IntRange(min=2),
        metavar="N",
        help="Choose C by N folds of `train`. Default without `val`: 5 below 5,000 rows ...",
    ),
    click.option(
        "--holdout",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="F",
        help="... or by this part of `train`, which is not trained on; 0.1 from 5,000 rows on.",
    ),
)
"""Which layers are joined and which rows are for what, in `probe fit`."""


@dataclass(frozen=True)
class RowOptions:
    """What `probe fit` is told of rows: the targets or SPECs that say splits and groups, and labels that are none.

    ``concat`` names layers, with commas between them, whose features are set side by side; ``exclude`` has patterns of
    layers that are left out.
    """

    split_by: str | None = None
    group_by: str | None = None
    ignore_label: tuple[str, ...] = ()
    concat: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def split_as(texts: tuple[str, ...]) -> dict[str, str]:
    """``("val=dev",)`` as ``{"val": "dev"}``."""
    named: dict[str, str] = {}
    for text in texts:
        here, _, theirs = text.partition("=")
        if not here or not theirs:
            raise click.UsageError(
                f"--split-as {text!r} is not NAME=NAME; write for example --split-as val=validation"
            )
        if here in named:
            raise click.UsageError(f"--split-as {here} was given twice; name one split for each")
        named[here] = theirs
    return named


def target_of(store: Store, name: str) -> np.ndarray:
    """A target of the store; an unknown one is refused with the names there are."""
    from actstore.errors import StoreError

    if name not in store.targets:
        known = ", ".join(repr(target) for target in store.targets) or "none"
        msg = f"{store.path} has no target {name!r}; it has {known}; labels of your own: --target {name}=labels.npy"
        raise StoreError(msg)
    return store.targets[name]


@dataclass(frozen=True)
class StoreColumns:
    """What is said of every row of a store, by targets of it, by SPECs, or by columns of the files of ``--target``."""

    store: Store
    targets: Sequence[str]

    def whole(self, name: str, what: str) -> np.ndarray:
        """Return the split or group of every row, as text.

        Raises:
            SourceError: nothing of that name, or a row of which nothing is said.
        """
        from actstore.rows.choice import whole

        return whole(self._values(name), f"--{what}-by {name!r}", what)

    def groups(self, name: str | None) -> np.ndarray | None:
        """Return the groups that were asked for, else the widest that the store has; None where rows are on their own.

        Where rows are tokens or words of examples, wider groups that the dump was told of are a target.
        """
        if name is not None:
            return self._not_dividing(self.whole(name, "group"), name)
        wider = self.store.provenance.get("group_by")
        if self.store.row_unit != "example" and isinstance(wider, str) and wider in self.store.targets:
            return self._not_dividing(self.whole(wider, "group"), wider)
        return self.store.groups

    def _not_dividing(self, groups: np.ndarray, name: str) -> np.ndarray:
        """Refuse groups that divide the tokens or words of an example."""
        import numpy as np

        from actstore.errors import SourceError

        examples = self.store.groups
        if self.store.row_unit == "example" or examples is None:
            return groups
        _, first, code = np.unique(examples, return_index=True, return_inverse=True)
        divided = groups != groups[first[code]]
        if divided.any():
            example = examples[int(np.argmax(divided))]
            msg = (
                f"--group-by {name!r} puts rows of example {str(example)!r} into several groups; the "
                f"{self.store.row_unit}s of an example stay together: name what is one for each example"
            )
            raise SourceError(msg)
        return groups

    def _values(self, name: str) -> np.ndarray:
        from actstore.errors import SourceError
        from actstore.labels import labels_for
        from actstore.wording import hint

        if name in self.store.targets:
            return self.store.targets[name]
        ids, where = self.store.ids.tolist(), str(self.store.path)
        if ":" in name or Path(name).exists():
            return labels_for(name, ids, where)
        for target in self.targets:
            file = target.partition("=")[2].rpartition(":")[0]
            if file:
                try:
                    return labels_for(f"{file}:{name}", ids, where)
                except SourceError:
                    continue  # the file of another target may have it; what none has is said below
        known = [*self.store.targets]
        msg = f"{where} has no target {name!r} and no --target file such a column; {hint(name, known)}"
        raise SourceError(msg)


def told_of_features(
    names: Mapping[str, str | None], targets: Mapping[str, np.ndarray], rows: int
) -> dict[str, np.ndarray]:
    """The split or group of every row of features of one's own, by a target that was given, or by a SPEC.

    Raises:
        SourceError: nothing of that name, or not of every row.
    """
    from actstore.errors import SourceError
    from actstore.rows.choice import whole
    from actstore.sources import read_labels

    told = {}
    for what, name in names.items():
        if name is None:
            continue
        values = targets[name] if name in targets else read_labels(name)
        if len(values) != rows:
            msg = f"--{what}-by {name} has {len(values):,} entries for {rows:,} rows of features; give one per row"
            raise SourceError(msg)
        told[what] = whole(values, f"--{what}-by {name!r}", what)
    return told


def side_by_side(store: Store, concat: Sequence[str]) -> dict[str, Any]:
    """Layers of the same rows with their features side by side, called by their names with + between them."""
    from actstore.patterns import unknown

    joined: dict[str, Any] = {}
    for text in concat:
        names = text.split(",")
        for name in names:
            if name not in store.layers:
                raise unknown(name, list(store.layers))
        called = "+".join(names)
        if len(names) < 2 or len(set(names)) < len(names):
            raise click.UsageError(f"--concat {text!r} was to name two layers or more, each once: --concat A,B")
        if called in store.layers or called in joined:
            raise click.UsageError(f"--concat {text!r} would be called {called!r}, which is there already")
        joined[called] = features_of(store, names)
    return joined


def features_of(store: Store, layers: Sequence[str]) -> Any:
    """The rows of a layer, or of several with their features side by side."""
    from solvers.rows import ConcatFeatures

    if len(layers) == 1:
        return store.layers[layers[0]]
    return ConcatFeatures(*(store.layers[name] for name in layers), names=layers)
