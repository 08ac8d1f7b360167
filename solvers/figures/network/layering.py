"""Which row of a drawing each layer of a network stands in: below all that feed it, beside what is as deep."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Layered", "layered"]

_SWEEPS = 6
Edge = tuple[str, str]


@dataclass(frozen=True)
class Layered:
    """Rows of names from the top; ``back`` are the edges that lead up again (a recurrent network)."""

    rows: tuple[tuple[str, ...], ...]
    edges: tuple[Edge, ...]
    back: frozenset[Edge]


def layered(names: Sequence[str], edges: Sequence[Edge]) -> Layered:
    """Return the rows of a network.

    Args:
        names: in network order, which breaks ties; ends of edges that are not among them come where the edges put them.
        edges: (from, to); one from a name to itself is left out.
    """
    every = list(dict.fromkeys([*names, *(name for edge in edges for name in edge)]))
    kept = [edge for edge in dict.fromkeys(edges) if edge[0] != edge[1]]
    back = _back(every, kept)
    forward = [edge for edge in kept if edge not in back]
    depth = _depths(every, forward)
    alone = set(every) - {name for edge in kept for name in edge}
    deepest = max((depth[name] for name in every if name not in alone), default=-1)
    rows: dict[int, list[str]] = defaultdict(list)
    for name in every:
        rows[deepest + 1 if name in alone else depth[name]].append(name)
    ordered = _ordered([rows[key] for key in sorted(rows)], forward)
    return Layered(tuple(map(tuple, ordered)), tuple(kept), frozenset(back))


def _back(names: Sequence[str], edges: Sequence[Edge]) -> set[Edge]:
    """The edges that close a circle, found in network order."""
    after = _neighbours(edges)
    back: set[Edge] = set()
    state: dict[str, int] = {}
    for start in names:
        if start in state:
            continue
        state[start] = 1
        stack = [(start, iter(after[start]))]
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[name] = 2
                stack.pop()
            elif state.get(following) == 1:
                back.add((name, following))
            elif following not in state:
                state[following] = 1
                stack.append((following, iter(after[following])))
    return back


def _depths(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The longest way to each name; there is no circle."""
    after = _neighbours(edges)
    waiting: dict[str, int] = defaultdict(int)
    for _, to in edges:
        waiting[to] += 1
    depth = dict.fromkeys(names, 0)
    ready = [name for name in names if not waiting[name]]
    for name in ready:  # grows while it is read
        for to in after[name]:
            depth[to] = max(depth[to], depth[name] + 1)
            waiting[to] -= 1
            if not waiting[to]:
                ready.append(to)
    return depth


def _ordered(rows: list[list[str]], edges: Sequence[Edge]) -> list[list[str]]:
    """Rows whose names stand below the middle of what feeds them and above that of what they feed."""
    before, after = _neighbours([(to, source) for source, to in edges]), _neighbours(edges)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        place = {name: (at + 0.5) / len(row) for row in rows for at, name in enumerate(row)}
        for row in rows if down else reversed(rows):
            near = before if down else after
            row.sort(key=lambda name: _middle([place[each] for each in near[name]], place[name]))
            place.update({name: (at + 0.5) / len(row) for at, name in enumerate(row)})
    return rows


def _middle(places: Sequence[float], own: float) -> float:
    return sum(places) / len(places) if places else own


def _neighbours(edges: Sequence[Edge]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for source, to in edges:
        found[source].append(to)
    return found
