"""Stores written from Python: ``actstore.create``, and ``actstore.capture`` for a pass that happens anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np

from actstore.activations import Captured, RowBatch
from actstore.adapters import adapt
from actstore.adapters.base import capture_layer
from actstore.dumping.loop import DumpLoop
from actstore.dumping.plan import LoopSettings
from actstore.dumping.rows import RowUnit
from actstore.errors import DumpError, LayerError
from actstore.label_values.marks import LabelCount
from actstore.label_values.plain import as_several, names_of
from actstore.provenance import versions
from actstore.reductions import ReductionSettings
from actstore.rows.choice import RowColumns
from actstore.sources import SplitData
from actstore.sources.python import TARGET, from_object
from actstore.sources.row_names import labels_by_name
from actstore.store.documents.bfloat16 import widened
from actstore.store.documents.write_place import WritePlace
from actstore.store.format import BFLOAT16, EXAMPLE
from actstore.store.writing.writer import Writer
from actstore.wording import listed

if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType

    from actstore.store.reading.reader import Store


PIECE_BYTES = 32 * 2**20


class Activations(Mapping[str, np.ndarray]):
    """Layers that a forward pass filled in, by name; (rows, *features), bfloat16 as float32.

    ``captured`` has them as a store takes them, with their own bits and axis names.
    """

    def __init__(self, captured: Mapping[str, Captured]) -> None:
        self.captured = captured

    def __getitem__(self, name: str) -> np.ndarray:
        layer = self.captured[name]
        if layer.dtype == BFLOAT16:
            return widened(layer.array)
        return layer.array

    def __iter__(self) -> Iterator[str]:
        return iter(self.captured)

    def __len__(self) -> int:
        return len(self.captured)


@contextmanager
def capture(model: object, layers: str | Sequence[str]) -> Iterator[Activations]:
    """Copy layers out of a forward pass that happens anyway.

    ``with actstore.capture(model, ["conv*"]) as activations: model(x)``. Neither the model's mode, nor its
    gradients, nor its output are touched; modules in training mode are warned of.
    Filled once the pass is over; where there are several, by the latest.

    Raises:
        LayerError: a pattern picks no layer, or the model was not called.
        AdapterError: the model has no hooks (only torch has).
    """
    patterns = _patterns(layers)
    with adapt(model).watching(patterns) as captured:
        yield Activations(captured)
    if not captured:
        msg = f"nothing was captured of {listed(patterns)}: call the model inside the with block"
        raise LayerError(msg)


class Recording:
    """A store in the making. Close it, or use it as a context manager: after an error what was sealed stays."""

    def __init__(
        self,
        path: str | PathLike[str],
        settings: LoopSettings,
        *,
        overwrite: bool,
        resume: bool,
        stop_early: bool = False,
        resume_anyway: bool = False,
    ) -> None:
        self._path, self._settings, self._stop_early = path, settings, stop_early
        self._overwrite, self._resume, self._anyway = overwrite, resume or resume_anyway, resume_anyway
        self._step: int | None = None
        self._writer = self._begun(None)
        self._loop = DumpLoop(self._writer, settings)
        self._used = False
        self._labels_seen = LabelCount()

    def _begun(self, step: int | None) -> Writer:
        writer = Writer(
            self._path,
            place=WritePlace(step),
            row_unit=self._settings.unit.name,
            overwrite=self._overwrite,
            resume=self._resume,
            resume_anyway=self._anyway,
        )
        writer.note(versions=versions())
        return writer

    def _at(self, step: int | None) -> DumpLoop:
        """The loop of a step. Going on to another one finishes the one before."""
        if step != self._step:
            if self._used:
                self._finish()
                self._overwrite = False
            self._writer, self._step = self._begun(step), step
            self._loop = DumpLoop(self._writer, self._settings)
        self._used = True
        return self._loop

    def _finish(self) -> Store:
        self._loop.check_all_came()
        return self._writer.finish()

    def dump(
        self,
        model: object,
        loader: object,
        *,
        step: int | None = None,
        split: str = "",
        target: str = TARGET,
        split_by: str | None = None,
        group_by: str | None = None,
        ignore_label: object = (),
    ) -> None:
        """Run ``loader`` through ``model`` in evaluation mode, without gradients; the model is left as it was found.

        Args:
            model: whatever an adapter knows; the same weights in every call for a step.
            loader: batches, each the inputs or (inputs, labels); or an array; or a mapping of splits to these.
            step: the training step. All steps have the same rows, in the same order; a step is whole once another one
                begins. None for a store without steps.
            split: of these rows, where ``loader`` is no mapping.
            target: what the labels are called; where they are a dict, it names them itself.
            split_by: the labels, of those by name, that say the split of each row.
            group_by: the labels, of those by name, that say which rows belong together. They are the groups of the
                store where a row is an example; where it is a token or a word, its group is its example.
            ignore_label: a label, or several, that mean "no label".

        Raises:
            ActstoreError: unknown layers, labels of another length, a model or a loader that fails, other weights.
        """
        loaders = loader if isinstance(loader, Mapping) else {split: loader}
        columns = RowColumns(split_by, group_by, as_several(ignore_label))
        columns.check_splits(list(loaders))
        data = [
            SplitData(name, from_object(batches, f"loader {type(batches).__name__}", target), columns=columns)
            for name, batches in loaders.items()
        ]
        loop = self._at(step)
        loop.run(loop.plan(adapt(model, stop_early=self._stop_early), data))
        self._settings = replace(
            self._settings, selfcheck=False
        )  # once is enough: further steps have the same layers

    def append(
        self,
        activations: Mapping[str, object],
        *,
        targets: Mapping[str, object] | None = None,
        ids: Sequence[str] | None = None,
        splits: str | Sequence[str] = "",
        groups: Sequence[object] | None = None,
        ignore_label: object = (),
        step: int | None = None,
    ) -> None:
        """Store activations computed elsewhere, all layers given.

        Args:
            activations: from ``actstore.capture``, or (rows, *features) arrays of any library, by layer in call order.
            targets: (rows,) labels by name.
            ids: (rows,) unique over the store; None for ``SPLIT/INDEX``.
            splits: one for all rows, or (rows,).
            groups: (rows,) which rows belong together, in every call or in none; None where rows are on their own.
            ignore_label: a label, or several, that mean "no label".
            step: as for ``dump``.

        Raises:
            ActstoreError: no activations, or rows, labels, ids and splits that disagree; or rows that are no examples.
        """
        if not self._settings.unit.whole:
            msg = f"append takes examples, but a row of this store is a {self._settings.unit.name}; give dump the model"
            raise DumpError(msg)
        captured = _captured(activations)
        rows = max((len(layer.array) for layer in captured.values()), default=0)
        if not rows:
            msg = "there are no activations to append; expected a mapping from layer names to arrays with rows"
            raise DumpError(msg)
        told = {"splits": [splits] * rows if isinstance(splits, str) else names_of(splits, "split")}
        told |= {} if groups is None else {"groups": names_of(groups, "group")}
        for what, names in told.items():
            if len(names) != rows:
                wanted = "one for all, or one per row," if what == "splits" else "one per row"
                msg = f"{rows} rows of activations come with {len(names)} {what}; expected {wanted}"
                raise DumpError(msg)
        labels = labels_by_name(targets or {}, ids, as_several(ignore_label))
        self._labels_seen.add(labels)
        loop = self._at(step)
        own_ids = loop.ids.of(told["splits"]) if ids is None else list(ids)
        for rows_of in _pieces(captured, rows):
            layers = {name: replace(layer, array=layer.array[rows_of]) for name, layer in captured.items()}
            targets_of = {name: values[rows_of] for name, values in labels.items()}
            own_groups = told["groups"][rows_of] if "groups" in told else None
            self._writer.append(
                RowBatch(layers, own_ids[rows_of], told["splits"][rows_of], targets_of, own_groups)
            )

    def close(self) -> Store:
        """Finish the store, and open it."""
        self._labels_seen.warn()
        return self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._writer.__exit__(kind, error, trace)
        else:
            with self._writer:
                self._loop.check_all_came()
            self._labels_seen.warn()


def create(
    path: str | PathLike[str],
    layers: str | Sequence[str] = (),
    *,
    batch_size: int = 256,
    reductions: ReductionSettings | None = None,
    row: str = EXAMPLE,
    overwrite: bool = False,
    resume: bool = False,
    axes: Mapping[str, Sequence[str]] | None = None,
    stop_early: bool = False,
    resume_anyway: bool = False,
    selfcheck: bool = True,
    keep_input: str | None = None,
) -> Recording:
    """Begin a store, ``NAME.acts`` (a folder) or ``NAME.h5`` (a single file).

    Args:
        path: where; nothing is created before the first rows.
        layers: patterns of the layers that ``dump`` stores (``actstore.patterns``); ``append`` stores what it is given.
        batch_size: rows that go through the model together, where ``dump`` is given an array.
        reductions: what ``dump`` keeps of each layer; None for all of it.
        row: what a row is: "example", or "token" or "word" of an example, which ``dump`` makes of layers by position.
        overwrite: replace an existing store, once the new one is whole.
        resume: go on with a store that is there: add steps to it, and let ``dump`` take up one that was interrupted.
        axes: what the axes of layers are, by pattern, where nobody can know: ``{"conv*": ("channel", "height",
            "width")}``.
        stop_early: end each pass of a torch or Keras model after the deepest layer asked for. A model that keeps
            something from one layer to a later one may find it in its next pass.
        resume_anyway: as ``resume``, also where other versions of the libraries computed what is there; the store says
            from which row on (``provenance["resumed"]``).
        selfcheck: whether the first ``dump`` refuses a model that gives a row other values when it runs again, beside
            other rows, or padded (``actstore.dumping.selfcheck``).
        keep_input: "text" or "thumbnail": ``dump`` stores the text, or a small image, of each example, too, to show it
            later (``store.inputs_kept``).

    Raises:
        DumpError: ``keep_input`` is something else.
        StoreError: ``path`` exists, or has another suffix.
    """
    kept = reductions or ReductionSettings()
    named = tuple(f"{pattern}={','.join(names)}" for pattern, names in (axes or {}).items())
    settings = LoopSettings(
        _patterns(layers),
        batch_size,
        reductions=kept,
        unit=RowUnit(row),
        axes=named,
        selfcheck=selfcheck,
        keep_input=keep_input,
    )
    return Recording(
        path, settings, overwrite=overwrite, resume=resume, stop_early=stop_early, resume_anyway=resume_anyway
    )


def _patterns(layers: str | Sequence[str]) -> tuple[str, ...]:
    return (layers,) if isinstance(layers, str) else tuple(layers)


def _captured(activations: Mapping[str, object]) -> dict[str, Captured]:
    if isinstance(activations, Activations):
        return dict(activations.captured)
    return {
        name: value if isinstance(value, Captured) else capture_layer(name, value)
        for name, value in activations.items()
    }


def _pieces(captured: Mapping[str, Captured], rows: int) -> Iterator[slice]:
    """Slices of rows that are sealed together: an array larger than a shard goes into several."""
    nbytes = sum(layer.array.nbytes for layer in captured.values())
    size = max(1, rows * PIECE_BYTES // max(nbytes, PIECE_BYTES))
    for start in range(0, rows, size):
        yield slice(start, start + size)
