"""The records of a probe: where it looks, its map, the proof, the scores, where it comes from. docs/probes.md has them.

Each is a JSON object of the probe file, a key for each field; a key that is no field is kept in ``extra`` and written
back. What a value must be is said with the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from solvers.linear_map import LinearMap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from solvers.arrays import Array

__all__ = [
    "JSON",
    "ProbeMap",
    "Proof",
    "Provenance",
    "Scores",
    "Tried",
    "Where",
    "from_json",
    "text",
    "to_json",
    "whole",
]

JSON: TypeAlias = "dict[str, Any]"
"""A JSON object."""
Record = TypeVar("Record")


def text(value: object) -> str:
    """Return a text that can be written as UTF-8."""
    if not isinstance(value, str):
        msg = f"{value!r} is no text"
        raise TypeError(msg)
    value.encode()  # a UnicodeEncodeError is a ValueError
    return value


def whole(value: object) -> int:
    """Return a whole number that int64 holds."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        msg = f"{str(value)[:40]} is no whole number"
        raise TypeError(msg)
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        msg = f"{value!r} is no number"
        raise TypeError(msg)
    return float(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        msg = f"{value!r} is neither true nor false"
        raise TypeError(msg)
    return value


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _list_of(check: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def checked(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            msg = f"{value!r} is no list"
            raise TypeError(msg)
        return tuple(check(each) for each in value)

    return checked


def _by_split(check: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    def checked(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            msg = f"{value!r} is no object"
            raise TypeError(msg)
        return {text(split): check(each) for split, each in value.items()}

    return checked


def _by_metric(value: Any) -> dict[str, Any]:
    return _by_split(_by_split(_number))(value)


def _open(value: Any) -> JSON:
    return _by_split(lambda each: each)(value)


def _is(check: Callable[[Any], Any], **default: Any) -> Any:
    return field(metadata={"check": check}, **default)


def _extra() -> Any:
    return field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Tried:
    """One C of a probe's path: scalars only, the weights are kept for the chosen C alone.

    ``cross_entropy`` is that of the validation rows, in nats per row; NaN where there were none. ``scores`` has
    ``error`` and ``cross_entropy`` by split, ``train``, ``val`` and what was asked for besides; with folds ``train`` is
    of the rows that each fold was fitted on, ``val`` of those it was held out for, over all folds. Empty where this C
    was not fitted. Where one C is chosen for all layers after folds, ``temperature`` of ``val`` is there as well.
    """

    C: float = _is(_number)
    cross_entropy: float = _is(_number)
    gap_nats: float = _is(_number)
    status: str = _is(text)
    passes: float = _is(_number)
    seconds: float = _is(_number)
    scores: Mapping[str, Mapping[str, float]] = _is(_by_metric, default_factory=dict)
    extra: Mapping[str, Any] = _extra()


@dataclass(frozen=True)
class Where:
    """Which probe it is.

    ``layers``: the stored layers whose features it looks at, side by side. ``shape``: the features of one row.
    ``slice``: which of several slices of the layer, from 0; None for all. ``kind``: ``task``, later ``control``,
    ``permuted`` and others. ``method``: ``logistic``. ``fold``: which fold it was fitted without; None without folds.
    ``order``: the layer's place in the network. ``seed``: of what was drawn, the rows set aside and the columns;
    ``draws``: of how many draws of columns this is one, which their seeds tell apart. ``projection``: onto how many
    random directions the features were projected before the fit; None where they were not.
    """

    layers: tuple[str, ...] = _is(_list_of(text))
    target: str = _is(text)
    shape: tuple[int, ...] = _is(_list_of(whole))
    kind: str = _is(text, default="task")
    method: str = _is(text, default="logistic")
    step: int = _is(whole, default=0)
    fold: int | None = _is(_or_none(whole), default=None)
    seed: int = _is(whole, default=0)
    slice: int | None = _is(_or_none(whole), default=None)
    order: int = _is(whole, default=0)
    draws: int = _is(whole, default=1)
    projection: int | None = _is(_or_none(whole), default=None)
    extra: Mapping[str, Any] = _extra()


@dataclass(frozen=True, eq=False)
class ProbeMap(LinearMap):
    """What acts on a row: (h − mean) W + b, by columns that the fit divided by ``scale`` if ``scaled``.

    ``scale`` (width,) is inf where a column is constant or was not looked at, 1 without scaling. ``columns`` (columns,)
    int64, ascending: those that are looked at, where random features or a slice were taken; the other rows of
    ``weights`` are zero, and ``mean`` there is 0. ``arrays`` are datasets of the file that this version does not know.
    """

    scale: NDArray[np.float64] = field(kw_only=True)
    scaled: bool = field(default=True, kw_only=True)
    columns: NDArray[np.int64] | None = field(default=None, kw_only=True)
    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True, repr=False)
    arrays: Mapping[str, Array] = field(default_factory=dict, kw_only=True, repr=False)

    @property
    def used(self) -> LinearMap:
        """The map of the columns that are looked at."""
        return self.of_columns(self.columns)


@dataclass(frozen=True)
class Proof:
    """How near the optimum it is: ``gap_nats`` bounds loss minus optimal loss, both in scaled coordinates.

    ``path`` has every C that was tried, in the order given; the chosen one is ``C``. ``chosen`` says how: ``how`` is
    ``given``, ``split`` (by the rows of a split that was named), ``set aside`` (by rows taken from ``train``) or
    ``folds``; ``split`` and ``rows`` say by which rows and how many.
    """

    C: float = _is(_number)
    status: str = _is(text)
    gap_nats: float = _is(_number)
    loss: float = _is(_number)
    engine: str = _is(text)
    engine_reason: str = _is(text)
    path: tuple[Tried, ...] = _is(
        _list_of(lambda each: each if isinstance(each, Tried) else from_json(Tried, each))
    )
    chosen: Mapping[str, Any] = _is(_open, default_factory=dict)
    extra: Mapping[str, Any] = _extra()


@dataclass(frozen=True)
class Scores:
    """How well it does, by split.

    ``error`` and ``cross_entropy`` (nats per row) over the ``rows`` with a label; ``majority`` is the error of always
    answering the commonest training class. ``unseen`` rows are of a class that training had none of: errors, left out
    of the cross-entropy, which is infinite over them. ``unlabelled`` rows are not in ``rows``. ``temperature`` is what
    logits are divided by to be calibrated, fitted on the rows that chose C (or on ``val``); None where there were none.
    """

    error: Mapping[str, float] = _is(_by_split(_number))
    cross_entropy: Mapping[str, float] = _is(_by_split(_number))
    majority: Mapping[str, float] = _is(_by_split(_number))
    rows: Mapping[str, int] = _is(_by_split(whole))
    unlabelled: Mapping[str, int] = _is(_by_split(whole))
    unseen: Mapping[str, int] = _is(_by_split(whole))
    temperature: float | None = _is(_or_none(_number), default=None)
    extra: Mapping[str, Any] = _extra()


@dataclass(frozen=True)
class Provenance:
    """Where it comes from.

    ``fingerprint``: of the store's rows and activations; ``rows_fingerprint``: of the labels and splits alone.
    ``seconds``: for the whole path and the scores, of all targets that were fitted together. ``stored``: by layer,
    what its store says of how it was dumped, in whatever words; the command line compares it before it evaluates.
    """

    fingerprint: str = _is(text, default="")
    rows_fingerprint: str = _is(text, default="")
    command: str = _is(text, default="")
    version: str = _is(text, default="")
    seconds: float = _is(_number, default=float("nan"))
    stored: Mapping[str, Any] = _is(_open, default_factory=dict)
    extra: Mapping[str, Any] = _extra()


def to_json(record: Any) -> JSON:
    """Return a record as the object of the file, with the keys that were read and not known.

    Raises:
        TypeError, ValueError: a value that is not what its field says.
    """
    known = {each.name: each.metadata["check"](getattr(record, each.name)) for each in _KNOWN[type(record)]}
    if "path" in known:
        known["path"] = [to_json(each) for each in known["path"]]
    return {**record.extra, **known}


def from_json(kind: type[Record], found: Any) -> Record:
    """Return the record of an object of the file.

    Raises:
        KeyError, TypeError, ValueError: a key that is missing, or a value that is not what its field says.
    """
    if not isinstance(found, dict):
        msg = f"{found!r} is no object"
        raise TypeError(msg)
    known = {}
    for each in _KNOWN[kind]:
        if each.name in found:
            known[each.name] = each.metadata["check"](found[each.name])
        elif each.default is MISSING and each.default_factory is MISSING:
            raise KeyError(each.name)
    names = {each.name for each in _KNOWN[kind]}
    extra = {name: value for name, value in found.items() if name not in names}
    return kind(**known, extra=extra)  # type: ignore[call-arg]


_KNOWN: dict[type[Any], list[Any]] = {
    kind: [each for each in fields(kind) if "check" in each.metadata]
    for kind in (Where, Proof, Scores, Provenance, Tried)
}
"""The fields of each record that are keys of its object."""
