"""The probes of two fits as one: what clashes is refused, nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from solvers.errors import ProblemError
from solvers.probing.row_table import Beside, same_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes
    from solvers.probing.row_table import RowTable, TableKey

__all__ = ["Kept", "joined"]


class Kept(Protocol):
    """Finished layers on the disk, which probes were joined from."""

    def explain(self, error: BaseException) -> None:
        """Add to an error what is kept and how to go on."""

    def publish(self, path: Path, write: Callable[[], None]) -> None:
        """Write the probes, once, and remove what was written."""

    def remove(self) -> None:
        """Remove what was written."""


@dataclass(frozen=True)
class _AllKept:
    """The finished layers of several fits."""

    kept: Sequence[Kept]

    def explain(self, error: BaseException) -> None:
        """Add to an error what each keeps."""
        for each in self.kept:
            each.explain(error)

    def publish(self, path: Path, write: Callable[[], None]) -> None:
        """Write the probes, and remove what each wrote."""
        write()
        self.remove()

    def remove(self) -> None:
        """Remove what each wrote."""
        for each in self.kept:
            each.remove()


def joined(one: Probes, two: Probes) -> tuple[list[Probe], dict[str, str], Kept | None, Beside]:
    """Return the probes of both, why layers have none, the finished layers on the disk, and what is kept beside.

    Raises:
        ProblemError: both have a probe of one key, or hold differently what they are to hold once.
    """
    known = set(one)  # a part of a key is in ``one``, too
    clash = next((key for key in two if key in known), None)
    if clash is not None:
        msg = f"both have a probe of the key {clash}; join probes of different layers, targets or steps"
        raise ProblemError(msg)
    failures = dict(one.failures)
    for layer, reason in two.failures.items():
        before = failures.get(layer, reason)
        failures[layer] = before if before == reason else f"{before}; {reason}"
    kept = [each.parts for each in (one, two) if each.parts is not None]
    return (
        [*one.values(), *two.values()],
        failures,
        _AllKept(kept) if kept else None,
        _beside(one.beside, two.beside),
    )


def _beside(one: Beside, two: Beside) -> Beside:
    tables: dict[TableKey, RowTable] = {table.key: table for table in one.tables}
    for table in two.tables:
        if not same_rows(tables.setdefault(table.key, table), table):
            msg = (
                f"the two were scored on different rows of target {table.target!r}, split {table.split!r}, so they "
                "cannot be one file; fit both on the same rows with the same seed"
            )
            raise ProblemError(msg)
    one, two = one.of_no_question, two.of_no_question
    twice = sorted((one.extra.keys() & two.extra.keys()) | (one.arrays.keys() & two.arrays.keys()))
    if twice:
        listed = ", ".join(map(repr, twice))
        msg = f"both hold {listed}, which this version does not know how to join; keep two files"
        raise ProblemError(msg)
    return Beside(tuple(tables.values()), {**one.extra, **two.extra}, {**one.arrays, **two.arrays})
