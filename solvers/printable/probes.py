"""Probes as a table: what ``print(probes)`` and a notebook show, in the words of ``probe show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from solvers.printable import html_safe, printable
from solvers.printable.tables import Column, html_table, text_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["probes_html", "probes_text"]

_USUAL = ("train", "val", "test")


def probes_text(probes: Sequence[Any], failures: Mapping[str, str]) -> str:
    """Return a line per probe: errors by split, C, gap; within 80 columns. Then the layers that have none.

    ``*`` beside C says that it lies at an end of those tried.
    """
    lines = [text_table(_columns(probes))] if probes else ["no probes"]
    return "\n".join([*lines, *(printable(line) for line in _failed(failures))])


def probes_html(probes: Sequence[Any], failures: Mapping[str, str]) -> str:
    """Return the same as HTML."""
    table = html_table(_columns(probes)) if probes else "<p>no probes</p>"
    return table + "".join(f"<p>{html_safe(line)}</p>" for line in _failed(failures))


def _failed(failures: Mapping[str, str]) -> list[str]:
    return [f"layer {layer!r} has no probe: {reason}" for layer, reason in failures.items()]


def _columns(probes: Sequence[Any]) -> list[Column]:
    found = dict.fromkeys(split for probe in probes for split in probe.error)
    splits = [
        *(split for split in _USUAL if split in found),
        *(split for split in found if split not in _USUAL),
    ]
    scored = next((split for split in reversed(_USUAL) if split in splits), splits[-1] if splits else None)
    several = [
        name
        for name in ("target", "step", "kind", "seed")
        if len({getattr(probe, name) for probe in probes}) > 1
    ]
    columns = [Column("layer", [str(probe.layer) for probe in probes], left=True)]
    columns += [
        Column(name, [str(getattr(probe, name)) for probe in probes], left=name in ("target", "kind"))
        for name in several
    ]
    columns += [Column("width", [f"{probe.width}" for probe in probes], spare=4)]
    columns += [
        Column(f"error {split}", [_number(probe.error.get(split)) for probe in probes]) for split in splits
    ]
    columns += [Column(f"CE {scored}", [_number(probe.cross_entropy.get(scored)) for probe in probes], spare=3)]
    columns += [
        Column("C", [f"{probe.C:g}" + "*" * bool(probe.proof.chosen.get("at_end")) for probe in probes]),
        Column("gap (nats)", [f"{probe.gap_nats:.1e}" if probe.penalised else "-" for probe in probes]),
        Column("engine", [str(probe.engine) for probe in probes], left=True, spare=5),
    ]
    missed = any(probe.status != "converged" for probe in probes)
    return columns + [Column("status", [str(probe.status) for probe in probes], left=True)] * missed


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
