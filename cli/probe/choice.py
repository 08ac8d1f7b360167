"""How C was chosen, and on which rows, as `probe fit` says it in the end and `probe show` ever after."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cli.shared import printable as safe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes

_CLASSES_SHOWN = 6


def choice_lines(probes: Sequence[Probe]) -> list[str]:
    """Return a line on how C was chosen for each target, and one on the rows of all splits."""
    chosen = [
        probe
        for probe in probes
        if probe.proof.chosen.get("how") != "given" or "protocol" in probe.proof.chosen
    ]
    targets = {probe.target: probe for probe in probes}
    rows = {target: _rows(probe) for target, probe in targets.items()}
    said = chosen_lines(chosen) if chosen else spread_lines(probes)
    if len(set(rows.values())) == 1:
        return [*said, f"rows: {next(iter(rows.values()))}"]
    return [*said, *(f"rows of {safe(target)}: {each}" for target, each in rows.items())]


def class_lines(probes: Probes) -> list[str]:
    """Return a line for each target on how many classes `train` has, with their rows where they are few."""
    import numpy as np

    lines = []
    for target in dict.fromkeys(probe.target for probe in probes.values()):
        table = next(
            (each for each in probes.beside.tables if (each.target, each.split) == (target, "train")), None
        )
        if table is None or table.classes is None:
            continue
        names, counts = np.unique(table.classes[table.arrays["truth"]], return_counts=True)
        each = [
            f"{_class(name)} {count:,}" for name, count in zip(names.tolist(), counts.tolist(), strict=True)
        ]
        listed = f" ({', '.join(each)})" if len(each) <= _CLASSES_SHOWN else ""
        lines.append(f"classes of {safe(target)} in `train`: {len(each):,}{listed}")
    return lines


def _class(name: object) -> str:
    """A class as it is read: text in quotes where its ends or a comma would not be seen."""
    text = str(name)
    plain = text == text.strip() and not {",", "(", ")", " "} & {*text}
    return safe(text if plain and text else repr(text))


def _rows(probe: Probe) -> str:
    rows = ", ".join(f"{safe(split) or '(none)'} {count:,}" for split, count in probe.rows.items())
    unlabelled = sum(probe.unlabelled.values())
    nowhere = probe.proof.chosen.get("in_no_split", 0)
    more = [f"{unlabelled:,} have no label"] if unlabelled else []
    more += [f"{nowhere:,} are in no split"] if nowhere else []
    return "; ".join([rows, *more])


def chosen_lines(probes: Sequence[Probe]) -> list[str]:
    """How C was chosen, a line for each way and target; and which layers have it at the end of the grid."""
    by_target: dict[str, dict[str, list[Probe]]] = {}
    for probe in probes:
        by_target.setdefault(probe.target, {}).setdefault(chosen_line(probe), []).append(probe)
    said = [
        f"C of {safe(target)}: {how}{_ends_said(alike)}"
        for target, ways in by_target.items()
        for how, alike in ways.items()
    ]
    return [*said, *spread_lines(probes)]


def spread_lines(probes: Sequence[Probe]) -> list[str]:
    """How the error changes with the draw of columns, a line for each layer, target and step drawn several times."""
    from solvers import spread_over_seeds

    found = [each for each in spread_over_seeds(probes) if each.metric == "error"]
    main = next(
        (split for split in ("test", "val", "train") if any(each.split == split for each in found)), None
    )
    return [
        f"error on `{main}` of {safe(each.layer)}{_of_several(probes, each)} over {len(each.seeds)} draws of columns "
        f"(seeds {each.seeds[0]} to {each.seeds[-1]}): mean {each.mean:.4f}, standard deviation {each.std:.4f}"
        for each in found
        if each.split == main
    ]


def _of_several(probes: Sequence[Probe], each: Any) -> str:
    """The target and step, where there are several."""
    target = f", {safe(each.target)}" if len({probe.target for probe in probes}) > 1 else ""
    return target + (f", step {each.step}" if len({probe.step for probe in probes}) > 1 else "")


def _ends_said(probes: Sequence[Probe]) -> str:
    """Which layers have C at the end of the grid, as the end of a line."""
    ends = list(dict.fromkeys(probe.layer for probe in probes if at_end(probe) and not _is_zero(probe)))
    return f"; at the end of the grid for {_some(ends)}, so try further" if ends else ""


def chosen_line(probe: Probe) -> str:
    """How the C of a probe was chosen, by which rows and how many."""
    chosen = probe.proof.chosen
    how, split = chosen.get("how"), safe(str(chosen.get("split", "val")))
    if chosen.get("protocol") == "train":
        stated = sorted({each.C for each in probe.path})
        listed = ", ".join(f"{C:g}" for C in stated)
        weakest = f"the weakest of the stated {listed}" if len(stated) > 1 else f"{listed}, as stated"
        return f"{weakest}; nothing was chosen and no rows were set aside"
    if how == "given" or (how is None and len(probe.path) <= 1):
        return "given, not chosen"
    rows = chosen.get("rows", probe.rows.get("val"))
    counted = "unknown rows" if not isinstance(rows, int) else f"{rows:,} rows"
    grid = {each.C for each in probe.path}
    of = f"of {len(grid)} values from {min(grid):g} to {max(grid):g} " if len(grid) > 1 else ""
    whole = chosen.get("of")  # open JSON: somebody else may have written it
    part = f", {rows / whole:.0%} of it" if isinstance(rows, int) and isinstance(whole, int) and whole else ""
    by = {
        "split": f"{counted} of `{split}`{_called(chosen)}",
        "set aside": f"{counted} set aside from `train` (shown as `{split}`, not trained on){part}{_by_groups(chosen)}",
        "folds": f"{chosen.get('folds', 'several')} folds of {counted} of `train`{_by_groups(chosen)}",
    }.get(str(how), f"{counted}, {safe(str(how))}")
    then = "; then fitted on all of `train`" if how == "folds" else ""
    metric = safe(str(chosen.get("select_by", "cross-entropy")))
    for_all = f", the best sum over {chosen['one_C']:,} probes" if isinstance(chosen.get("one_C"), int) else ""
    return f"chosen {of}by {metric} on {by}{for_all}{then}"


def _called(chosen: Mapping[str, Any]) -> str:
    """Return what the user calls the split."""
    return f" (called `{safe(str(chosen['named']))}`)" if "named" in chosen else ""


def _by_groups(chosen: Mapping[str, Any]) -> str:
    """How many groups were kept whole, and what came of it where they are few or large."""
    groups, asked = chosen.get("groups"), chosen.get("asked")
    if not isinstance(groups, int):
        return ""
    other = ""
    if chosen.get("how") == "folds" and isinstance(asked, int) and chosen.get("folds", asked) < asked:
        other = f", so not {asked} folds"
    elif chosen.get("how") == "set aside" and isinstance(asked, float) and chosen.get("of"):
        far = not 0.5 * asked <= chosen.get("rows", 0) / chosen["of"] <= 1.5 * asked
        other = f", so not {asked:.0%}" if far else ""
    return f" in {groups:,} groups, none divided{other}"


def at_end(probe: Probe) -> str | None:
    """Where the chosen C stands at the end of those tried: `lowest`, `highest`, or None."""
    grid = [each.C for each in probe.path]
    if min(grid, default=0) == max(grid, default=0) or probe.proof.chosen.get("how") == "given":
        return None
    if math.inf == probe.C:  # nothing lies beyond
        return None
    return "lowest" if min(grid) == probe.C else "highest" if max(grid) == probe.C else None


def _is_zero(probe: Probe) -> bool:
    """Whether a probe has no weights: nothing helps on new rows, and another C gives no more."""
    return not probe.weights.any()


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(safe(name) for name in names[:4])
    return f"{shown} and {len(names) - 4} others" if len(names) > 4 else shown
