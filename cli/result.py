"""The result of a command, and the one place that prints it: as text, or as JSON with a format and a version.

A command parses, calls the library and returns a ``Result``; ``Command`` prints it and ends with its exit code. The
options that belong to every command (``--json``, ``--debug``) stand here once.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from cli.completion import complete_files
from cli.shared import as_json_text, echo_table, noticed, one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VERSION = 1
"""Version of a document that ``--json`` prints, unless the command says otherwise."""
USAGE_CODE, FAILURE_CODE = 2, 1
"""Exit codes: wrong usage, and everything else that fails."""
USAGE = "usage"
"""The error code of wrong usage."""
_JSON, _DEBUG = "cli.result.json", "cli.result.debug"


@dataclass(frozen=True)
class Table:
    """Aligned columns: those in ``left`` to the left, the others to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)


@dataclass(frozen=True)
class Failure:
    """Why a command that has a result fails all the same.

    Args:
        code: the kind of failure in one or two words, for programs: ``damaged``.
        lines: what went wrong, a line each, printed on stderr after ``error:``.
        exit_code: 1, or 2 for wrong usage; never 0.
        in_text: whether the text of the result says so already, so that stderr need not.
    """

    code: str
    lines: Sequence[str]
    exit_code: int = FAILURE_CODE
    in_text: bool = False

    def __post_init__(self) -> None:
        if not self.lines or not self.exit_code:
            msg = (
                f"a failure has a reason and an exit code of 1 or more, not {self.lines!r} and {self.exit_code}"
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class Result:
    """What a command has to say. The exit code is 0 unless there is a ``failure``.

    Args:
        data: the fields of the JSON document, beside ``format`` and ``version``. NumPy's scalars and arrays become
            plain values; NaN and infinities become null.
        text: the same for a person, on stdout: a string is a line, an empty one a blank line.
        messages: lines for stderr, such as ``note: ...``; ``messages`` of the document, where there are any.
        failure: why the command fails, though there is something to print.
        version: of the document. It rises when a field changes its meaning or goes; not when one is added.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    text: Sequence[str | Table] = ()
    messages: Sequence[str] = ()
    failure: Failure | None = None
    version: int = VERSION

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return self.failure.exit_code if self.failure else 0

    @property
    def error_code(self) -> str:
        """The kind of failure; empty for a success."""
        return self.failure.code if self.failure else ""


class WrongUsage(click.ClickException):
    """A line that cannot be right, told by what it asks for: one line, exit code 2, without the usage of options."""

    exit_code = USAGE_CODE


@contextmanager
def checked_beforehand() -> Iterator[None]:
    """Turn what the libraries refuse within into wrong usage, exit code 2: nothing was run yet.

    A store that another process is writing is no fault of the line; a disk or a memory that fails is none, either.
    """
    from actstore.errors import ActstoreError, InUseError

    try:
        yield
    except InUseError:
        raise
    except ActstoreError as error:
        raise WrongUsage(one_line(error)) from error


class Command(click.Command):
    """A command that returns a ``Result``; it is printed here, and nowhere else.

    Every command has ``--json`` and ``--debug``. What it returns is also what ``invoke`` returns.
    """

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        complete_files(self.params)
        self.params += [_switch("--json", _JSON, "Print the result as JSON."), debug_option()]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and print its result; with ``--json``, what a model's file prints goes to stderr."""
        with redirect_stdout(sys.stderr) if wants_json(ctx) else nullcontext():
            result = super().invoke(ctx)
        if isinstance(result, Result):
            _print(result, ctx)
            if result.failure:
                ctx.exit(result.exit_code)
        return result


def _switch(name: str, key: str, explained: str) -> click.Option:
    def take(ctx: click.Context, _option: click.Parameter, given: bool) -> None:
        if given:
            ctx.meta[key] = True

    return click.Option([name], is_flag=True, expose_value=False, is_eager=True, callback=take, help=explained)


def debug_option() -> click.Option:
    """Return the option ``--debug``, of programs and commands alike."""
    return _switch("--debug", _DEBUG, "Show the traceback of an error (or set ACTSTORE_DEBUG=1).")


def wants_json(ctx: click.Context) -> bool:
    """Whether ``--json`` was given; contexts of one run share the answer."""
    return bool(ctx.meta.get(_JSON))


def wants_traceback(ctx: click.Context, environment: Mapping[str, str]) -> bool:
    """Whether ``--debug`` was given, or ``ACTSTORE_DEBUG`` is set to something other than 0."""
    return bool(ctx.meta.get(_DEBUG)) or environment.get("ACTSTORE_DEBUG", "") not in ("", "0")


def title(ctx: click.Context) -> str:
    """Return what the document is called: `actstore info`, whatever name the program was started by."""
    names = []
    at: click.Context | None = ctx
    while at is not None:
        names.append(at.command.name or "")
        at = at.parent
    return " ".join(reversed(names))


def _print(result: Result, ctx: click.Context) -> None:
    if wants_json(ctx):
        fields = {**result.data, **_messages([*noticed(ctx), *result.messages])}
        if result.failure:
            fields |= _error(result.failure.code, "; ".join(result.failure.lines))
        echo_document(title(ctx), result.version, fields)
    else:
        echo_text(result.text)
    failed = result.failure.lines if result.failure and not result.failure.in_text else ()
    for line in [*result.messages, *(f"error: {line}" for line in failed)]:
        click.echo(printable(line), err=True)


def echo_text(blocks: Sequence[str | Table]) -> None:
    """Print lines and tables for a person; see ``printable``."""
    for block in blocks:
        if isinstance(block, Table):
            echo_table(block.header, block.rows, block.left)
        else:
            click.echo(printable(block))


def echo_document(format_name: str, version: int, fields: Mapping[str, Any]) -> None:
    """Print a document of ``--json``: its format and version, then its fields."""
    click.echo(as_json_text({"format": format_name, "version": version, **fields}))


def echo_error(ctx: click.Context, name: str, code: str, message: str) -> None:
    """Print the document of a command that failed without a result; stderr has the line for a person as well.

    ``ctx`` is the program's, ``name`` the command's, empty where there is none of that name.
    """
    fields = {**_messages(noticed(ctx)), **_error(code, " ".join(message.split()))}
    echo_document(f"{title(ctx)} {name}".rstrip(), VERSION, fields)


def _messages(lines: Sequence[str]) -> dict[str, Any]:
    return {"messages": list(lines)} if lines else {}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def command(name: str | None = None) -> Any:
    """Return the decorator of a function that is a command: it takes the options and returns a ``Result``."""
    return click.command(name, cls=Command)
