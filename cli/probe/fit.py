"""`probe fit`: a certified linear probe for every layer and target."""

from __future__ import annotations

import os
import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.probe.choice import choice_lines, class_lines
from cli.probe.fit_options import fit_options, fit_settings
from cli.probe.steps import refuse_other_rows, steps_of
from cli.ranks import rank_and_world_size
from cli.result import Failure, Result, Table, command
from cli.shared import ProgressLine, duration, notice, shown_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from solvers.probing.fit_layers import LayerProgress
    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes


@command()
@click.argument("activations", nargs=-1, required=True, metavar="STORE | [SPLIT=]FEATURES...")
@fit_options
def fit(output: str, overwrite: bool, **given: Any) -> Result:
    """Fit a linear probe at every layer, and prove how far each is from the optimum.

    C is picked on the `val` split (also called validation, valid or dev); without one, by folds of `train` or on a
    tenth of it, as is said in the end. The features may also be your own, any file of arrays (.npy, .pt, .h5:/PATH,
    ...) or table of numbers (.csv, .parquet), each with its --target. Labels of a file with a column `id` go to the
    rows of these ids.

    Finished layers are kept in PROBES.parts until all of them are: after Ctrl-C or a crash the same command goes on.
    With --rank several processes share the layers through that folder; the first that has them all writes PROBES.

    \b
    Examples:
      probe fit mnist.h5 --target digit -o probes.h5
      probe fit words.acts --target upos --target deprel --memory 2GB -o probes.h5
      probe fit gpt.h5 --target digit --layers '*.attn' --split-features 12 -o heads.h5
      probe fit run.acts --step all --one-C --target digit -o steps.h5
      probe fit run.acts --step 200 --target digit --warm-start step100.h5 -o step200.h5
      probe fit train=h.npz:train test=h.npz:test --target train:y=y.npz:train --target test:y=y.npz:test -o probes.h5
    """
    import solvers
    from solvers.probing.finished.part_file import question_of
    from solvers.probing.probe_file import refuse_existing

    warm_start = given.pop("warm_start")
    rank, world_size = rank_and_world_size(given["rank"], given["world_size"], os.environ, lambda: None)
    if rank >= world_size:
        raise click.UsageError(
            f"rank {rank} of a world size of {world_size}; expected a rank from 0 to the world size less one"
        )
    may_be_there = overwrite or (world_size > 1 and question_of(Path(output)) is not None)  # of another rank
    refuse_existing(output, may_be_there, inputs=() if warm_start is None else (warm_start,))
    steps = steps_of(given["activations"], given["step"])
    told = {
        **fit_settings(given),
        "warm_start": None if warm_start is None else solvers.load(warm_start),
        "parts": f"{output}.parts",
        "rank": rank,
        "world_size": world_size,
        "overwrite": overwrite,
        "command": shlex.join(["probe", *sys.argv[1:]]),
    }
    probes = _fitted(given, steps, told)
    probes.save(output, overwrite=overwrite)
    lacking = shortfalls(probes)
    of_rank = {"rank": rank, "world_size": world_size, "fitted": fitted_here(probes)} if world_size > 1 else {}
    return Result(
        describe(output, probes) | of_rank,
        [*_summary(output, probes), *_share(of_rank, probes)],
        failure=Failure("not-proven", lacking) if lacking else None,
    )


def _fitted(given: dict[str, Any], steps: Sequence[int | None], told: dict[str, Any]) -> Probes:
    """The probes of all steps; [None] is the only one, or no step at all."""
    import solvers
    from actstore.rows.ignored_labels import warned_of_unfound
    from cli.probe.bridge import open_problem, with_stored
    from cli.probe.row_columns import RowOptions

    rows = RowOptions(
        given["split_by"], given["group_by"], given["ignore_label"], given["concat"], given["exclude_layers"]
    )
    asked = (given["activations"], given["targets"], given["patterns"])
    with ExitStack() as stack:
        stack.enter_context(shown_warnings())
        with warned_of_unfound(rows.ignore_label) as ignored:
            problems = [stack.enter_context(open_problem(*asked, step, rows)) for step in steps]
        line = stack.enter_context(ProgressLine())
        first, several = problems[0], len(problems) > 1
        refuse_other_rows(given["activations"][0], problems)
        probes = solvers.fit_layers(
            {each.step: each.layers for each in problems} if several else first.layers,
            first.labels,
            splits=first.splits,
            groups=first.groups,
            progress=Reporter(line),
            notice=_noticed_over(line, ignored.lines),
            step=0 if several else first.step,
            fingerprint={each.step: each.fingerprint for each in problems},
            ids=first.ids,
            **told,
        )
        stored = {each.step: each.stored for each in problems}
        return probes.changed(lambda probe: with_stored(probe, stored[probe.step]))


class Reporter:
    """Shows how far a fit is, on one line."""

    def __init__(self, line: ProgressLine) -> None:
        self.line = line
        self.began_s = time.monotonic()  # of the layer

    def __call__(self, progress: LayerProgress) -> None:
        """Show a report; a layer that is begun is always shown."""
        text = f"layer {progress.done + 1} of {progress.total}: {progress.layer}"
        if progress.fit is None:
            self.began_s = time.monotonic()
        else:
            fit = progress.fit
            text += f" · {fit.done} of {fit.total} columns"
            text += f" · worst gap {fit.worst_gap_nats:.0e}" if 0 <= fit.worst_gap_nats < float("inf") else ""
            text += f" · {duration(time.monotonic() - self.began_s)}"
        self.line.show(text, force=progress.fit is None)


def _noticed_over(line: ProgressLine, warned: Sequence[str]) -> Callable[[str], None]:
    """Show notices but those that were warned of."""

    def show(text: str) -> None:
        if text not in warned:
            line.clear()
            notice(text)

    return show


def describe(output: str, probes: Probes) -> dict[str, Any]:
    """Return what was fitted, as plain values; `probe show --json` has the scores."""
    return {
        "output": output,
        "probes": [
            {
                "layer": probe.layer,
                "target": probe.target,
                "step": probe.step,
                "C": probe.C,
                "status": str(probe.status),
                "gap_nats": probe.gap_nats if probe.penalised else None,
                "engine": probe.engine,
            }
            for probe in probes.values()
        ],
        "failures": dict(probes.failures),
    }


def _summary(output: str, probes: Probes) -> Iterator[str | Table]:
    """Yield how many probes there are, how near to the optimum, and how each C was chosen."""
    engines = ", ".join(dict.fromkeys(probe.engine for probe in probes.values()))
    gaps = [probe.gap_nats for probe in probes.values() if probe.penalised]
    unpenalised = len(probes) - len(gaps)
    proven = [f"each within {max(gaps):.1e} nats of its optimum"] if gaps else []
    if unpenalised:
        proven.append("unpenalised" if not gaps else f"but {unpenalised} unpenalised")
    by = f" by {', '.join([engines, *proven])}" if probes else ""
    yield f"{output}: {len(probes)} probe{'s' * (len(probes) != 1)}{by}"
    yield from class_lines(probes)
    every = list(probes.values())
    yield from choice_lines(every) if probes else ()
    yield from _train_errors([probe for probe in every if probe.proof.chosen.get("protocol") == "train"])


def fitted_here(probes: Probes) -> int:
    """Return how many layers (of all steps and draws) this process fitted, of those that ranks fitted together."""
    from solvers.probing.finished.parts import Parts

    return len(probes.parts.fitted) if isinstance(probes.parts, Parts) else 0


def _share(of_rank: dict[str, int], probes: Probes) -> Iterator[str]:
    """Yield what this rank did, where there are several."""
    if of_rank:
        layers = len(
            {(probe.layer, probe.step, probe.seed) for probe in probes.values()} | set(probes.failures)
        )
        yield f"rank {of_rank['rank']} of {of_rank['world_size']} fitted {of_rank['fitted']} of {layers} layers"


def _train_errors(probes: Sequence[Probe]) -> Iterator[str | Table]:
    """Yield the train error at every stated C, a row per probe, where that is what was asked for."""
    if not probes:
        return
    strengths = [each.C for each in probes[0].path]
    names = [name for name in ("target", "step", "seed") if len({getattr(probe, name) for probe in probes}) > 1]
    rows = [
        [
            probe.layer,
            *[str(getattr(probe, name)) for name in names],
            f"{probe.rows['train']:,}",
            *[f"{each.scores['error']['train']:.4f}" for each in probe.path],
        ]
        for probe in probes
    ]
    yield from ("", "train error by C:")
    yield Table(["layer", *names, "N", *[f"C={C:g}" for C in strengths]], rows)


def shortfalls(probes: Probes) -> list[str]:
    """Return a line for each layer without a certified probe. Without a penalty there is no certificate to have."""
    several = len({probe.target for probe in probes.values()}) > 1
    lines = [f"layer {layer!r} has no probe: {reason}" for layer, reason in probes.failures.items()]
    lines += [
        f"layer {probe.layer!r}{_for(probe) if several else ''} is {probe.status}: "
        f"gap {probe.gap_nats:.1e} nats; {probe.engine_reason}"
        for probe in probes.values()
        if probe.status not in _PROVEN
    ]
    lines += [
        f"layer {probe.layer!r}{_for(probe) if several else ''} is {each.status} at C={each.C:g}: "
        f"gap {each.gap_nats:.1e} nats"
        for probe in probes.values()
        for each in probe.path
        if probe.proof.chosen.get("protocol") == "train" and each.C != probe.C and each.status not in _PROVEN
    ]
    if any("gap_missed" in line for line in lines):
        lines.append("what helps where a gap is missed: a smaller C (--C), or a larger --gap")
    return lines


_PROVEN = {"converged", "unpenalised"}


def _for(probe: Probe) -> str:
    return f", target {probe.target!r},"
