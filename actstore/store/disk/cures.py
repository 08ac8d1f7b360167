"""What to do about an error of the disk, or of the limits that this process has: how a message ends."""

from __future__ import annotations

import errno

ROOM = "Make room there, or write elsewhere"
COPY = "restore it from a copy"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOST = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ENXIO, errno.ENODEV)
_OF_THE_PROCESS = {
    errno.EMFILE: "Close files that this process has open, or raise its limit (ulimit -n)",
    errno.ENFILE: "The machine has too many open files: close some, and try again",
    errno.ENOMEM: "There is not enough memory: free some, or raise the limit (ulimit -v, the memory of the job)",
    errno.EAGAIN: "Try again, or raise the limit on processes and memory (ulimit -u, ulimit -v)",
}
_OF_WRITING = {
    errno.EACCES: "Change the permissions, or write elsewhere",
    errno.EPERM: "Change the permissions, or write elsewhere",
    errno.EFBIG: (
        "Raise the limit on the size of files (ulimit -f), or write elsewhere; where the file system takes no larger "
        "ones, name a folder (NAME.acts)"
    ),
    errno.ENAMETOOLONG: "Choose a shorter name",
}


def to_write(error: OSError) -> str:
    """What to do where something cannot be written."""
    number = error.errno or 0
    if number in _FULL:
        return ROOM
    if number in _LOST:
        return "The disk, or the way to it, fails; try again, or write elsewhere"
    known = _OF_THE_PROCESS.get(number) or _OF_WRITING.get(number)
    return known or "Write elsewhere"


def to_read(error: OSError, otherwise: str = COPY) -> str:
    """What to do where something cannot be read; ``otherwise`` where it is no longer what it was."""
    number = error.errno or 0
    if number in _OF_THE_PROCESS:
        text = _OF_THE_PROCESS[number]
        return text[0].lower() + text[1:]
    if number in (errno.EACCES, errno.EPERM):
        return "change its permissions"
    if number in _LOST:
        return f"the disk, or the way to it, fails: try again, or {otherwise}"
    return otherwise


def says_nothing(error: BaseException | None) -> bool:
    """Whether an error says nothing of the file: a limit of this process, or permissions, are why it was not read."""
    known = (*_OF_THE_PROCESS, errno.EACCES, errno.EPERM)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in known)
