"""Other names for the layers of probes, so that probes of one door find the layers of another."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from solvers.probing.probe import Probe

__all__ = ["other_names", "with_names"]

_STARS = re.compile(r"(\*\*|\*)")
_EXPRESSION = "re:"


def other_names(layers: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    r"""Return what each layer is to be called, by what it is called now.

    Args:
        layers: the names that there are.
        names: new names by old ones. An old one is an exact name; else a glob, in which ``*`` stops at dots and ``**``
            crosses them, and the stars of the new name are, one after the other, what those of the old one stand for;
            else ``re:EXPRESSION`` for whole names, whose groups the new name has as ``\1``. Of several that fit, the
            last counts.

    Raises:
        ProblemError: an old name that no layer has, a new one with more stars or groups than the old one, or two
            layers that would have one name.
    """
    renamed = {layer: layer for layer in layers}
    for old, new in names.items():
        found = {layer: _new_name(layer, old, new, exact=old in renamed) for layer in layers}
        hits = {layer: name for layer, name in found.items() if name is not None}
        if not hits:
            nearest = difflib.get_close_matches(old.removeprefix(_EXPRESSION).replace("*", ""), layers, n=1)
            known = (
                f"the nearest is {nearest[0]!r}" if nearest else f"there are {', '.join(map(repr, layers[:8]))}"
            )
            msg = f"no layer is called {old!r}, which was to be renamed {new!r}; {known}"
            raise ProblemError(msg)
        renamed |= hits
    after: dict[str, str] = {}
    for layer, name in renamed.items():
        if name in after:
            msg = f"layers {after[name]!r} and {layer!r} would both be called {name!r}; give each a name of its own"
            raise ProblemError(msg)
        after[name] = layer
    return renamed


def _new_name(layer: str, old: str, new: str, *, exact: bool) -> str | None:
    """The new name of a layer; None where the old name is not its."""
    if exact:
        return new if layer == old else None
    try:
        if old.startswith(_EXPRESSION):
            found = re.fullmatch(old.removeprefix(_EXPRESSION), layer)
            return None if found is None else found.expand(new)
    except (re.error, IndexError) as error:
        msg = f"{old!r} cannot be renamed {new!r}: {error}; write for example 're:h[.](.*)' and 'model.h.\\1'"
        raise ProblemError(msg) from error
    parts = ({"**": "(.*)", "*": "([^.]*)"}.get(part) or re.escape(part) for part in _STARS.split(old))
    found = re.fullmatch("".join(parts), layer, re.DOTALL)
    if found is None:
        return None
    stars = _STARS.split(new)
    if len(stars) // 2 > len(found.groups()):
        msg = f"{new!r} has more stars than {old!r}; each of them stands for what one of the old name's does"
        raise ProblemError(msg)
    filled = iter(found.groups())
    return "".join(next(filled) if place % 2 else part for place, part in enumerate(stars))


def with_names(probe: Probe, names: Mapping[str, str]) -> Probe:
    """Return a probe with other names of its layers, by what they are called now."""
    where = replace(probe.where, layers=tuple(names.get(layer, layer) for layer in probe.where.layers))
    stored = {names.get(layer, layer): told for layer, told in probe.provenance.stored.items()}
    return replace(probe, where=where, provenance=replace(probe.provenance, stored=stored))
