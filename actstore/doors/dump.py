"""``actstore.dump``: what the command of that name does, in the same words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from actstore.doors.data import data_of, specs_of
from actstore.doors.keywords import DumpKeywords, as_settings, patterns, shows_keywords
from actstore.doors.progress import shown
from actstore.doors.said_of_rows import columns_of
from actstore.dumping.dump import DumpSettings
from actstore.dumping.dump import dump as dump_data
from actstore.errors import DumpError
from actstore.models import as_model
from actstore.rows.ignored_labels import warned_of_unfound

if TYPE_CHECKING:
    from os import PathLike

    from actstore.dumping.loop import Progress
    from actstore.store.reading.reader import Store

__all__ = ["dump"]


@shows_keywords(DumpKeywords)
def dump(
    model: object,
    data: object,
    out: str | PathLike[str],
    layers: str | Sequence[str] | DumpSettings = (),
    progress: bool | Callable[[Progress], None] = False,
    *,
    targets: object = None,
    split: object = "",
    target: str = "label",
    split_by: str | None = None,
    group_by: object = None,
    ignore_label: object = (),
    **options: Unpack[DumpKeywords],
) -> Store:
    """Run data through a model and store the activations of the layers asked for; the same as ``actstore dump``.

    Everything that can be refused is refused before the first row is stored. After an error, what was sealed stays as
    an incomplete store that says so, and ``resume=True`` goes on with it.

    Args:
        model: a module of any framework that an adapter knows, or a function from a batch to arrays by name;
            or a MODEL as the command line names it (``"hf:FOLDER"``; with arguments, ``actstore.load_model``).
        data: an array, texts (a list, or a column of pandas), what a tokenizer gives, batches (inputs or (inputs,
            labels)), or a mapping of splits to these; or SPECs as ``--data`` has them (``"digits"``,
            ``["train=x.npy", "test=t.npy"]``).
        out: ``NAME.h5`` for one file, ``NAME.acts`` for a folder of shards.
        layers: patterns (``actstore.describe_layers`` lists the layers); or a ``DumpSettings`` that says all.
        progress: True shows a line on stderr; or a function of an ``actstore.Progress``.
        targets: labels by name, (rows,) each, or by split where the data are: ``{"digit": {"train": y}}``; a table of
            pandas, or labels alone, called ``target``. With SPECs, ``["train:digit=y.npy"]``.
        split: of the rows, where the data are no mapping; or the split of each row, (rows,).
        target: what labels are called that come without a name.
        split_by: a column of the data, or a target, that says the split of each row.
        group_by: a column of the data, or a target, that says which rows belong together; or that of each row, (rows,).
        ignore_label: a label, or several, that mean "no label".
        options: what is kept of the layers (``pool``, ``random_features``, ``random_projection``, ``dtype``, ``seed``,
            or together ``reductions``), and what ``DumpSettings`` explains. ``pool`` is ``"mean"``,
            ``["conv*=mean"]`` or ``{"conv*": "mean"}``; ``axes`` is ``{"conv*": ("channel", "height", "width")}``.

    Returns:
        the store, open.

    Raises:
        ActstoreError: see ``actstore.dumping.dump``.
        TypeError: a keyword that there is not; the message names the nearest.
    """
    of_all, columns = columns_of(split, split_by, group_by, ignore_label)
    inputs = (*([model] if isinstance(model, str) else []), *_read(specs_of(data), targets))
    settings = _settings(layers, inputs, options)
    with warned_of_unfound(columns.ignore):
        found = data_of(data, targets, columns, split=of_all, target=target)
    model = as_model(model)  # after the data, as the command: a slip in them is told before weights are read
    with shown(progress) as line:
        return dump_data(model, found, out, settings, line.report)


def _settings(
    layers: str | Sequence[str] | DumpSettings, inputs: tuple[str, ...], options: DumpKeywords
) -> DumpSettings:
    if isinstance(layers, DumpSettings):
        if options:
            msg = f"DumpSettings and {', '.join(options)} were given; put what you ask for into one of them"
            raise DumpError(msg)
        return layers
    chosen = patterns(layers)
    if not chosen:
        msg = (
            "layers is missing: which are to be stored? For example layers='**' for all; "
            "actstore.describe_layers(model) lists them"
        )
        raise DumpError(msg)
    return DumpSettings(chosen, inputs=inputs, **as_settings(options))


def _read(specs: Sequence[str], targets: Any) -> tuple[str, ...]:
    """The files that are read, as SPECs without the names before them: none of them is ever replaced."""
    if not specs:
        return ()
    given = targets.values() if isinstance(targets, Mapping) else () if targets is None else targets
    texts = [*specs, *([given] if isinstance(given, str) else given)]
    return tuple(
        part for text in texts if isinstance(text, str) for part in (text, text.partition("=")[2]) if part
    )
