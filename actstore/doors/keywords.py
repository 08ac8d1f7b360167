"""The options of ``actstore dump`` as keywords: one table of names and defaults, and what they are made into."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, TypedDict, TypeVar, cast

from actstore.errors import DumpError
from actstore.reductions.settings import ReductionSettings

__all__ = ["CreateKeywords", "DumpKeywords", "as_settings", "patterns", "shows_keywords"]

Door = TypeVar("Door", bound=Callable[..., Any])


class CreateKeywords(TypedDict, total=False):
    """What ``actstore.create`` takes by keyword."""

    exclude_layers: str | Sequence[str]
    row: str | None
    batch_size: int
    limit: int | None
    sample_rows: float | None
    pool: str | Sequence[str] | Mapping[str, str]
    random_features: int | None
    random_projection: int | None
    dtype: str | None
    seed: int
    reductions: ReductionSettings | None
    axes: Mapping[str, str | Sequence[str]] | Sequence[str]
    device: str | None
    autocast: str | None
    trace: bool
    selfcheck: bool
    keep_input: str | None
    stop_early: bool
    batch_axis: Mapping[str, int] | Sequence[str]
    truncate: bool
    overwrite: bool
    resume: bool
    resume_anyway: bool


class DumpKeywords(CreateKeywords, total=False):
    """What ``actstore.dump`` takes by keyword besides the data and their labels."""

    step: int | None
    rank: int
    world_size: int
    skip_bad: bool


_DEFAULTS: dict[str, Any] = {
    "exclude_layers": (),
    "row": None,
    "batch_size": 256,
    "limit": None,
    "sample_rows": None,
    "pool": (),
    "random_features": None,
    "random_projection": None,
    "dtype": None,
    "seed": 0,
    "reductions": None,
    "axes": (),
    "device": None,
    "autocast": None,
    "trace": False,
    "selfcheck": True,
    "keep_input": None,
    "stop_early": False,
    "batch_axis": (),
    "truncate": False,
    "overwrite": False,
    "resume": False,
    "resume_anyway": False,
    "step": None,
    "rank": 0,
    "world_size": 1,
    "skip_bad": False,
}
_REDUCED = ("pool", "random_features", "random_projection", "dtype", "seed")
_CALLED = {"sample_rows": "sample"}
"""What a keyword is called in the settings of a dump, where that is shorter."""


def shows_keywords(keywords: type, **defaults: Any) -> Callable[[Door], Door]:
    """Make a function with ``**options`` show these keywords in ``help()`` and completion, and refuse others.

    Args:
        keywords: a TypedDict of this file.
        defaults: those that differ at this door.
    """

    def decorate(function: Door) -> Door:
        own = inspect.signature(function)
        there = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        shown = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, _DEFAULTS[name]),
                annotation=annotation,
            )
            for name, annotation in _annotations(keywords).items()
        ]
        known = [*(one.name for one in there), *(one.name for one in shown)]

        @wraps(function)
        def door(*given: Any, **options: Any) -> Any:
            unknown = next((name for name in options if name not in known), None)
            if unknown is not None:
                raise TypeError(_unexpected(function.__name__, unknown, known))
            return function(*given, **(defaults | options))

        door.__signature__ = own.replace(parameters=[*there, *shown])  # type: ignore[attr-defined]
        return cast("Door", door)

    return decorate


def _annotations(keywords: type) -> dict[str, Any]:
    """The types of a TypedDict's keys as they are written, those that it inherits first."""
    found = inspect.get_annotations(keywords)
    return {name: getattr(kind, "__forward_arg__", kind) for name, kind in found.items()}


def _unexpected(function: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(known)}"
    return f"{function}() got an unexpected keyword {name!r}; {advice}"


def as_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords as fields of ``DumpSettings``.

    Raises:
        DumpError: reductions said in two ways, a pool, axes or a number that are none.
    """
    settings = {_CALLED.get(name, name): value for name, value in options.items() if name not in _REDUCED}
    settings["reductions"] = _reductions(options)
    settings["exclude_layers"] = patterns(options.get("exclude_layers", ()), "exclude_layers")
    settings["axes"] = tuple(_axes(options.get("axes", ())))
    settings["batch_axis"] = tuple(_batch_axes(options.get("batch_axis", ())))
    return settings


def _reductions(options: Mapping[str, Any]) -> ReductionSettings:
    given = options.get("reductions")
    apart = {name: options[name] for name in _REDUCED if options.get(name, _DEFAULTS[name]) != _DEFAULTS[name]}
    if given is None:
        apart |= {"pool": _pools(apart["pool"])} if "pool" in apart else {}
        return ReductionSettings(**apart)
    if not isinstance(given, ReductionSettings):
        msg = f"reductions is {given!r}; expected actstore.Reductions(pool=..., dtype=...)"
        raise DumpError(msg)
    if set(apart) - {"seed"}:
        msg = f"reductions and {', '.join(sorted(apart))} were given; they say the same: keep one of them"
        raise DumpError(msg)
    return replace(given, **apart)


def _pools(pool: str | Sequence[str] | Mapping[str, str]) -> tuple[str, ...]:
    """``"mean"``, ``["mean", "fc*=none"]`` or ``{"conv*": "mean"}`` as the command line says them."""
    if isinstance(pool, Mapping):
        return tuple(f"{pattern}={how}" for pattern, how in pool.items())
    return patterns(pool, "pool", "'mean', ['conv*=mean'] or {'conv*': 'mean'}")


def _axes(axes: Mapping[str, str | Sequence[str]] | Sequence[str]) -> Iterable[str]:
    """``{"conv*": ("channel", "height")}`` as ``conv*=channel,height``."""
    if not isinstance(axes, Mapping):
        return patterns(axes, "axes", "{'conv*': ('channel', 'height', 'width')}") if axes else ()
    return (
        f"{pattern}={names if isinstance(names, str) else ','.join(names)}" for pattern, names in axes.items()
    )


def _batch_axes(axes: Mapping[str, int] | Sequence[str]) -> Iterable[str]:
    """``{"encoder.*": 1}`` as ``encoder.*=1``."""
    if not isinstance(axes, Mapping):
        return patterns(axes, "batch_axis", "{'encoder.*': 1}") if axes else ()
    return (f"{pattern}={axis}" for pattern, axis in axes.items())


def patterns(
    given: str | Sequence[str], what: str = "layers", example: str = "['conv*', 'fc1']"
) -> tuple[str, ...]:
    """Return one text or several as a tuple.

    Raises:
        DumpError: something else, by its name.
    """
    if isinstance(given, str):
        return (given,)
    several = tuple(given) if isinstance(given, Iterable) else (given,)
    strangers = [one for one in several if not isinstance(one, str)]
    if strangers:
        msg = f"{what} holds {strangers[0]!r}; expected text, such as {example}"
        raise DumpError(msg)
    return several
