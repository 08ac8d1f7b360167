"""Some of the probes of a file: of layers by pattern, targets and steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.probing.probes import Probes

__all__ = ["only_probes"]


def only_probes(
    probes: Probes, where: str, layers: Sequence[str], targets: Sequence[str], steps: Sequence[int]
) -> Probes:
    """Return the probes of these layers, targets and steps; of all where none is named.

    Raises:
        ClickException: a target or step that there is not, or no probe of all that is asked for.
        LayerError: a pattern that picks no layer; the message names the nearest.
    """
    from actstore.patterns import pick_names
    from solvers.probing.probes import Probes

    if not (layers or targets or steps):
        return probes
    wanted: dict[str, Sequence[Any]] = {"target": targets, "step": steps}
    for what, values in wanted.items():
        there = list(dict.fromkeys(getattr(probe, what) for probe in probes.values()))
        for value in values:
            if value not in there:
                raise click.ClickException(f"{where} has no {what} {value!r}; {_known(what, value, there)}")
    names = list(dict.fromkeys(probe.layer for probe in probes.values()))
    wanted["layer"] = pick_names(layers, names) if layers else ()
    found = [
        probe
        for probe in probes.values()
        if all(not values or getattr(probe, what) in values for what, values in wanted.items())
    ]
    if not found:
        raise click.ClickException(
            f"{where} has no probe of these layers, targets and steps at once; leave one of the options out"
        )
    failures = {name: why for name, why in probes.failures.items() if not layers or name in wanted["layer"]}
    return Probes(found, failures, probes.parts, probes.beside)


def _known(what: str, value: Any, there: Sequence[Any]) -> str:
    from actstore.wording import hint

    return f"it has {', '.join(map(str, there))}" if what == "step" else hint(value, there)
