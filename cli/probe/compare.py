"""`probe compare`: probes against each other on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.result import Result, Table, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.probing.scores.comparing import Family
    from solvers.scoring.comparisons import Comparison


@command()
@click.argument("probes", metavar="PROBES")
@click.argument("other", required=False, metavar="[PROBES]")
@click.option("--layers", metavar="A,B", help="Layer B against layer A; of more, each against A.")
@click.option("--steps", metavar="S,T", help="Step T against step S, layer by layer.")
@click.option("--targets", metavar="T,U", help="Target U against target T, layer by layer.")
@click.option("--reference", metavar="LAYER", help="The layer that all others are compared with.")
@click.option("--metric", default="error", show_default=True, metavar="M", help="The metric that is compared.")
@click.option("--split", metavar="SPLIT", help="The rows; test by default.")
@click.option(
    "--positive", metavar="CLASS", help="What metrics of two classes call positive; the second by default."
)
def compare(probes: str, other: str | None, **options: str | None) -> Result:
    """Compare probes on the same rows: the difference of a metric, its interval of 95%, p, and p of the whole family.

    Of one file, every layer is compared with a reference: the one of --reference, or the best by `val`, or, where no
    `val` was kept, the best on the very rows; the intervals are simultaneous then, and it is said. Of two files, each
    probe of the second is compared with that of the first.

    p is of no difference: by flipped signs of groups (of rows without groups) for means, by the standard error of a
    paired bootstrap for others. A family is all comparisons of one target, step, metric and split, `p family` Holm's.

    \b
    Example:
      probe compare probes.h5 --layers input,hidden2
      probe compare probes.h5 --metric accuracy --reference input
    """
    import solvers
    from solvers.probing.scores.comparing import Question, compared

    ways = [name for name in ("layers", "steps", "targets", "reference") if options[name] is not None]
    if len(ways) + (other is not None) > 1:
        raise click.UsageError(
            "choose one way to compare: --layers, --steps, --targets, --reference LAYER, or a second file"
        )
    paths = [path for path in (probes, other) if path is not None]
    files = [solvers.load(path) for path in paths]
    asked: dict[str, Any] = {"reference": options["reference"]}
    for name in ways:
        if name != "reference":
            known = [str(getattr(probe, name[:-1])) for probe in files[0].values()]
            words = _pair_of(name, str(options[name]), known)
            asked[name] = tuple(map(int, words)) if name == "steps" else words
    question = Question(str(options["metric"]), options["split"], options["positive"], **asked)
    families = compared(files, question, paths)
    notes = dict.fromkeys(f"note: {note}" for family in families for note in family.notes)
    return Result({"families": [_record(each) for each in families]}, _text(families), list(notes))


def _pair_of(name: str, given: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names of an option, two or more (of steps and targets, two); a known name may have commas in it."""
    words: list[str] = []
    for piece in given.split(","):
        joined = f"{words[-1]},{piece}" if words and words[-1] not in known else ""
        if joined and any(each == joined or each.startswith(f"{joined},") for each in known):
            words[-1] = joined
        else:
            words.append(piece)
    words = [word if word in known else word.strip() for word in words]
    if not all(words) or len(words) < 2 or (len(words) > 2 and name != "layers"):
        raise click.UsageError(f"--{name} {given} names no two {name}; write for example --{name} A,B")
    if len(set(words)) < len(words):
        raise click.UsageError(f"--{name} {given} names one twice; give different {name}")
    if name == "steps" and not all(word.isascii() and word.isdigit() for word in words):
        raise click.UsageError(f"--steps {given} are no two training steps; write for example --steps 0,500")
    return tuple(words)


def _record(family: Family) -> dict[str, Any]:
    """A family as an entry of `families`."""
    fields = ("target", "step", "split", "metric", "reference", "simultaneous")
    return {name: getattr(family, name) for name in fields} | {
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


_NUMBERS = ("value", "reference", "difference", "p", "p_family", "rows", "groups")


def _text(families: Sequence[Family]) -> list[str | Table]:
    lines: list[str | Table] = []
    for family in families:
        lines += [*_heading(family), _table(family), *_blank_lines(family), ""]
    better = "positive" if families[0].higher_is_better else "negative"
    return [
        *lines,
        f"difference: the layer minus its reference; {better} is better. p: of no difference between two",
    ]


def _heading(family: Family) -> list[str]:
    """What is compared on which rows, with what, and how many comparisons the family has."""
    one = family.comparisons[0].comparison
    rows = f"{one.rows:,} row{'s' * (one.rows != 1)}"
    rows += "" if one.groups is None else f" in {one.groups:,} group{'s' * (one.groups != 1)}"
    count = len(family.comparisons)
    step = "" if family.step is None else f", step {family.step}"
    lines = [
        f"{family.metric} of {family.target} on {family.split}{step}: {rows}",
        f"reference: {family.reference}{', the best found on these very rows' * family.simultaneous}",
    ]
    family_of = f"family: {count:,} comparison{'s' * (count != 1)}"
    if not family.simultaneous:
        return [*lines, f"{family_of}; 95% is of each by itself, p family is Holm's over all"]
    return [
        *lines,
        f"{family_of}; 95% and p family are simultaneous (max-t over all pairs), as the best was looked for",
    ]


def _table(family: Family) -> Table:
    rows = []
    for each in family.comparisons:
        found = each.comparison
        numbers = [f"{value:.4f}" if value == value else "" for value in (found.value, found.reference)]
        difference = f"{found.difference:+.4f}" if found.difference == found.difference else ""
        rows.append([each.name, *numbers, difference, _interval(found), _p(found.p), _p(found.p_family)])
    header = ["layer", family.metric, "reference", "difference", "95%", "p", "p family"]
    return Table(header, rows)


def _blank_lines(family: Family) -> list[str]:
    """Why comparisons have no interval and no p, a line for each reason."""
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


def _interval(found: Comparison) -> str:
    low, high = found.interval.low, found.interval.high
    return "" if not found.interval.how else f"[{low:+.4f}, {high:+.4f}]"


def _p(p: float) -> str:
    return "" if p != p else f"{p:.2g}"
