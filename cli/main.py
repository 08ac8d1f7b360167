"""The two programs. Each command is one file; nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import click

from cli.probe.decode import decode
from cli.probe.doctor import doctor
from cli.probe.eval import evaluate
from cli.probe.explain import explain
from cli.probe.fit import fit
from cli.probe.plot import plot
from cli.probe.show import show
from cli.shared import printable
from cli.store.dump import dump
from cli.store.exporting import export
from cli.store.importing import import_
from cli.store.info import info
from cli.store.label import label
from cli.store.layers import layers
from cli.store.merge import merge
from cli.store.pack import pack
from cli.store.rows import rows
from cli.store.verify import verify


class Program(click.Group):
    """A group of commands that turns a user's mistake into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the libraries' own errors become one line."""
        check_packages_are_ours()
        from actstore.errors import ActstoreError
        from solvers.errors import SolverError

        notice = Notice()
        try:
            with notice:
                return super().invoke(ctx)
        except click.ClickException as error:  # names of files and layers stand in these, too
            shown = in_printable_words(error)
            if shown is error:
                raise
            raise shown from error
        except BrokenPipeError:
            raise  # whoever read the output has enough; click ends without a word
        except (ActstoreError, SolverError, OSError) as error:
            raise click.ClickException(one_line(error)) from error
        except MemoryError as error:
            raise click.ClickException(
                f"there is not enough memory: {one_line(error) or 'none was left'}"
            ) from error
        except KeyboardInterrupt as interrupt:
            text = one_line(interrupt) or "interrupted"
            click.echo(text[0].upper() + text[1:], err=True)
            ctx.exit(128 + (notice.number or signal.SIGINT))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are used."""
        return list(self.commands)


def in_printable_words(error: click.ClickException) -> click.ClickException:
    """The same mistake without characters that a terminal obeys; the error itself where it is of a kind of its own."""
    message = "\n".join(printable(line) for line in error.message.split("\n"))
    if type(error) is click.UsageError:
        return click.UsageError(message, error.ctx)
    return click.ClickException(message) if type(error) is click.ClickException else error


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


def one_line(error: BaseException) -> str:
    """The message of an error with its notes, on one line."""
    parts = [str(error), *getattr(error, "__notes__", [])]
    return printable(" ".join("; ".join(part for part in parts if part).split()))


def check_packages_are_ours() -> None:
    """Refuse to run with somebody else's `solvers` or `actstore` in front of ours."""
    import actstore
    import solvers

    home = Path(__file__).resolve().parent.parent
    for package in (actstore, solvers):
        came = getattr(package, "__file__", None)
        if came is None or Path(came).resolve().parent.parent != home:
            raise click.ClickException(
                f"the package `{package.__name__}` was imported from {came}, not from actstore's own folder {home}: "
                "another package of that name stands in front of it; rename it or take it off PYTHONPATH"
            )


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="actstore")
def actstore() -> None:
    """Dump a network's activations once, from any framework.

    \b
    Example:
      actstore dump demo:digits --data digits --layers '**' -o digits.h5
      probe fit digits.h5 --target digit -o probes.h5
    """


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="actstore")
def probe() -> None:
    """Fit linear probes on stored activations, each with a proof of how far it is from the optimum.

    \b
    Example:
      probe fit digits.h5 --target digit -o probes.h5
      probe show probes.h5
    """


for command in (dump, layers, info, verify, rows, label, merge, import_, export, pack):
    actstore.add_command(command)
for command in (fit, show, evaluate, plot, decode, explain, doctor):
    probe.add_command(command)
