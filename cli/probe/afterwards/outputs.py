"""Files that a command writes besides what it prints; they appear only whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.result import WrongUsage
from solvers.disk.cures import to_write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

__all__ = ["checked_output", "write_whole"]


def checked_output(
    output: str | None, kinds: Sequence[str], overwrite: bool, read: Sequence[str]
) -> Path | None:
    """Return the path of ``-o``, None where it was not given, before anything is read.

    Args:
        output: as it was typed.
        kinds: the suffixes there are.
        overwrite: whether a file of that name may go.
        read: what the command reads, which it never replaces.

    Raises:
        WrongUsage: another suffix.
        click.ClickException: nothing can be written there.
    """
    if output is None:
        return None
    path = Path(output)
    if path.suffix not in kinds:
        raise WrongUsage(f"-o {output} is none of {', '.join(kinds)}; choose a name that ends in one of them")
    if path.is_dir() or not path.parent.is_dir():
        raise click.ClickException(f"{path} cannot be written: it is a folder, or its folder does not exist")
    if path.exists() and any(_same(path, each) for each in read):
        raise click.ClickException(
            f"{path} is read by this very command, so it is not overwritten; choose another name"
        )
    if path.exists() and not overwrite:
        raise click.ClickException(f"{path} exists already; choose another name, or say `--overwrite`")
    return path


def _same(path: Path, source: str) -> bool:
    """Whether a source, which may be SPLIT=FILE:KEY, is this file."""
    names = {source, source.partition("=")[2]}
    names |= {name.rpartition(":")[0] for name in names}
    return any(name and os.path.exists(name) and path.samefile(name) for name in names)


def write_whole(path: Path, overwrite: bool, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file by ``write``, which is given one to write bytes to.

    Raises:
        click.ClickException: the name was taken in the meantime, or the disk takes no more.
    """
    from solvers.disk.new_file import new_file

    try:
        with (
            new_file(path, (lambda _: True) if overwrite else None) as descriptor,
            os.fdopen(os.dup(descriptor), "w+b") as file,
        ):
            write(file)
    except FileExistsError as error:
        raise click.ClickException(
            f"{path} exists already; choose another name, or say `--overwrite`"
        ) from error
    except OSError as error:
        raise click.ClickException(
            f"{path} could not be written: {error.strerror or error}; {to_write(error)}"
        ) from error
