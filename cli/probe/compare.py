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
@click.argument("others", nargs=-1, metavar="[PROBES...]")
@click.option("--layers", metavar="A,B", help="Layer B against layer A; of more, each against A.")
@click.option("--steps", metavar="S,T", help="Step T against step S, layer by layer.")
@click.option("--targets", metavar="T,U", help="Target U against target T, layer by layer.")
@click.option("--reference", metavar="LAYER", help="The layer that all others are compared with.")
@click.option(
    "--mean", "as_mean", is_flag=True, help="The mean over the files, each a run of its own: a seed, a network."
)
@click.option("--metric", default="error", show_default=True, metavar="M", help="The metric that is compared.")
@click.option("--split", metavar="SPLIT", help="The rows; test by default.")
@click.option(
    "--positive", metavar="CLASS", help="What metrics of two classes call positive; the second by default."
)
def compare(probes: str, others: tuple[str, ...], as_mean: bool, **options: str | None) -> Result:
    """Compare probes on the same rows: the difference of a metric, its interval of 95%, p, and p of the whole family.

    Of one file, every layer is compared with a reference: the one of --reference, or the best by `val`, or, where no
    `val` was kept, the best on the very rows; the intervals are simultaneous then, and it is said. Of two files, each
    probe of the second is compared with that of the first. With --mean the files are runs: within each, layers, steps
    or targets are compared, and shown is the mean difference, with a 95% interval of what further runs would change
    (Student's t).

    p is of no difference: by flipped signs of groups (of rows without groups) for means, by the standard error of a
    paired bootstrap for others. A family is all comparisons of one target, step, metric and split, `p family` Holm's.

    \b
    Example:
      probe compare probes.h5 --layers input,hidden2
      probe compare probes.h5 --metric accuracy --reference input
      probe compare seed-0.h5 seed-1.h5 seed-2.h5 --mean --layers skip,skip+deep
    """
    import solvers
    from solvers.probing.scores.comparing import Question, compared
    from solvers.probing.scores.comparisons import Comparisons, record
    from solvers.probing.scores.over_runs import compare_over_runs

    ways = [name for name in ("layers", "steps", "targets", "reference") if options[name] is not None]
    paths = (probes, *others)
    _refuse_together(ways, paths, as_mean)
    files = [solvers.load(path) for path in paths]
    asked: dict[str, Any] = {"reference": options["reference"]}
    for name in ways:
        if name != "reference":
            known = [str(getattr(probe, name[:-1])) for probe in files[0].values()]
            words = _pair_of(name, str(options[name]), known)
            asked[name] = tuple(map(int, words)) if name == "steps" else words
    asked |= {name: options[name] for name in ("metric", "split", "positive")}
    families = (
        compare_over_runs(dict(zip(paths, files, strict=True)), **asked)
        if as_mean
        else Comparisons(compared(files, Question(**asked), paths))
    )
    notes = [f"note: {note}" for note in families.notes]
    return Result({"families": [record(each) for each in families]}, _text(families), notes)


def _refuse_together(ways: Sequence[str], paths: Sequence[str], as_mean: bool) -> None:
    """Refuse files and ways to compare that do not go together."""
    choices = "--layers, --steps, --targets, --reference LAYER"
    if as_mean:
        if len(set(paths)) < max(len(paths), 2):
            raise click.UsageError("--mean is over runs: give two files or more, each of a run of its own")
        if len(ways) != 1:
            raise click.UsageError(f"--mean needs one way to compare within each run: {choices}")
    elif len(paths) > 2:
        raise click.UsageError(
            f"{len(paths)} files were given; two are compared with each other, and with --mean layers within each"
        )
    elif len(ways) + len(paths) > 2:
        raise click.UsageError(f"choose one way to compare: {choices}, or a second file")


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
