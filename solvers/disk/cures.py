"""What to do where a file cannot be written: how a message ends."""

from __future__ import annotations

import errno

__all__ = ["to_write"]

_ELSEWHERE = "choose another place"
_FIRST = {
    errno.ENOSPC: "make room or ",
    errno.EDQUOT: "make room or ",
    errno.EACCES: "change the permissions or ",
    errno.EPERM: "change the permissions or ",
    errno.ENOENT: "make its folder or ",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) or ",
}
_OF_THE_PROCESS = {
    errno.EMFILE: "close files that this process has open, or raise its limit (ulimit -n)",
    errno.ENFILE: "the machine has too many open files: close some, and try again",
    errno.ENOMEM: "free some memory, or raise the limit (ulimit -v, the memory of the job)",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def to_write(error: OSError) -> str:
    """What to do: a disk that is read-only or gone gains nothing from room."""
    number = error.errno or 0
    return _OF_THE_PROCESS.get(number) or _FIRST.get(number, "") + _ELSEWHERE
