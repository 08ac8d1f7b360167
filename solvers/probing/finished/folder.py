"""The folder of finished layers: whose it is, what lies there, and for which question.

In ``PROBES.parts/`` lie ``identity.json``, a JSON object that says what was asked (``question``), and for each finished
layer ``layer-NUMBER.h5``, a probe file of that layer alone, whose header carries the digest of the question. Every file
appears only whole. docs/probes.md says it, too.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from solvers.disk.file_lock import LOCK_SUFFIX
from solvers.disk.folder_lock import LOCK_FILES
from solvers.disk.new_file import PARTIAL, new_file, write_all
from solvers.errors import ProbeFileError
from solvers.probing.probe_file import is_probe_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "FORMAT",
    "TURN",
    "VERSION",
    "claim_file",
    "clear",
    "difference",
    "digest_of",
    "has_layers",
    "identity",
    "part_file",
    "refuse_others",
    "remove_if_empty",
    "take_over",
]

FORMAT = "actstore probe parts"
VERSION = "0.9"
IDENTITY = "identity.json"
TURN = f"turn{LOCK_SUFFIX}"
"""Held by a rank for a moment, while it begins or publishes."""
_PARTS = "layer-*.h5"
_OURS = (_PARTS, f"layer-*{LOCK_SUFFIX}", f".layer-*{PARTIAL}", f".{IDENTITY}.*{PARTIAL}", IDENTITY)


def part_file(folder: Path, number: int) -> Path:
    """Return where a finished layer lies."""
    return folder / f"layer-{number:04d}.h5"


def claim_file(folder: Path, number: int) -> Path:
    """Return what a rank locks while it fits a layer."""
    return folder / f"layer-{number:04d}{LOCK_SUFFIX}"


def has_layers(folder: Path) -> bool:
    """Whether any finished layer lies in a folder."""
    return any(folder.glob(_PARTS))


def digest_of(asked: Mapping[str, Any]) -> str:
    """Return the digest of a question, which every part carries."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def refuse_others(folder: Path) -> None:
    """Raise ProbeFileError where a folder holds what no fit wrote."""
    files = list(folder.iterdir()) if os.path.lexists(folder) else []
    ours = (*_OURS, *LOCK_FILES, TURN)
    foreign = any(not any(file.match(pattern) for pattern in ours) for file in files)
    if not foreign and not identity(folder):  # without it, names alone make no part
        foreign = any(file.match(_PARTS) and not is_probe_file(file) for file in files)
    if foreign:
        msg = f"{folder} is in the way: it holds files that no fit wrote; move it, or save to another name"
        raise ProbeFileError(msg)


def take_over(folder: Path, asked: Mapping[str, Any], overwrite: bool) -> None:
    """Make a folder one of this question, or find that it is.

    Raises:
        ProbeFileError: it holds finished layers of another question, and ``overwrite`` is not said.
    """
    there = identity(folder)
    if there == asked:
        return
    if has_layers(folder) and not overwrite:
        msg = (
            f"{folder} holds finished layers of another fit: {difference(there, asked)}; ask the same to go on "
            "with them, or start anew with `--overwrite`, in Python overwrite=True"
        )
        raise ProbeFileError(msg)
    clear(folder)
    with new_file(folder / IDENTITY, lambda _: True) as descriptor:
        write_all(descriptor, json.dumps(asked, indent=1).encode(), 0)


def clear(folder: Path) -> None:
    """Remove what a fit wrote, also where a kill left it half-written; the identity last."""
    for pattern in _OURS:
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless others put files there."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def identity(folder: Path) -> dict[str, Any]:
    """Return what the layers in a folder were fitted for; empty where that is not said."""
    file = folder / IDENTITY
    try:
        found = json.loads(file.read_bytes()) if file.is_file() else None
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}


def difference(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return the first field in which two questions differ."""
    if not there:
        return f"its {IDENTITY} is missing or damaged"
    field = next((name for name in asked if there.get(name) != asked[name]), "")
    before, now = there.get(field), asked.get(field)
    if isinstance(before, dict) and isinstance(now, dict):
        names = ", ".join(repr(name) for name in now if before.get(name) != now[name])
        return f"the {field} of {names} differ"
    return f"{field} was {_shown(before)} there and is {_shown(now)} here"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
