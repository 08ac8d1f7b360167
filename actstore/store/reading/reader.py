"""Open a store and read what is in it."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from actstore.errors import StoreError, TargetError
from actstore.store.documents.catalog import Catalog
from actstore.store.documents.documents import digest
from actstore.store.documents.folder import read_folder
from actstore.store.documents.row_table import TableRows
from actstore.store.format import ROW_GROUP, ROW_POSITION, ROW_SPLIT, codes_path
from actstore.store.reading.columns import StoredColumns
from actstore.store.reading.layer_map import Named, StoredLayers, listed_steps_text
from actstore.store.reading.open_files import OpenFiles
from actstore.store.reading.shown import store_html
from actstore.store.reading.single_file import read_packed
from actstore.wording import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from numpy.typing import ArrayLike

    from actstore.store.documents.documents import Header
    from actstore.store.reading.layer import Layer


def open(path: str | PathLike[str]) -> Store:  # noqa: A001 - the package's own word for it
    """Open a store, a ``NAME.acts`` folder or a ``NAME.h5`` file; one that is still being written, too.

    Returns:
        the store, with the rows that are sealed by now. ``complete`` says whether these are all.

    Raises:
        StoreError, in one line that names the file, where there is no store or it is damaged.
    """
    place = Path(os.path.abspath(path))
    if place.is_dir():
        return Store(read_folder(place))
    return Store(Catalog.of(read_packed(place)))


def reopen(path: str | PathLike[str], steps: Mapping[int, str]) -> Store:
    """Open the steps of a store that was pickled. StoreError where there are other rows now."""
    store = open(path).only(steps)
    if store.fingerprints != steps:
        msg = f"{path} holds other rows than when it was pickled; pickle it again"
        raise StoreError(msg)
    return store


class Store:
    """Stored activations, and what is known of their rows. Made by ``open``; safe to share between threads."""

    def __init__(self, catalog: Catalog, *, once: bool = False) -> None:
        """A store of these contents, checked; ``once`` where each row is read once, and then its files are removed."""
        self._catalog = catalog
        self._contents = catalog.base
        self._files = OpenFiles(once=once)
        self.layers = StoredLayers(catalog, self._files)
        """The layers, in call order."""

    @property
    def path(self) -> Path:
        """The folder or the file."""
        return self._catalog.path

    @property
    def catalog(self) -> Catalog:
        """Where everything lies."""
        return self._catalog

    @property
    def header(self) -> Header:
        """Return what every row of every step is."""
        return self._catalog.header

    @property
    def row_unit(self) -> str:
        """Return what a row is: "example", "token" or "word"."""
        return self._catalog.header.row_unit

    @property
    def steps(self) -> list[int]:
        """The training steps there are activations of, ascending; [0] where none was named."""
        return list(self._catalog.steps)

    def at(self, step: int) -> Store:
        """The same store with one step only. StoreError where it has no such step."""
        return self.only([step])

    def one(self, step: int | None) -> Store:
        """The store at ``step``, or at its only one. StoreError where it lacks it, or where None is one of several."""
        if step is None and len(self.steps) > 1:
            msg = f"{self.path} has the steps {listed_steps_text(self.steps)}; choose one with --step"
            raise StoreError(msg)
        return self.at(self.steps[0] if step is None else step)

    def only(self, steps: Iterable[int]) -> Store:
        """The same store with some of its steps. StoreError where it lacks one."""
        missing = [step for step in steps if step not in self._catalog.steps]
        if missing:
            msg = f"{self.path} has no step {missing[0]}; it has {listed_steps_text(self.steps)}"
            raise StoreError(msg)
        return Store(replace(self._catalog, steps={step: self._catalog.steps[step] for step in sorted(steps)}))

    @property
    def rows(self) -> int:
        """How many rows there are, the same at each step that is complete."""
        return self._contents.rows

    @property
    def complete(self) -> bool:
        """Whether the dump was finished, at all steps; otherwise these are the rows that were sealed."""
        return all(contents.complete for contents in self._catalog.steps.values())

    @property
    def provenance(self) -> dict[str, Any]:
        """How the store came about, plain JSON: its only step; ``at(step).provenance`` where there are several."""
        return dict(self._contents.provenance)

    @property
    def fingerprint(self) -> str:
        """Return what identifies these rows and activations, wherever the store lies and in whatever shards or file."""
        marks = list(self.fingerprints.values())
        return marks[0] if len(marks) == 1 else digest(" ".join(marks).encode("ascii"))

    @property
    def fingerprints(self) -> dict[int, str]:
        """Return what identifies the rows and activations of each step."""
        return {step: contents.fingerprint for step, contents in self._catalog.steps.items()}

    @property
    def nonfinite(self) -> Mapping[str, int]:
        """By layer, how many rows have a NaN or an infinity, over all steps."""
        counts = [contents.nonfinite for contents in self._catalog.steps.values()]
        return {name: sum(count[name] for count in counts) for name in counts[0]}

    @cached_property
    def _columns(self) -> StoredColumns:
        return StoredColumns(self._contents, self._files)

    @cached_property
    def ids(self) -> np.ndarray:
        """(rows,) text, unique."""
        return self._columns.ids()

    @cached_property
    def splits(self) -> np.ndarray:
        """(rows,) text, "" where none was named; ``rows_of`` has the rows of one."""
        return self._columns.coded(ROW_SPLIT)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """(rows,) text: rows of one group belong together. None where rows are on their own."""
        return self._columns.coded(ROW_GROUP) if self._columns.has(codes_path(ROW_GROUP)) else None

    @cached_property
    def inputs_kept(self) -> np.ndarray | Layer | None:
        """What a dump kept of the inputs (``--keep-input``); None where it kept nothing.

        Texts are (rows,) text, the same for all rows of an example, cut after 1,000 characters. Thumbnails are a layer,
        (rows, height, width, channels) uint8, read in slices.
        """
        kept = self._contents.provenance.get("kept_input")
        if not isinstance(kept, dict):
            return None
        if "layer" in kept:
            return self.layers[str(kept["layer"])]
        return np.ma.filled(self.targets[str(kept["target"])], "")

    @cached_property
    def positions(self) -> np.ndarray | None:
        """(rows,) int64: the index within the group. None where rows are on their own."""
        return (
            self._columns.plain(ROW_POSITION, np.dtype(np.int64)) if self._columns.has(ROW_POSITION) else None
        )

    @cached_property
    def targets(self) -> Mapping[str, np.ndarray]:
        """By name, (rows,) labels of the dtype they came in; a masked array where rows have none."""
        attached = {name: self._columns.of_part(name, part) for name, part in self._catalog.attached.items()}
        return Named("target", TargetError, self._columns.targets() | attached)

    def vocabulary(self, column: str) -> list[str]:
        """Return what the codes of a column of a single-file store count into (docs/format.md), as texts.

        StoreError for a store of several files.
        """
        return self._columns.vocabulary(column)

    def rows_of(self, split: str) -> np.ndarray:
        """(rows of the split,) int64, ascending: which rows have this split. StoreError where none has."""
        rows = np.flatnonzero(self.splits == split)
        if not len(rows):
            there = list(dict.fromkeys(self.splits.tolist()))
            msg = f"{self.path} has no rows of split {split!r}; {hint(str(split), there)}"
            raise StoreError(msg)
        return rows

    def torch(
        self, layer: str | tuple[str, int], *, target: str | None = None, split: str | None = None
    ) -> Any:
        """Rows of a layer as a data set of torch, map-style: ``DataLoader(store.torch("conv1", target="digit"))``.

        An item is a row, or (row, label); ``sampler(seed=0)`` gives the rows in an order that is shuffled by blocks.

        Args:
            layer: its name, or (name, step) where the store has several steps.
            target: whose labels come along: int64, texts as numbers into ``classes``. Rows without one are left out.
            split: the rows of this one alone.

        Raises:
            ActstoreError: no such layer, target or split, no row that is left, or torch is not installed.
        """
        from actstore.adapters.for_torch.dataset import LayerDataset

        return LayerDataset.of(self, layer, target, split)

    def features(self, layers: Iterable[str] | None = None) -> Any:
        """The features that ``datasets.load_dataset("hdf5", data_files=..., features=...)`` reads a single file by.

        Args:
            layers: their names; None for all.

        Raises:
            ActstoreError: a folder, an unknown layer, or datasets is not installed.
        """
        from actstore.adapters.for_hf.features import features_of

        return features_of(self, layers)

    def attach(
        self,
        name: str,
        values: ArrayLike,
        ids: ArrayLike | None = None,
        *,
        overwrite: bool = False,
        ignore_label: object = (),
    ) -> None:
        """Give the rows labels, from now on: ``targets[name]``. An older one of that name is hidden, its file stays.

        Args:
            name: the target's.
            values: ints, bools or text, one per row; masked, None, NaN or "" where a row has none. The index of a
                pandas Series that holds row ids is taken for ``ids``; any other than 0 to n - 1 is refused.
            ids: the rows that ``values`` belong to, where these are not all in order; others get no label.
            overwrite: whether a target of that name may be there.
            ignore_label: a label, or several, that mean "no label".

        Raises:
            TargetError: labels for other rows than these, or a name that is taken.
            StoreError: the store is one file, unfinished or replaced since, or the disk takes no more.
        """
        from actstore.rows.ignored_labels import warned_of_unfound
        from actstore.rows.labels import as_several
        from actstore.store.writing.attach import attach

        ignore = as_several(ignore_label)
        with warned_of_unfound(ignore):
            attached = attach(self, name, values, ids, overwrite=overwrite, ignore=ignore)
        self._catalog = replace(self._catalog, attached=attached)
        self.__dict__.pop("targets", None)

    def close(self) -> None:
        """Close the files; arrays that were read stay valid, and so do views."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[str, dict[int, str]]]:
        return reopen, (str(self.path), self.fingerprints)

    def __repr__(self) -> str:
        state = "" if self.complete else ", unfinished"
        steps = f", {len(self.steps)} steps" if len(self.steps) > 1 else ""
        layers = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        return f"<Store {self.path.name!r}: {self.rows:,} rows, {layers}{steps}{state}>"

    def _repr_html_(self) -> str:
        return store_html(self)


def row_table(store: Store) -> TableRows:
    """All that is known of the rows of a store, as a writer takes it."""
    return TableRows(
        ids=store._columns.id_bytes(),
        splits=store.splits.tolist(),
        groups=None if store.groups is None else store.groups.tolist(),
        positions=store.positions,
        targets=store.targets,
    )
