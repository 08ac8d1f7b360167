"""Files packed by gzip: unpacked once, into a temporary file that lasts as long as the process."""

from __future__ import annotations

import atexit
import gzip
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from actstore.errors import SourceError
from actstore.formats.containers.kinds import GZIP, kind_of
from actstore.formats.opening import existing, stamp_of

if TYPE_CHECKING:
    from actstore.formats.opening import Stamp

PIECE_BYTES = 2**22
_unpacked: dict[Stamp, Path] = {}
_lock = Lock()


def unpacked(path: Path) -> Path:
    """Return a path with the bytes of ``path``: itself, or a temporary file where it is packed by gzip.

    Raises:
        SourceError: no ordinary file, a damaged one, packed twice, or larger than the disk for temporary files.
    """
    with existing(path).open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return path
    stamp = stamp_of(path)
    with _lock:
        if stamp not in _unpacked:
            _unpacked[stamp] = _unpack(path)
        return _unpacked[stamp]


def _unpack(path: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix="actstore-", suffix=path.with_suffix("").suffix)
    atexit.register(_remove, Path(name), os.getpid())
    try:
        with os.fdopen(descriptor, "wb") as out, gzip.open(path, "rb") as packed:
            while piece := packed.read(PIECE_BYTES):
                if shutil.disk_usage(name).free < 2 * len(piece):
                    msg = f"there is no room in {Path(name).parent} (choose another by TMPDIR)"
                    raise ValueError(msg)
                out.write(piece)
        found = Path(name)
        if kind_of(found) == GZIP:
            msg = "it is packed twice; unpack it once"
            raise ValueError(msg)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        _remove(Path(name), os.getpid())
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        msg = f"{path} cannot be unpacked (gzip): {reason}"
        raise SourceError(msg) from error
    except SourceError as error:
        _remove(Path(name), os.getpid())
        raise SourceError(str(error).replace(name, str(path))) from error
    return found


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:  # not in a fork
        path.unlink(missing_ok=True)
