"""Files that a library in C++ reads: looked at in a process of its own first, so that its crash is one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from threading import Lock
from typing import TYPE_CHECKING

from actstore.errors import SourceError
from actstore.formats.opening import stamp_of

if TYPE_CHECKING:
    from pathlib import Path

    from actstore.formats.opening import Stamp

PROGRAM = """
import json, sys
from pathlib import Path
sys.path[:] = json.loads(sys.argv[1])
from actstore.formats.containers.arrow import read_whole
read_whole(Path(sys.argv[2]), sys.argv[3])
"""
_HUNG_S = 600  # for one that waits for ever; a table takes seconds
_sound: set[Stamp] = set()
_lock = Lock()


def look_at(path: Path, kind: str, shown: str) -> None:
    """Read a file once in a process that may crash; what it raises is told where the file is read again.

    Raises:
        SourceError: the process crashed, or gave no answer.
    """
    stamp = stamp_of(path)
    with _lock:
        if stamp in _sound:
            return
    command = [sys.executable or "python3", "-P", "-c", PROGRAM, json.dumps(sys.path), str(path), kind]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_HUNG_S, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        msg = f"{shown} cannot be read: the process that looks into it gave no answer ({type(error).__name__})"
        raise SourceError(msg) from error
    if done.returncode < 0:
        msg = (
            f"{shown} cannot be read: pyarrow crashed on it ({signal.Signals(-done.returncode).name}). The file may be "
            "damaged: restore it from a copy, or write it again"
        )
        raise SourceError(msg)
    with _lock:
        _sound.add(stamp)
