"""Mappings that answer an unknown name with the nearest ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from actstore.errors import ActstoreError

Value = TypeVar("Value")


class Named(Mapping[str, Value]):
    """Values by name, in order; an unknown name is answered with the nearest ones."""

    def __init__(self, what: str, error: type[ActstoreError], values: Mapping[str, Value]) -> None:
        """``what`` the values are, for the message of ``error``, which has to be a KeyError."""
        self._what = what
        self._error = error
        self._values = dict(values)

    def __getitem__(self, name: str) -> Value:
        if name in self._values:
            return self._values[name]
        nearest = difflib.get_close_matches(str(name), self._values, 3, 0.4) or list(self._values)[:5]
        known = ", ".join(repr(one) for one in nearest) or "none"
        msg = f"there is no {self._what} {name!r} in this store; nearest of {len(self._values)}: {known}"
        raise self._error(msg)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<{self._what}s {', '.join(map(repr, self._values))}>"
