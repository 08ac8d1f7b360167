"""Groups of training rows that have rows in other splits: what is scored there is not new to the probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from solvers.probing.probe import Probe

__all__ = ["divided_line", "divided_notes"]


def divided_notes(probes: Sequence[Probe], splits: Collection[str] | None = None) -> list[str]:
    """Return a line for each target whose groups were divided, of these splits alone where some are named."""
    found: dict[str, dict[str, int]] = {}
    for probe in probes:
        for split, count in probe.proof.chosen.get("divided_groups", {}).items():
            if splits is None or split in splits:
                found.setdefault(probe.target, {}).setdefault(split, count)
    several = len({probe.target for probe in probes}) > 1
    return [
        (f"target {target!r}: " if several else "") + divided_line(divided) for target, divided in found.items()
    ]


def divided_line(divided: Mapping[str, int]) -> str:
    """Say how many groups of training rows have rows in each other split, and what follows."""
    where = ", ".join(f"{count:,} in `{split}`" for split, count in divided.items())
    return (
        f"groups of training rows have rows in other splits, too ({where}), so what is scored there is not new to "
        "the probe; divide the rows by whole groups"
    )
