"""The kinds of file that solvers write, and what each is called in messages."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PROBES", "FileKind"]


@dataclass(frozen=True)
class FileKind:
    """What a header says, and how a reader is told of a file that is missing or damaged.

    Args:
        format, version: what the header says.
        name: as in `a probe file`.
        made_by: the command, and the method in Python.
        again: what to do where the file is damaged.
    """

    format: str
    version: str
    name: str
    made_by: str
    method: str
    again: str


PROBES = FileKind("actstore probes", "0.9", "probe file", "probe fit", "Probes.save", "fit the probes again")
