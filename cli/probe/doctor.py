"""`probe doctor`: which engines work here, and why the others do not."""

from __future__ import annotations

import click

from cli.result import Result, Table, command


@command()
def doctor() -> Result:
    """Say which engines work here, and why the others do not.

    \b
    Example:
      probe doctor
    """
    from solvers.engines import choice

    findings = [
        {"engine": name, "works": (why := choice.available(name)) is None, "why_not": why}
        for name in choice.names()
    ]
    table = Table(
        ["engine", "works here", "why not"],
        [[str(row["engine"]), "yes" if row["works"] else "no", str(row["why_not"] or "")] for row in findings],
    )
    return Result(
        {"engines": findings},
        [table, "cupy: not yet run on hardware by this project; its arithmetic is tested through NumPy."],
    )


def engine_named(_context: click.Context, _option: click.Parameter, given: str) -> str:
    """The name of an engine, or auto. BadParameter where there is none of that name."""
    if given != "auto":  # which needs no look at the engines that are installed
        from solvers.engines.choice import names

        if given not in names():
            msg = f"there is no engine {given!r}; expected auto, {', '.join(names())}"
            raise click.BadParameter(msg)
    return given
