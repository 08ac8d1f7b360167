"""Names as keys: a miss is answered in one line, with the nearest names."""

from __future__ import annotations

import difflib
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

from solvers.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ByKey", "ByName", "find_probe", "matching", "nearest", "unknown"]

Value = TypeVar("Value")

_SHOWN = 6
_PARTS = ("layer", "target", "step", "seed")
"""What a key is made of; the last where columns were drawn several times."""


def nearest(wanted: object, names: Iterable[object]) -> str:
    """Return the end of a message: the names nearest to one that is not there, or else which there are."""
    there = list(dict.fromkeys(names))
    texts = {str(name): name for name in there}
    near = [texts[text] for text in difflib.get_close_matches(str(wanted), texts, n=3, cutoff=0.5)]
    if isinstance(wanted, int):  # a step or a seed: one that is written alike is not near
        near = []
    return f"the nearest: {_listed(near)}" if near else f"there are: {_listed(there)}"


def unknown(what: str, wanted: object, names: Iterable[object]) -> UnknownNameError:
    """Return the error for a name that is none of these."""
    return UnknownNameError(f"there is no {what} {wanted!r}; {nearest(wanted, names)}")


def _listed(names: list[Any]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN]) or "none"
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


class ByName(dict[str, Value]):
    """A dict whose miss says what its keys are, and which is nearest."""

    def __init__(self, what: str, values: Mapping[str, Value]) -> None:
        super().__init__(values)
        self.what = what

    def __missing__(self, name: str) -> Value:
        raise unknown(self.what, name, self)

    def __reduce__(self) -> tuple[Any, ...]:
        return ByName, (self.what, dict(self))


class ByKey(dict[Any, Value]):
    """A dict by (layer, target, step) that a part of a key will do for, as for ``Probes``."""

    def __missing__(self, key: Any) -> Value:
        return find_probe(self, key)


def matching(keys: Iterable[Any], wanted: Any) -> list[Any]:
    """Return those of the keys (layer, target, step, ...) that this one, or a part of one, names.

    A part is a layer, a (layer, target), a (layer, step), or all but what the key ends in.
    """
    return [key for key in keys if _named(key, wanted)]


def _named(key: Any, wanted: Any) -> bool:
    if not isinstance(wanted, tuple):
        return bool(key[0] == wanted)
    if len(wanted) == 2:
        return bool(key[0] == wanted[0] and _of(key, wanted[1]))
    return bool(wanted and key[: len(wanted)] == wanted)


def find_probe(probes: Mapping[Any, Value], wanted: Any) -> Value:
    """Return the probe of a key, or the only one that a part of a key names.

    Raises:
        UnknownNameError: none is called so, or several are; the message says which there are.
    """
    found = [wanted] if wanted in list(probes) else matching(probes, wanted)
    if len(found) == 1:
        return probes[found[0]]
    if found:
        keys = ", ".join(map(repr, found[:_SHOWN])) + (", ..." if len(found) > _SHOWN else "")
        raise UnknownNameError(f"{len(found)} probes are called {wanted!r}; say which of these keys: {keys}")
    parts = wanted if isinstance(wanted, tuple) and wanted else (wanted,)
    for length in range(1, len(parts) + 1):
        if not matching(probes, parts[:length] if length > 1 else parts[0]):
            raise _missing(probes, parts, length)
    raise unknown("probe", wanted, probes)


def _missing(probes: Iterable[Any], parts: tuple[Any, ...], length: int) -> UnknownNameError:
    """The error for the first part of a key that there is not beside those before it."""
    if length == 1:
        return unknown("probe of layer", parts[0], (key[0] for key in probes))
    before = matching(probes, parts[: length - 1] if length > 2 else parts[0])
    what, place = (
        ("step", 2) if length == 2 and _is_step(parts[1]) else (_PARTS[min(length, 4) - 1], length - 1)
    )
    there = (key[place] for key in before if len(key) > place)
    return unknown(f"probe of layer {parts[0]!r} for {what}", parts[length - 1], there)


def _of(key: Any, part: Any) -> bool:
    return bool(key[2] == part if _is_step(part) else key[1] == part)


def _is_step(part: Any) -> bool:
    return isinstance(part, Integral) and not isinstance(part, bool)
