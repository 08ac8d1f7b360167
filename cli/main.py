"""The two programs. Each command is one file; nothing heavy is imported before a command runs."""

from __future__ import annotations

import click

from cli.probe.compare import compare
from cli.probe.decoding.decode import decode
from cli.probe.decoding.explain import explain
from cli.probe.direction import direction
from cli.probe.doctor import doctor
from cli.probe.errors import errors
from cli.probe.eval import evaluate
from cli.probe.fit import fit
from cli.probe.plot import plot
from cli.probe.predictions import predictions
from cli.probe.show import show
from cli.program import Program
from cli.store.dump import dump
from cli.store.exporting import export
from cli.store.importing import import_
from cli.store.info import info
from cli.store.label import label
from cli.store.layers import layers
from cli.store.merge import merge
from cli.store.pack import pack
from cli.store.rows import rows
from cli.store.unpack import unpack
from cli.store.verify import verify


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


for command in (dump, layers, info, verify, rows, label, merge, import_, export, pack, unpack):
    actstore.add_command(command)
for command in (fit, show, compare, evaluate, errors, direction, predictions, plot, decode, explain, doctor):
    probe.add_command(command)
