"""Stores written from Python: ``actstore.create``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self, Unpack

from actstore.activations import Captured, RowBatch
from actstore.adapters.base import capture_layer
from actstore.doors.capture import Activations
from actstore.doors.data import data_of
from actstore.doors.keywords import CreateKeywords, as_settings, patterns, shows_keywords
from actstore.doors.progress import shown
from actstore.doors.said_of_rows import columns_of
from actstore.dumping.dump import DumpSettings
from actstore.dumping.loop import DumpLoop
from actstore.dumping.rows import RowUnit
from actstore.errors import DumpError
from actstore.models import as_model
from actstore.provenance import versions
from actstore.rows.label_marks import LabelCount
from actstore.rows.labels import as_several, names_of
from actstore.sources.python import TARGET
from actstore.sources.row_names import labels_by_name
from actstore.store.documents.write_place import WritePlace
from actstore.store.format import EXAMPLE
from actstore.store.writing.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    from actstore.dumping.loop import Progress
    from actstore.store.reading.reader import Store


PIECE_BYTES = 32 * 2**20


class Recording:
    """A store in the making. Close it, or use it as a context manager: after an error what was sealed stays."""

    def __init__(self, path: str | PathLike[str], settings: DumpSettings) -> None:
        self._path, self._asked = path, settings
        self._settings = settings.loop(RowUnit(settings.row or EXAMPLE))
        self._overwrite = settings.overwrite
        self._step: int | None = None
        self._writer = self._begun(None)
        self._loop = DumpLoop(self._writer, self._settings)
        self._used = False
        self._labels_seen = LabelCount()

    def _begun(self, step: int | None) -> Writer:
        writer = Writer(
            self._path,
            place=WritePlace(step),
            row_unit=self._settings.unit.name,
            overwrite=self._overwrite,
            resume=self._asked.resume or self._asked.resume_anyway,
            resume_anyway=self._asked.resume_anyway,
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
        split: object = "",
        target: str = TARGET,
        targets: object = None,
        split_by: str | None = None,
        group_by: object = None,
        ignore_label: object = (),
        progress: bool | Callable[[Progress], None] = False,
    ) -> None:
        """Run ``loader`` through ``model`` in evaluation mode, without gradients; the model is left as it was found.

        Args:
            model: whatever an adapter knows; the same weights in every call for a step.
            loader: batches, each the inputs or (inputs, labels); or an array, texts, what a tokenizer gives; or a
                mapping of splits to these; or SPECs as ``--data`` has them.
            step: the training step. All steps have the same rows, in the same order; a step is whole once another one
                begins. None for a store without steps.
            split: of these rows, where ``loader`` is no mapping; or of each row, (rows,).
            target: what the labels in batches are called; where they are a dict, it names them itself.
            targets: labels by name, (rows,) each, or by split where ``loader`` is a mapping; see ``actstore.dump``.
            split_by: the labels, of those by name, that say the split of each row.
            group_by: the labels, of those by name, that say which rows belong together; or those of each row, (rows,).
                They are the groups of the store where a row is an example; where it is a token or a word, its group
                is its example.
            ignore_label: a label, or several, that mean "no label".
            progress: True shows a line on stderr; or a function of an ``actstore.Progress``.

        Raises:
            ActstoreError: unknown layers, labels of another length, a model or a loader that fails, other weights.
        """
        of_all, columns = columns_of(split, split_by, group_by, ignore_label)
        data = data_of(loader, targets, columns, split=of_all, target=target)
        adapter = self._asked.adapted(as_model(model))
        loop = self._at(step)
        with shown(progress) as line:
            loop.run(loop.plan(adapter, data), line.report)
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
            ActstoreError: no activations, or rows, labels, ids and splits that disagree; rows that are no examples; or
                a store that was begun with reductions, which ``dump`` alone makes.
        """
        if not self._settings.unit.whole:
            msg = f"append takes examples, but a row of this store is a {self._settings.unit.name}; give dump the model"
            raise DumpError(msg)
        _refuse_reductions(self._asked)
        captured = _captured(activations)
        rows = max((len(layer.array) for layer in captured.values()), default=0)
        if not rows:
            msg = "there are no activations to append; expected a mapping from layer names to arrays with rows"
            raise DumpError(msg)
        told = {"splits": [splits] * rows if isinstance(splits, str) else names_of(splits, "split")}
        told |= {} if groups is None else {"groups": names_of(groups, "group")}
        for what, names in told.items():
            if len(names) != rows:
                wanted = "one for all, or one per row" if what == "splits" else "one per row"
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


@shows_keywords(CreateKeywords)
def create(
    path: str | PathLike[str], layers: str | Sequence[str] = (), **options: Unpack[CreateKeywords]
) -> Recording:
    """Begin a store, ``NAME.acts`` (a folder) or ``NAME.h5`` (a single file).

    Args:
        path: where; nothing is created before the first rows.
        layers: patterns of the layers that ``dump`` stores (``actstore.patterns``); ``append`` stores what it is given.
        options: what ``dump`` does, in the words of the command line:

            exclude_layers: patterns of layers that are left out, whatever ``layers`` picks.
            row: what a row is: "example", or "token" or "word" of an example, which ``dump`` makes of layers by
                position.
            batch_size: rows that go through the model together, where ``dump`` is given an array.
            limit: of each call's data (of each split), the first so many examples.
            sample_rows: keep each row with this probability.
            pool: ``"mean"``, ``["conv*=mean"]`` or ``{"conv*": "mean"}``; also max, cls, first, last, none.
            random_features: keep so many features of each layer, at random.
            random_projection: project each layer to so many dimensions.
            dtype: cast layers of floats to float16, bfloat16, float32 or float64.
            seed: of all that is drawn.
            reductions: these five together, an ``actstore.Reductions``.
            axes: what the axes of layers are, by pattern, where nobody can know: ``{"conv*": ("channel", "height",
                "width")}``.
            batch_axis: which axis of layers is the rows of the batch, by pattern, where it is not the first:
                ``{"encoder.*": 1}``.
            truncate: cut texts that are longer than the model takes; they are refused otherwise.
            device, autocast, trace: where and how the model runs (``DumpSettings``).
            selfcheck: whether the first ``dump`` refuses a model that gives a row other values when it runs again,
                beside other rows, or padded (``actstore.dumping.selfcheck``).
            keep_input: "text" or "thumbnail": ``dump`` stores the text, or a small image, of each example, too, to show
                it later (``store.inputs_kept``).
            stop_early: end each pass of a torch or Keras model after the deepest layer asked for. A model that keeps
                something from one layer to a later one may find it in its next pass.
            overwrite: replace an existing store, once the new one is whole.
            resume: go on with a store that is there: add steps to it, and let ``dump`` take up one that was
                interrupted.
            resume_anyway: as ``resume``, also where other versions of the libraries computed what is there; the store
                says from which row on (``provenance["resumed"]``).

    Raises:
        DumpError: ``keep_input`` is something else.
        StoreError: ``path`` exists, or has another suffix.
        DumpError: an option that cannot be.
        TypeError: a keyword that there is not; the message names the nearest.
    """
    return Recording(path, DumpSettings(patterns(layers), **as_settings(options)))


def _refuse_reductions(asked: DumpSettings) -> None:
    """Refuse to store what is given as it is in a store that was to hold less of it."""
    reduced = {name: value for name, value in vars(asked.reductions).items() if value and name != "seed"}
    reduced |= {
        name: value for name, value in {"limit": asked.limit, "sample_rows": asked.sample}.items() if value
    }
    if reduced:
        told = ", ".join(f"{name}={value!r}" for name, value in reduced.items())
        msg = (
            f"append stores activations as they are given, but the store was begun with {told}; reduce them yourself "
            "and leave that out of create, or let dump run the model"
        )
        raise DumpError(msg)


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
