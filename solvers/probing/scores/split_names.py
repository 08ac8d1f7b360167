"""Splits by the names that probes give them, or by those that the store has for them: `dev` for `val`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solvers.probing.probe import Probe

__all__ = ["known_splits", "own_split", "own_splits"]


def known_splits(probes: Iterable[Probe]) -> list[str]:
    """Return every split that probes have rows or scores of, by their own names."""
    return list(dict.fromkeys(split for probe in probes for split in (*probe.scores.rows, *probe.scores.error)))


def own_split(probes: Iterable[Probe], name: str) -> str | None:
    """Return what the probes call a split: the name itself, or what the store's word for it became in the fit.

    None where there is no such split, or where the store's word stands for several.
    """
    every = list(probes)
    there = known_splits(every)
    if name in there:
        return name
    meant = {
        own
        for probe in every
        for own, theirs in probe.proof.chosen.get("called", {}).items()
        if theirs == name and own in there
    }
    return meant.pop() if len(meant) == 1 else None


def own_splits(probes: Iterable[Probe], names: Sequence[str]) -> tuple[str, ...]:
    """Return what the probes call these splits; one that they do not know stays, for whoever refuses it."""
    every = list(probes)
    return tuple(dict.fromkeys(own_split(every, name) or name for name in names))
