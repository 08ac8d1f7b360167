"""Sources, one kind of input a file: the folder is the registry. Here the specs of the command line are taken apart."""

from __future__ import annotations

import pkgutil
import re
from collections import defaultdict
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from actstore.errors import SourceError
from actstore.formats.containers.kinds import located
from actstore.plugins import SOURCES, of_other_packages
from actstore.rows.cells import labels_of
from actstore.rows.choice import RowChoice, RowColumns
from actstore.rows.label_marks import warn_of_marks
from actstore.rows.labels import without
from actstore.sources.base import Batch, LabelColumn, Source, check_labels
from actstore.sources.row_names import RowLabels, RowNames, place_labels, row_names
from actstore.sources.same_files import check_same_files
from actstore.sources.split import SplitData
from actstore.sources.tables import FeatureSource
from actstore.store.disk.output import named_paths
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import ModuleType

    import numpy as np

__all__ = [
    "Batch",
    "RowChoice",
    "RowColumns",
    "Source",
    "SplitData",
    "known_elsewhere",
    "read_labels",
    "read_row_labels",
    "split_data",
]

TOKEN = "token"
"""The target that the model's tokenizer gives, where a row is a token."""
_SHARED = ("base", "columns", "feature_columns", "same_files", "split", "row_names", "given")
"""Files of this folder that are no kind of input."""

_DATA = re.compile(r"(?:(?P<split>[\w-]+)=)?(?P<spec>.+)", re.DOTALL)
_TARGET = re.compile(r"(?:(?P<split>[\w-]+):)?(?P<name>[^:=/]+)=(?P<spec>.+)", re.DOTALL)
_BARE_TARGET = re.compile(r"(?:(?P<split>[\w-]+):)?(?P<name>[\w-]+)")


def split_data(
    data: Sequence[str],
    targets: Sequence[str] = (),
    columns: RowColumns | None = None,
    *,
    as_features: bool = False,
) -> list[SplitData]:
    """Return what ``--data [SPLIT=]SPEC`` and ``--target [SPLIT:]NAME=SPEC`` name, checked against each other.

    A split is a plain word before ``=``; ``./a=b.npy`` is a file of such a name. A target without a split belongs to
    the only data there is. Of several specs for one split, targets of one name go to the data in their order. Labels
    of a file that names its rows go to these (``place_labels``). ``[SPLIT:]NAME`` alone is a target that the data
    offers and does not bring along unasked (the words of a treebank); ``token`` is one that the model gives.

    Args:
        data: what to run.
        targets: labels for it.
        columns: which columns or targets say splits and groups, and which labels are none.
        as_features: whether the data are the features themselves: of a table its numbers, and never its text.

    Raises:
        SourceError: nothing of that name, data without rows, a target for no data, labels of another length or of
            other rows; splits that are named twice, or one file twice in a split.
    """
    columns = columns or RowColumns()
    sources: list[tuple[str, Source]] = []
    for text in data:
        found = _DATA.fullmatch(text)
        if found is None:
            msg = "--data was given nothing; expected [SPLIT=]SPEC"
            raise SourceError(msg)
        with _file_with_equals(text, found["split"]):
            sources.extend(_resolve(found["spec"], found["split"] or "", as_features=as_features))
    check_same_files(sources)
    columns.check_splits([split for split, _ in sources])
    rows = row_names(sources)
    named: list[dict[str, np.ndarray]] = [{} for _ in sources]
    bare, with_spec = _parted(targets)
    tokens = (("", TOKEN) in bare) and not as_features
    for split, name in bare:
        if not (tokens and (split, name) == ("", TOKEN)):
            _offer(split, name, sources, named)
    for (split, name), specs in _targets_by_place(with_spec).items():
        places = _places(split, name, [own for own, _ in sources])
        if len(specs) != len(places):
            msg = (
                f"target {name!r} of split {split!r} was given {len(specs)} times for {len(places)} data specs; "
                "give it once for each, in their order"
            )
            raise SourceError(msg)
        for place, spec in zip(places, specs, strict=True):
            named[place][name] = _labels_for(spec, name, sources[place][1], rows[place], columns.ignore)
    labelling = [key for text in with_spec if (key := _column(text.partition("=")[2])) is not None]
    tables = [source for _, source in sources if isinstance(source, FeatureSource)]
    counters = [name for source in tables for name in source.counters()]
    for _, source in sources:
        if isinstance(source, FeatureSource):
            source.leave_out(counters)
            # A column that is the label in one file is none of the features in another.
            told = [name for name in (columns.split_by, columns.group_by) if name is not None]
            source.exclude([*labelling, *told])
            if not as_features:  # else whoever opens them may leave out more columns
                source.check()
    found_data = [
        SplitData(split, source, own, columns, names.ids, tokens)
        for (split, source), own, names in zip(sources, named, rows, strict=True)
    ]
    for item in found_data:
        item.check_lengths()
        offered = getattr(item.source, "offered", ())  # words, among which "none" and "-" are no marks
        warn_of_marks({name: values for name, values in item.targets.items() if name not in offered})
    return found_data


@contextmanager
def _file_with_equals(text: str, split: str | None) -> Iterator[None]:
    """Where a file is called so, what stands before its ``=`` was taken for a split: say how to write it."""
    try:
        yield
    except SourceError as error:
        if not split or not named_paths(text):
            raise
        msg = f"{error}; {split!r} was taken for a split: for the file of that name write ./{text}"
        raise type(error)(msg) from error


def _labels_for(spec: str, name: str, source: Source, rows: RowNames, ignore: Sequence[object]) -> np.ndarray:
    """The labels of a SPEC, in the order of the rows of the data they are for."""
    if getattr(source, "shuffled", False):
        msg = (
            f"{source.spec} shuffles its rows (RandomSampler), so labels of {spec} would be those of other rows; let "
            f"it give its labels itself, (inputs, {{{name!r}: labels}}), or read it with shuffle=False"
        )
        raise SourceError(msg)
    labels = read_row_labels(spec, ignore)
    own = getattr(source, "file", None)
    if own is not None and labels.file is not None and own.resolve() == labels.file.resolve():
        if spec.rpartition(":")[2] == getattr(source, "input_column", None):
            msg = f"target {name!r} is {spec}, which is the input itself; name the column of the labels"
            raise SourceError(msg)
        return labels.values  # the same records
    return place_labels(labels, rows, spec)


def read_labels(spec: str, ignore: Sequence[object] = ()) -> np.ndarray:
    """(labels,) the labels that a SPEC names, in the order of its file; see ``read_row_labels``."""
    return read_row_labels(spec, ignore).values


def read_row_labels(spec: str, ignore: Sequence[object] = ()) -> RowLabels:
    """The labels that a SPEC names, and which rows they are of where it says so.

    Args:
        spec: as of ``--target NAME=SPEC``.
        ignore: labels that mean "no label".

    Raises:
        SourceError: nothing of that name, or no labels.
    """
    readers = [module for module in _modules() if hasattr(module, "labels")]
    for module in readers:
        found = module.labels(spec)
        if found is not None:
            column = found if isinstance(found, LabelColumn) else LabelColumn(found)
            return RowLabels(_values(column, spec, ignore), column.ids, column.file, column.others)
    msg = f"labels {spec!r} are not understood; expected {_forms(readers)}"
    raise SourceError(msg)


def _values(column: LabelColumn, spec: str, ignore: Sequence[object]) -> np.ndarray:
    if column.cells is None:
        return without(check_labels(column.values, spec), ignore)
    return labels_of(column.cells, ignore, spec)


@cache
def _modules() -> tuple[ModuleType, ...]:
    """The sources of this folder, then those of other packages."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name not in _SHARED)
    others: list[Any] = of_other_packages(SOURCES, _fault)
    return (*(import_module(f"{__name__}.{name}") for name in names), *others)


def known_elsewhere(spec: str) -> bool:
    """Whether a source of another package takes a SPEC for its own, even if it then refuses it."""
    others: list[Any] = of_other_packages(SOURCES, _fault)
    try:
        return any(module.resolve(spec, "") is not None for module in others)
    except SourceError:
        return True


def _fault(value: object) -> str:
    missing = [name for name in ("FORMS", "resolve") if not hasattr(value, name)]
    return f"a source is a module with FORMS and resolve; it has no {listed(missing)}" if missing else ""


def _resolve(spec: str, split: str, *, as_features: bool) -> Sequence[tuple[str, Source]]:
    for module in _modules():
        found = getattr(module, "features" if as_features else "resolve", module.resolve)(spec, split)
        if found is not None:
            return found
    msg = f"data {spec!r} is not understood; expected {_forms(_modules())}"
    raise SourceError(msg)


def _forms(modules: Sequence[ModuleType]) -> str:
    return ", ".join(module.FORMS for module in modules)


def _column(spec: str) -> str | None:
    """What a SPEC names in its file."""
    place = located(spec)
    return None if place is None else place.key


def _parted(targets: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The targets that are only names, as (split, name), and the others."""
    found = [_BARE_TARGET.fullmatch(text) for text in targets]
    bare = [(one["split"] or "", one["name"]) for one in found if one is not None]
    return bare, [text for text, one in zip(targets, found, strict=True) if one is None]


def _offer(
    split: str, name: str, sources: Sequence[tuple[str, Source]], named: Sequence[dict[str, np.ndarray]]
) -> None:
    """Add a target that the data offers by its name to what is named of each."""
    places = [place for place, (own, _) in enumerate(sources) if split in ("", own)]
    brought = [place for place in places if name in getattr(sources[place][1], "brought", ())]
    offering = [*brought, *(place for place in places if name in getattr(sources[place][1], "offered", ()))]
    lacking = [sources[place][1] for place in places if place not in offering]
    if not places or lacking:
        known = [*getattr(lacking[0], "offered", ())] if lacking else []
        where = lacking[0].spec if lacking else f"split {split!r}, which no data has,"
        has = f"offers {listed(known)}" if known else "offers none by name alone"
        file, columns = (
            (getattr(lacking[0], each, None) for each in ("file", "columns")) if lacking else (None, ())
        )
        spec = f"{file}:{name}" if file is not None and name in (columns or ()) else "SPEC"
        of_split = f"{split}:" if split and spec != "SPEC" else ""
        msg = f"target {name!r} was given without =SPEC, and {where} {has}; write --target {of_split}{name}={spec}"
        raise SourceError(msg)
    for place in set(offering) - {*brought}:
        named[place][name] = sources[place][1].offer(name)  # type: ignore[union-attr]


def _targets_by_place(targets: Sequence[str]) -> Mapping[tuple[str, str], list[str]]:
    """Target specs by (split, name), in their order."""
    found_specs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for text in targets:
        found = _TARGET.fullmatch(text)
        if found is None:
            msg = f"target {text!r} is not of the form [SPLIT:]NAME=SPEC"
            raise SourceError(msg)
        found_specs[found["split"] or "", found["name"]].append(found["spec"])
    return found_specs


def _places(split: str, name: str, splits: Sequence[str]) -> list[int]:
    """Which data a target belongs to."""
    places = [place for place, own in enumerate(splits) if own == split]
    if not places and not split and len(splits) == 1:
        places = [0]
    if not places:
        known = listed(sorted(set(splits) - {""}))
        msg = f"target {name!r} is for split {split!r}, but the data has {known}; say which: SPLIT:{name}=SPEC"
        raise SourceError(msg)
    return places
