"""What a message says to do where a file could not be written, by what was in the way."""

import errno
import os

import pytest

import solvers
from solvers.disk import cures
from solvers.errors import ProbeFileError


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "make room or choose another place"),
        (errno.EDQUOT, "make room or choose another place"),
        (errno.EROFS, "choose another place"),
        (errno.EIO, "choose another place"),
        (errno.EACCES, "change the permissions or choose another place"),
        (errno.ENOENT, "make its folder or choose another place"),
        (errno.EMFILE, "close files that this process has open, or raise its limit (ulimit -n)"),
        (errno.ENOMEM, "free some memory, or raise the limit (ulimit -v, the memory of the job)"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (None, "choose another place"),
    ],
)
def test_the_end_of_the_message_fits_what_was_in_the_way(number, said):
    assert cures.to_write(OSError(number, "")) == said


def test_a_disk_that_is_read_only_is_not_said_to_want_room(layers, labels, tmp_path, monkeypatch):
    probes = solvers.fit_layers(layers, labels, C=1.0)

    def refused(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(
        ProbeFileError, match=r"could not be written: Read-only file system; choose another place$"
    ):
        probes.save(tmp_path / "p.h5")
