"""The training steps that `probe fit` is asked for: which of a store, and that their rows are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.probe.bridge import is_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.probe.bridge import LayerProblem


def steps_of(sources: Sequence[str], asked: Sequence[str]) -> Sequence[int | None]:
    """The steps that `--step` asks for, ascending and each once; [None] where it was not given.

    Raises:
        click.UsageError: no numbers, steps of what is no store, or a step that it does not have.
    """
    import actstore

    if not asked:
        return [None]
    if len(sources) != 1 or not is_store(sources[0]):
        raise click.UsageError("--step chooses a step of a store; features of your own have none")
    words = _step_words(asked)
    with actstore.open(sources[0]) as store:
        there = list(store.steps)
        complete = [step for step in there if words != ["all"] or store.at(step).complete]
    if words == ["all"]:
        left_out = [step for step in there if step not in complete]
        if left_out and complete:
            click.echo(
                f"note: step {', '.join(map(str, left_out))} of {sources[0]} is incomplete and left out: its dump did "
                "not finish, or is going on",
                err=True,
            )
        return sorted(complete or there)
    missing = [word for word in words if int(word) not in there]
    if missing:
        raise click.ClickException(
            f"{sources[0]} has no step {missing[0]}; it has {', '.join(map(str, there))}"
        )
    return sorted({int(word) for word in words})


def _step_words(asked: Sequence[str]) -> list[str]:
    """The numbers of `--step` as they were typed, or `all` alone; anything else is refused."""
    words = [word.strip() for each in asked for word in each.split(",")]
    numbers = all(word.isascii() and word.isdigit() and len(word) < 13 for word in words)
    if words != ["all"] and not numbers:
        raise click.UsageError(
            f"--step {','.join(asked)} is no list of steps; write for example --step 0,500 or --step all"
        )
    return words


def refuse_other_rows(store: str, problems: Sequence[LayerProblem]) -> None:
    """Refuse steps whose rows are not the same, which one held-out set could not be of."""
    import numpy as np

    first = problems[0]
    for other in problems[1:]:
        pairs: list[tuple[Any, Any]] = [(first.ids, other.ids), (first.splits, other.splits)]
        pairs += [(first.labels[target], other.labels[target]) for target in first.labels]
        if not all(np.array_equal(np.ma.filled(one), np.ma.filled(two)) for one, two in pairs):
            raise click.ClickException(
                f"{store} has other rows, splits or labels at step {other.step} than at step {first.step}, so they "
                "cannot be fitted together; fit each step into a file of its own"
            )
