"""The two programs. Each command is one file; nothing heavy is imported before a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.probe.doctor import doctor
from cli.probe.eval import evaluate
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

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read the output has enough; click ends without a word
        except (ActstoreError, SolverError, OSError) as error:
            raise click.ClickException(one_line(error)) from error
        except KeyboardInterrupt as interrupt:
            text = one_line(interrupt) or "interrupted"
            click.echo(text[0].upper() + text[1:], err=True)
            ctx.exit(130)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are used."""
        return list(self.commands)


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
for command in (fit, show, evaluate, plot, doctor):
    probe.add_command(command)
