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
from actstore.store.documents.coding import common_dtype, decode, decode_texts
from actstore.store.documents.documents import digest, undamaged
from actstore.store.documents.folder import read_folder
from actstore.store.documents.row_table import TableRows
from actstore.store.format import (
    ROW_GROUP,
    ROW_ID,
    ROW_POSITION,
    ROW_SPLIT,
    TARGET_NAMES,
    codes_path,
    target_path,
    values_path,
)
from actstore.store.reading.layer_map import Named, StoredLayers, listed_steps_text
from actstore.store.reading.open_files import OpenFiles
from actstore.store.reading.single_file import read_packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from numpy.typing import ArrayLike

    from actstore.store.documents.catalog import Part
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

    def __init__(self, catalog: Catalog) -> None:
        """A store of these contents, checked."""
        self._catalog = catalog
        self._contents = catalog.base
        self._files = OpenFiles()
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
    def ids(self) -> np.ndarray:
        """(rows,) text, unique."""
        return self._column(lambda part: self._texts(part, ROW_ID), np.dtype(np.str_))

    @cached_property
    def splits(self) -> np.ndarray:
        """(rows,) text, "" where none was named."""
        return self._column(lambda part: self._coded(part, ROW_SPLIT).data, np.dtype(np.str_))

    @cached_property
    def groups(self) -> np.ndarray | None:
        """(rows,) text: rows of one group belong together. None where rows are on their own."""
        if not self._has(codes_path(ROW_GROUP)):
            return None
        return self._column(lambda part: self._coded(part, ROW_GROUP).data, np.dtype(np.str_))

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
        if not self._has(ROW_POSITION):
            return None
        return self._column(lambda part: self._read(part, ROW_POSITION), np.dtype(np.int64))

    @cached_property
    def targets(self) -> Mapping[str, np.ndarray]:
        """By name, (rows,) labels of the dtype they came in; a masked array where rows have none."""
        by_part = [self._part_targets(part) for part in self._contents.parts]
        names = dict.fromkeys(name for targets in by_part for name in targets)
        values = {name: self._joined(name, [targets.get(name) for targets in by_part]) for name in names}
        values |= {name: self._attached(name, part) for name, part in self._catalog.attached.items()}
        return Named("target", TargetError, values)

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
        from actstore.label_values.plain import as_several
        from actstore.store.writing.attach import attach

        attached = attach(self, name, values, ids, overwrite=overwrite, ignore=as_several(ignore_label))
        self._catalog = replace(self._catalog, attached=attached)
        self.__dict__.pop("targets", None)

    def _part_targets(self, part: Part) -> dict[str, np.ma.MaskedArray]:
        if TARGET_NAMES not in part.extents:
            return {}
        names = self._texts(part, TARGET_NAMES).tolist()
        return {name: self._coded(part, target_path(name)) for name in names}

    def _attached(self, name: str, part: Part) -> np.ndarray:
        labels = self._coded(part, target_path(name))
        return labels if labels.mask.any() else labels.data

    def _joined(self, name: str, pieces: list[np.ma.MaskedArray | None]) -> np.ndarray:
        """A target over all parts; those that lack it have no labels."""
        dtype = common_dtype(name, [piece.dtype for piece in pieces if piece is not None])
        labels = np.ma.MaskedArray(np.zeros(self.rows, dtype), mask=True)
        for part, piece in zip(self._contents.parts, pieces, strict=True):
            if piece is not None:
                labels[part.first_row : part.first_row + part.rows] = piece
        return labels if labels.mask.any() else labels.data

    def _coded(self, part: Part, column: str) -> np.ma.MaskedArray:
        values = self._read(part, values_path(column))
        with undamaged(part.path):
            return decode(
                self._read(part, codes_path(column)),
                decode_texts(values) if values.dtype.kind == "S" else values,
            )

    def _texts(self, part: Part, path: str) -> np.ndarray:
        data = self._read(part, path)
        with undamaged(part.path):
            return decode_texts(data)

    def _read(self, part: Part, path: str) -> np.ndarray:
        with undamaged(part.path):
            extent = part.extents[path]
        return self._files.get(part).read(extent)

    def _has(self, path: str) -> bool:
        return any(path in part.extents for part in self._contents.parts)

    def _column(self, read: Callable[[Part], np.ndarray], dtype: np.dtype) -> np.ndarray:
        pieces = [read(part) for part in self._contents.parts]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype)

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
        return f"<Store {self.path.name!r}: {self.rows:,} rows, {len(self.layers)} layers{steps}{state}>"


def row_table(store: Store) -> TableRows:
    """All that is known of the rows of a store, as a writer takes it."""
    return TableRows(
        ids=[name.encode("utf-8") for name in store.ids.tolist()],
        splits=store.splits.tolist(),
        groups=None if store.groups is None else store.groups.tolist(),
        positions=store.positions,
        targets=store.targets,
    )
