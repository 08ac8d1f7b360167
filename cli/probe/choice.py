"""How C was chosen, and on which rows, in the words of `probe fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from solvers.probing.probe import Probe


def choice_lines(probes: Iterable[Probe]) -> list[str]:
    """Return a line on how C was chosen and one on the rows of every split, for each target that differs in them."""
    by_target = {probe.target: probe for probe in probes}
    said = {target: (_choice(probe.proof.chosen), _rows(probe)) for target, probe in by_target.items()}
    if len(set(said.values())) == 1:
        return [line for line in next(iter(said.values())) if line]
    return [f"{target}: {line}" for target, lines in said.items() for line in lines if line]


def _choice(chosen: Mapping[str, Any]) -> str:
    by, rows, of = chosen.get("by"), chosen.get("rows", 0), chosen.get("of", 0)
    if by == "val":
        named = f" (called {chosen['named']!r})" if "named" in chosen else ""
        return f"C was chosen on the {rows:,} labelled rows of `val`{named}"
    if by == "folds":
        left = f"; {of - rows:,} rows are trained on in every fold" if rows < of else ""
        asked = int(chosen.get("asked", chosen["folds"]))
        few = f", not {asked}," if chosen["folds"] < asked else ""
        return (
            f"C was chosen by {chosen['folds']} folds{few} of the {of:,} labelled training rows{_whole(chosen)}, "
            f"and fitted on all of them{left}"
        )
    if by == "holdout":
        return (
            f"C was chosen on {rows:,} of the {of:,} labelled training rows{_whole(chosen)}, which were set aside and "
            f"not trained on: {rows / of:.0%}{_other_part(chosen, rows / of)}"
        )
    return ""  # it was given


def _whole(chosen: Mapping[str, Any]) -> str:
    return f" ({chosen['groups']:,} groups, none divided)" if "groups" in chosen else ""


def _other_part(chosen: Mapping[str, Any], part: float) -> str:
    """Where groups are so large that another part was set aside than is meant: that it is so."""
    asked = float(chosen.get("asked", part))
    far = "groups" in chosen and not 0.5 * asked <= part <= 1.5 * asked
    return f" and not {asked:.0%}, since there are {chosen['groups']:,} groups" if far else ""


def _rows(probe: Probe) -> str:
    rows = ", ".join(f"{split} {count:,}" for split, count in probe.rows.items())
    unlabelled = sum(probe.unlabelled.values())
    nowhere = probe.proof.chosen.get("in_no_split", 0)
    more = [f"{unlabelled:,} have no label"] if unlabelled else []
    more += [f"{nowhere:,} are in no split"] if nowhere else []
    return "rows: " + "; ".join([rows, *more])
