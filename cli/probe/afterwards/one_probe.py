"""The one probe of a file that a command is about, and the store that it is asked of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.result import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Callable

    from actstore.store.reading.reader import Store
    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes

import click

__all__ = ["one_probe", "probe_options", "store_of"]

_NAMES = ("layer", "target", "step", "seed")
_OPTIONS = (
    click.option("--layer", metavar="LAYER", help="The probe of this layer, where PROBES has several."),
    click.option("--target", metavar="NAME", help="The probe for this target, where PROBES has several."),
    click.option("--step", type=click.IntRange(min=0), metavar="N", help="The probe of this training step."),
    click.option("--seed", type=int, metavar="N", help="The probe of this draw of columns."),
)


def probe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose one probe."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def one_probe(fitted: Probes, file: str, **asked: Any) -> Probe:
    """Return the probe of a layer, target, step and seed; what is None may be left open where there is only one.

    Raises:
        WrongUsage: several probes fit, or the file has none of what was asked for; the message says what there is.
    """
    from actstore.wording import hint, listed

    found = list(fitted.values())
    if not found:
        raise WrongUsage(f"{file} has no probes: none of its layers could be fitted")
    for name in _NAMES:
        there = list(dict.fromkeys(getattr(probe, name) for probe in found))
        value = asked.get(name)
        if value is None and len(there) > 1:
            few = ", ".join(map(str, there)) if isinstance(there[0], int) else listed(there)
            raise WrongUsage(f"{file} has probes of several {name}s; say which with --{name}: {few}")
        if value is not None:
            if value not in there:
                if isinstance(there[0], int):
                    raise WrongUsage(f"{file} has no {name} {value}; it has {', '.join(map(str, there))}")
                raise WrongUsage(f"{file} has no {name} {value!r}; {hint(value, there)}")
            found = [probe for probe in found if getattr(probe, name) == value]
    return found[0]


def store_of(path: str, probe: Probe) -> Store:
    """Open a store, at the step of the probe where it has several."""
    import actstore
    from cli.probe.bridge import open_store

    with actstore.open(path) as store:
        several = len(store.steps) > 1
    return open_store(path, probe.step if several else None)
