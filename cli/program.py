"""A program: a group of commands, and the one net beneath them: each error becomes one line and an exit code."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from cli.result import USAGE, USAGE_CODE, WrongUsage, debug_option, echo_error, wants_json, wants_traceback
from cli.shared import one_line, printable

_HOME = Path(__file__).resolve().parent.parent
_TYPED = "cli.program.typed"  # the words of the command line after the program's own options
_CODES = {
    "InUseError": "in-use",
    "StoreError": "store",
    "LayerError": "layer",
    "TargetError": "target",
    "SourceError": "source",
    "AdapterError": "model",
    "DumpError": "dump",
    "ProblemError": "problem",
    "UnknownNameError": "name",
    "EngineError": "engine",
    "ProbeFileError": "probe-file",
    "FigureError": "figure",
}
"""Error codes of the libraries' own errors by the name of their class; a class that is not here has its parent's."""

_NO_THREAD = "can't start new thread"  # what Python says where memory or a limit does not allow one
SYSTEM, MEMORY, INTERRUPTED, FAILED, UNEXPECTED = "system", "memory", "interrupted", "failed", "unexpected"
"""The other error codes, beside those of a ``Failure``."""


class Program(click.Group):
    """A group of commands that turns every error into one line, an exit code and, with ``--json``, a document.

    Wrong usage exits 2. Every other failure exits 1, an error that nobody expected included: its line says its type
    and where it was raised. ``--debug`` adds the traceback. An interruption exits 128 and the number of the signal.
    """

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.params.append(debug_option())

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command, and keep what was typed: a line that cannot be parsed may have asked for JSON."""
        ctx.meta[_TYPED] = list(args)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises ends here."""
        notice = Notice()
        try:
            check_packages_are_ours()
            with notice:
                return super().invoke(ctx)
        except (BrokenPipeError, click.exceptions.Exit, click.Abort):
            raise  # whoever read the output has enough, or the end is told already: click ends without a word
        except click.ClickException as error:  # names of files and layers stand in these, too
            shown = in_printable_words(error)
            self._tell(ctx, USAGE if error.exit_code == USAGE_CODE else FAILED, shown.format_message())
            if shown is error:
                raise
            raise shown from error
        except KeyboardInterrupt as interrupt:
            text = one_line(interrupt) or "interrupted"
            self._tell(ctx, INTERRUPTED, text)
            click.echo(text[0].upper() + text[1:], err=True)
            ctx.exit(128 + (notice.number or signal.SIGINT))
        except BaseException as error:  # the net: some libraries raise what is no Exception, or end the process
            code, text = explained(error)
            self._tell(ctx, code, text)
            raise click.ClickException(text) from error

    def _tell(self, ctx: click.Context, code: str, message: str) -> None:
        """Show the traceback to those who asked for it, and print the failure as JSON to those who asked for that."""
        typed = ctx.meta.get(_TYPED, [])
        options = typed[: typed.index("--")] if "--" in typed else typed
        if wants_traceback(ctx, os.environ) or "--debug" in options:
            click.echo(traceback.format_exc(), nl=False, err=True)
        if wants_json(ctx) or "--json" in options:
            known = ctx.invoked_subcommand if ctx.invoked_subcommand in self.commands else None
            with suppress(OSError):  # a standard output that takes no more may be the failure itself
                echo_error(ctx, known or "", code, message)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are used."""
        return list(self.commands)


def explained(error: BaseException) -> tuple[str, str]:
    """The error code of an error, and its line."""
    from actstore.errors import ActstoreError
    from solvers.errors import SolverError

    said = one_line(error)
    if isinstance(error, ActstoreError | SolverError):
        code = next((_CODES[each.__name__] for each in type(error).__mro__ if each.__name__ in _CODES), FAILED)
        return code, said
    if isinstance(error, MemoryError):
        return MEMORY, f"there is not enough memory: {said or 'none was left'}"
    if isinstance(error, RuntimeError) and said == _NO_THREAD:
        return (
            MEMORY,
            "there is no room for another thread: raise the limit on memory or processes (ulimit -v, -u)",
        )
    if isinstance(error, OSError):
        return SYSTEM, said or type(error).__name__
    if isinstance(error, SystemExit):
        said = f"the program was told to exit ({said or 'without a code'}) before it was done"
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return UNEXPECTED, f"{what} ({_where(error)}; --debug shows the traceback)"


def _where(error: BaseException) -> str:
    """Where it was raised, and from which line of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_HOME)]
    inner = _place(frames[-1]) if frames else "an unknown place"
    last = _place(ours[-1]) if ours else inner
    return printable(f"in {inner}" if inner == last else f"in {inner}, called by {last}")


def _place(frame: traceback.FrameSummary) -> str:
    """A line of a file by its folder and name."""
    return f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"


def in_printable_words(error: click.ClickException) -> click.ClickException:
    """The same mistake without characters that a terminal obeys; the error itself where it is of a kind of its own."""
    message = "\n".join(printable(line) for line in error.message.split("\n"))
    if type(error) is click.UsageError:
        return click.UsageError(message, error.ctx)
    return type(error)(message) if type(error) in (click.ClickException, WrongUsage) else error


class Notice:
    """Lets a command end on SIGTERM (a scheduler's notice) and SIGHUP as it does on Ctrl-C: what is sealed stays.

    The first one interrupts the main thread; further ones do not disturb it while it tidies up. What this process
    inherited as ignored stays ignored (``nohup``). Forked children do what they did without.
    """

    def __init__(self) -> None:
        self.number = 0
        """The signal received; 0 for none."""
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Notice:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) == signal.SIG_DFL:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: object) -> None:
        if os.getpid() != self._process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not self.number:
            self.number = number
            raise KeyboardInterrupt(f"ended by {signal.Signals(number).name}")


def check_packages_are_ours() -> None:
    """Refuse to run with somebody else's `solvers` or `actstore` in front of ours."""
    import actstore
    import solvers

    for package in (actstore, solvers):
        came = getattr(package, "__file__", None)
        if came is None or Path(came).resolve().parent.parent != _HOME:
            raise click.ClickException(
                f"the package `{package.__name__}` was imported from {came}, not from actstore's own folder {_HOME}: "
                "another package of that name stands in front of it; rename it or take it off PYTHONPATH"
            )
