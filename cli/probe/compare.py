"""`probe compare`: probes against each other on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.result import Result, Table, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.probing.scores.comparing import Family


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
    from solvers.probing.scores.comparisons import Comparisons, record

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
    families = Comparisons(compared(files, question, paths))
    notes = [f"note: {note}" for note in families.notes]
    return Result({"families": [record(each) for each in families]}, _text(families), notes)


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


def _text(families: Sequence[Family]) -> list[str | Table]:
    from solvers.probing.scores.comparisons import better_line, blank_lines, heading, table_cells

    lines: list[str | Table] = []
    for family in families:
        lines += [*heading(family), Table(*table_cells(family)), *blank_lines(family), ""]
    return [*lines, better_line(families[0])]
