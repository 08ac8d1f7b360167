"""Comparisons as an interpreter shows them, in the words of `probe compare`, and as a table of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, overload

from solvers.errors import ProblemError
from solvers.printable import printable
from solvers.printable.named import nearest
from solvers.printable.tables import Column, text_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from solvers.probing.probes import Probes
    from solvers.probing.scores.comparing import Family
    from solvers.scoring.comparisons import Comparison

__all__ = ["Comparisons", "better_line", "blank_lines", "comparisons", "heading", "record", "table_cells"]

_NUMBERS = ("value", "reference", "difference", "p", "p_family", "rows", "groups")
_OF_FAMILY = ("target", "step", "split", "metric")
_WIDE = 1_000
"""No name is shortened: names are what a comparison is of."""


class Comparisons(Sequence["Family"]):
    """Families of comparisons. It prints as `probe compare` does; ``to_pandas`` and ``to_dicts`` have a row for each.

    ``notes`` say what else a reader has to know of the rows.
    """

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)
        self.notes = tuple(dict.fromkeys(note for family in self._families for note in family.notes))

    def __len__(self) -> int:
        return len(self._families)

    @overload
    def __getitem__(self, place: int) -> Family: ...

    @overload
    def __getitem__(self, place: slice) -> Comparisons: ...

    def __getitem__(self, place: int | slice) -> Family | Comparisons:
        """Return one family, or those of a slice."""
        found = self._families[place]
        return Comparisons(found) if isinstance(found, tuple) else found

    def __repr__(self) -> str:
        if not self._families:
            return "no comparisons"
        lines: list[str] = []
        for family in self._families:
            header, rows = table_cells(family)
            columns = [
                Column(name, cells, left=place == 0)
                for place, (name, cells) in enumerate(zip(header, zip(*rows, strict=True), strict=True))
            ]
            told = [printable(line) for line in heading(family)]
            after = [printable(line) for line in blank_lines(family)]
            lines += [*told, text_table(columns, _WIDE), *after, ""]
        return "\n".join([*lines, better_line(self._families[0]), *(f"note: {note}" for note in self.notes)])

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a row for each comparison."""
        return [
            {name: getattr(family, name) for name in _OF_FAMILY} | each
            for family in self
            for each in record(family)["comparisons"]
        ]

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame, a row for each comparison.

        Raises:
            ProblemError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            msg = f"pandas is not installed ({error}); install it, or take .to_dicts()"
            raise ProblemError(msg) from error
        return pd.DataFrame(self.to_dicts()).astype({"step": "Int64", "groups": "Int64"})


def comparisons(probes: Probes, other: Probes | None, words: Mapping[str, Any]) -> Comparisons:
    """Return the comparisons of ``Probes.compare``, whose words are checked here; raises as it does."""
    from solvers.probing.scores.comparing import Question, compared

    given = {name: value for name, value in words.items() if value is not None}
    known = [each.name for each in fields(Question)]
    for name in given:
        if name not in known:
            msg = f"compare has no option {name!r}; {nearest(name, known)}"
            raise ProblemError(msg)
    ways = [name for name in _WAYS if name in given] + ["other"] * (other is not None)
    if len(ways) > 1:
        msg = f"{' and '.join(ways)} are two ways to compare; choose one"
        raise ProblemError(msg)
    for name in ("layers", "steps", "targets"):
        if name in given:
            given[name] = _several(name, given[name])
    if other is not None and not hasattr(other, "beside"):
        msg = f"other is a {type(other).__name__}; expected Probes, such as solvers.load('other.h5')"
        raise ProblemError(msg)
    files = [probes] if other is None else [probes, other]
    return Comparisons(compared(files, Question(**given)))


_WAYS = ("layers", "steps", "targets", "reference")


def _several(name: str, values: Any) -> tuple[Any, ...]:
    """Return two values, of layers two or more, that differ."""
    found = () if isinstance(values, str | int) else tuple(values)
    if len(found) < 2 or len(set(found)) < len(found) or (len(found) > 2 and name != "layers"):
        msg = f"{name} is {values!r}; expected a list of two{' or more' * (name == 'layers')} that differ"
        raise ProblemError(msg)
    return found


def record(family: Family) -> dict[str, Any]:
    """Return a family as plain values, its ``comparisons`` a list."""
    return {name: getattr(family, name) for name in (*_OF_FAMILY, "reference", "simultaneous", "runs")} | {
        "comparisons": [
            {
                "layer": each.name,
                "against": each.reference,
                **{name: getattr(each.comparison, name) for name in _NUMBERS},
                "low": each.comparison.interval.low,
                "high": each.comparison.interval.high,
                "interval": each.comparison.interval.how,
                "why": each.comparison.why,
            }
            for each in family.comparisons
        ]
    }


def heading(family: Family) -> list[str]:
    """Return what is compared on which rows, with what, and how many comparisons the family has."""
    one = family.comparisons[0].comparison
    rows = f"{one.rows:,} row{'s' * (one.rows != 1)}"
    rows += "" if one.groups is None else f" in {one.groups:,} group{'s' * (one.groups != 1)}"
    count = len(family.comparisons)
    step = "" if family.step is None else f", step {family.step}"
    if family.runs:
        rows = f"means over {family.runs} runs of {rows}"
    lines = [
        f"{family.metric} of {family.target} on {family.split}{step}: {rows}",
        f"reference: {family.reference}{', the best found on these very rows' * family.simultaneous}",
    ]
    family_of = f"family: {count:,} comparison{'s' * (count != 1)}"
    if family.runs:
        return [
            *lines,
            f"{family_of}; 95% and p are of the mean over further runs (t), not of new rows; p family is Holm's",
        ]
    if not family.simultaneous:
        return [*lines, f"{family_of}; 95% is of each by itself, p family is Holm's over all"]
    return [
        *lines,
        f"{family_of}; 95% and p family are simultaneous (max-t over all pairs), as the best was looked for",
    ]


def table_cells(family: Family) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a family's table."""
    rows = []
    for each in family.comparisons:
        found = each.comparison
        numbers = [f"{value:.4f}" if value == value else "" for value in (found.value, found.reference)]
        difference = f"{found.difference:+.4f}" if found.difference == found.difference else ""
        rows.append([each.name, *numbers, difference, _interval(found), _p(found.p), _p(found.p_family)])
    header = ["layer", family.metric, "reference", "difference", "95%", "p", "p family"]
    return header, rows


def blank_lines(family: Family) -> list[str]:
    """Return why comparisons have no interval and no p, a line for each reason."""
    names: dict[str, list[str]] = {}
    for each in family.comparisons:
        if each.comparison.why:
            names.setdefault(each.comparison.why, []).append(each.name)
    counted = (
        "the simultaneous intervals and p are over the other pairs"
        if family.simultaneous
        else "counted in the family all the same"
    )
    return [
        f"no interval and no p of {', '.join(of[:4])}{f' and {len(of) - 4:,} more' * (len(of) > 4)}: {why}; {counted}"
        for why, of in names.items()
    ]


def better_line(family: Family) -> str:
    """Return the line below all tables."""
    better = "positive" if family.higher_is_better else "negative"
    return f"difference: the layer minus its reference; {better} is better. p: of no difference between two"


def _interval(found: Comparison) -> str:
    low, high = found.interval.low, found.interval.high
    return "" if not found.interval.how else f"[{low:+.4f}, {high:+.4f}]"


def _p(p: float) -> str:
    return "" if p != p else f"{p:.2g}"
