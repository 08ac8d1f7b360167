"""What the commands share: options, tables, sizes, progress, JSON."""

from __future__ import annotations

import json
import math
import re
import sys
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from solvers.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np

step_option = click.option(
    "--step", type=click.IntRange(min=0), metavar="N", help="Which training step, where STORE has several."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the output if it is there already.")


_NOTICED = "cli.shared.noticed"
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


class Size(click.ParamType):
    """A number of bytes as a person writes it: 2GB, 512MB, 1GiB, 1000000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes, at least one."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-zA-Z]*)\s*", str(value))
        unit = _BYTES.get(found[2].upper()) if found else None
        count = int(float(found[1]) * unit) if found and unit else 0
        if count < 1:
            self.fail(f"{value!r} is no size; write for example 2GB, 512MB or 1GiB", param, ctx)
        return count


def as_json_text(value: Any) -> str:
    """A value as JSON; what JSON has no number for (NaN, infinity) becomes null."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, default=_plain)
    # JSON may write any character as its number; those that would act on a terminal are.
    return re.sub(r"[^\n -~]", lambda found: _as_number(found[0]), text)


def _as_number(character: str) -> str:
    if printable(character) == character:
        return character
    return json.dumps(character)[1:-1] if ord(character) != 127 else "\\u007f"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as what they hold."""
    return _finite(value.tolist())


def echo_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> None:
    """Print aligned columns: those in ``left`` to the left, the others to the right; see ``printable``."""
    lines = [[printable(cell) for cell in line] for line in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def size(count: float | None) -> str:
    """A number of bytes as a person reads it: '1.5 MB'."""
    if count is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """A time as a person reads it: '2 min 5 s'."""
    whole = round(seconds)
    for unit, parts, smaller in ((86400, "d", "h"), (3600, "h", "min"), (60, "min", "s")):
        if whole >= unit:
            rest = whole % unit // {"h": 3600, "min": 60, "s": 1}[smaller]
            return f"{whole // unit} {parts} {rest} {smaller}"
    return f"{whole} s"


def shape(feature_shape: Sequence[int] | None) -> str:
    """A feature shape as a person reads it: '32 x 28 x 28'."""
    if feature_shape is None:
        return "?"
    return " x ".join(str(length) for length in feature_shape) or "1"


class ProgressLine:
    """One line on stderr that is rewritten in place; silent where stderr is not a terminal."""

    def __init__(self) -> None:
        self.active = sys.stderr.isatty()
        self.last_seconds = 0.0
        self.width = 0

    def show(self, text: str, *, force: bool = False) -> None:
        """Rewrite the line, at most ten times a second unless forced."""
        now = time.monotonic()
        if not self.active or (not force and now - self.last_seconds < 0.1):
            return
        self.last_seconds = now
        text = printable(text)
        click.echo("\r" + text.ljust(self.width), nl=False, err=True)
        self.width = len(text)

    def clear(self) -> None:
        """Wipe the line, so that the next output starts on an empty one."""
        if self.active and self.width:
            click.echo("\r" + " " * self.width + "\r", nl=False, err=True)
            self.width = 0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()


exclude_option = click.option(
    "--exclude-layers",
    "exclude_layers",
    multiple=True,
    metavar="PATTERN",
    help="Layers to leave out, whatever --layers picks; repeatable.",
)
ignore_label_option = click.option(
    "--ignore-label",
    multiple=True,
    metavar="VALUE",
    help='A label that means "no label", such as -100 or NA; repeatable. An empty cell, null and NaN always do.',
)


def one_line(error: BaseException) -> str:
    """The message of an error with its notes, on one line."""
    parts = [str(error), *getattr(error, "__notes__", [])]
    return printable(" ".join("; ".join(part for part in parts if part).split()))


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Show each warning of what happens within as a line on stderr, also where it ends in an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for warning in caught:
                notice(f"warning: {warning.message}")


def notice(text: str) -> None:
    """Show a line on stderr at once; the document of ``--json`` has it among its messages, too."""
    line = " ".join(text.split())
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta.setdefault(_NOTICED, []).append(line)
    click.echo(printable(line), err=True)


def notice_features(data: Iterable[Any]) -> None:
    """Say which columns of tables are the features of the data, a line for each table."""
    for item in data:
        line = getattr(item.source, "features_line", None)
        if line is not None:
            notice(line)


def noticed(context: click.Context) -> list[str]:
    """The lines that a command has shown so far, one after the other."""
    return list(context.meta.get(_NOTICED, ()))


def describe_labels(labels: np.ndarray) -> dict[str, int]:
    """How many classes a target has, and how many rows lack a label."""
    import numpy as np

    present = np.ma.compressed(labels)
    return {"classes": len(np.unique(present)), "unlabelled": len(labels) - len(present)}


def count_labels(name: str, labels: np.ndarray) -> str:
    """How many rows have a label, and how many classes these are."""
    found = describe_labels(labels)
    labelled = len(labels) - found["unlabelled"]
    return f"{name}: {labelled:,} of {len(labels):,} rows have a label, {found['classes']:,} classes"


def layers_of(rows: int, layers: int) -> str:
    """Return `1,000 rows of 2 layers`, or of `1 layer`."""
    return f"{rows:,} row{'s' * (rows != 1)} of {layer_count(layers)}"


def layer_count(layers: int) -> str:
    """Return `2 layers`, or `1 layer`."""
    return f"{layers:,} layer{'s' * (layers != 1)}"


def reductions_in_words(steps: Any) -> str:
    """Reductions as words: `pool mean, random_features 8 of 128`."""
    if not isinstance(steps, list) or not steps:
        return "nothing"
    words = []
    for step in steps:
        if not isinstance(step, dict):
            return "something unknown"
        indices = step.get("indices")
        count = (
            indices.get("count")
            if isinstance(indices, dict)
            else len(indices)
            if isinstance(indices, list)
            else None
        )
        given = [
            str(step[name]) for name in ("how", "kind", "pool", "to") if isinstance(step.get(name), str | int)
        ]
        number = [f"{count} of {step.get('of')}"] if count is not None else []
        words.append(" ".join([str(step.get("step")), *given, *number]))
    return ", ".join(words)
