"""How a fit is made: one field a setting, the same at every door.

A new setting is a field of :class:`FitSettings`, the same line in :class:`FitKeywords` (for type checkers and editors,
which cannot read the one off the other; a test holds the two together), and an option of ``probe fit`` that is called
as the field is.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import wraps
from numbers import Integral, Real
from typing import Any, TypedDict, TypeVar, cast

import numpy as np

from solvers.errors import ProblemError

__all__ = ["FitKeywords", "FitSettings", "takes_settings"]

FORMER = {"random_features": "feature_subset"}
"""Former names of settings, which every door still takes."""
_HOW = {"decides": False}
"""Of a field that says how the answer is come by and not what it is."""

Door = TypeVar("Door", bound=Callable[..., Any])


class FitKeywords(TypedDict, total=False):
    """What every door takes of :class:`FitSettings`, where the meanings are."""

    scale: bool
    class_weight: Mapping[Any, float] | str | None
    gap_nats: float
    full_path: bool
    feature_subset: int | None
    seed: int
    engine: str
    device: str | None
    memory_bytes: int | None
    threads: int | None


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How probes are fitted, whatever to; refuses what no fit can be made with.

    Args:
        scale: take the penalty in columns of unit standard deviation (weighted, population, over the training rows).
        class_weight: None, "balanced", or weights by label; ``solvers.problem.weights`` has the formula.
        gap_nats: certified distance from the optimum, in nats per row; with validation that of the chosen C,
            while those it is compared with need 1e-3.
        full_path: try every C, whatever validation says.
        feature_subset: fit on this many columns, drawn without replacement; the others get weight 0.
        seed: of all that is drawn.
        engine: "auto", or the name of one, which must then work here.
        device: "cpu", "cuda", or "cuda:N" for one of several GPUs; None takes what is there.
        memory_bytes: what rows and work may take, on the GPU where it fits: rows that do not fit half of it are
            streamed from their source on every pass, with the same result. None takes half of what is free. 64 MB
            may come on top, and what there is one of for each row. Less than one column needs is refused.
        threads: how many threads share the rows; None takes the cores that the process may use: by affinity, by the
            cgroup's quota, by OMP_NUM_THREADS. Another number changes sums by their rounding.

    Raises:
        ProblemError: a value of another kind or out of range, by its name.
    """

    scale: bool = False
    class_weight: Mapping[Any, float] | str | None = None
    gap_nats: float = 1e-5
    full_path: bool = False
    feature_subset: int | None = None
    seed: int = 0
    engine: str = field(default="auto")
    device: str | None = field(default=None, metadata=_HOW)
    memory_bytes: int | None = field(default=None, metadata=_HOW)
    threads: int | None = field(default=None, metadata=_HOW)

    def __post_init__(self) -> None:
        for name, (allowed, expected) in _RULES.items():
            value = getattr(self, name)
            if not allowed(value):
                msg = f"{name} is {value!r}; {expected}"
                raise ProblemError(msg)

    def asked(self) -> dict[str, Any]:
        """Return what decides the answer, as JSON values: fits of the same rows may be joined where these are equal."""
        deciding = [each.name for each in fields(FitSettings) if each.metadata.get("decides", True)]
        asked = {name: getattr(self, name) for name in deciding}
        weight = self.class_weight
        return asked | {"class_weight": repr(dict(weight)) if isinstance(weight, Mapping) else weight}


def _flag(value: object) -> bool:
    return isinstance(value, bool | np.bool_)


def _number(value: object, kind: type = Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _whole(value: Any, least: int) -> bool:
    return _number(value, Integral) and bool(value >= least)


def _positive(value: Any) -> bool:
    return _number(value) and bool(value > 0)


def _weighting(value: object) -> bool:
    return value is None or isinstance(value, Mapping) or (isinstance(value, str) and value == "balanced")


_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "scale": (_flag, "expected True or False"),
    "full_path": (_flag, "expected True or False"),
    "gap_nats": (_positive, "expected a positive number of nats, such as 1e-5"),
    "seed": (lambda value: _whole(value, 0), "expected an int of 0 or more"),
    "feature_subset": (
        lambda value: value is None or _whole(value, 1),
        "expected a number of columns, 1 or more",
    ),
    "memory_bytes": (
        lambda value: value is None or _positive(value),
        "expected a positive number of bytes, such as 2 * 10**9",
    ),
    "threads": (lambda value: value is None or _whole(value, 1), "expected a number of threads, 1 or more"),
    "class_weight": (_weighting, "expected None, 'balanced' or a dict from label to weight"),
}
"""What the value of a setting may be, and how that is said; in the order in which they are looked at."""


def takes_settings(**defaults: Any) -> Callable[[Door], Door]:
    """Make a function with ``**settings`` show the fields of :class:`FitSettings` as keywords of its own.

    ``help()`` and completion read them off the signature; a keyword that is none of them is answered with the nearest.
    ``defaults`` are those that differ at this door.
    """

    def decorate(function: Door) -> Door:
        own = inspect.signature(function)
        there = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        shown = [
            *there,
            *(_parameter(each.name, each.type, defaults.get(each.name, each.default)) for each in _fields()),
        ]
        known = {each.name for each in shown}

        @wraps(function)
        def door(*given: Any, **settings: Any) -> Any:
            settings = _by_new_names(function.__name__, settings)
            unknown = next((name for name in settings if name not in known), None)
            if unknown is not None:
                raise TypeError(_unexpected(function.__name__, unknown, sorted(known)))
            return function(*given, **(defaults | settings))

        door.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
        return cast("Door", door)

    return decorate


def _by_new_names(function: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with those that have a former name under the one of today."""
    for former, name in FORMER.items():
        if former in settings and name in settings:
            msg = f"{function}() got both {name!r} and {former!r}, its former name; give the first"
            raise TypeError(msg)
    return {FORMER.get(name, name): value for name, value in settings.items()}


def _fields() -> tuple[Any, ...]:
    return fields(FitSettings)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _unexpected(function: str, name: str, known: list[str]) -> str:
    near = [each for each in known if each.lower() == name.lower()]
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(known)}"
    return f"{function}() got an unexpected setting {name!r}; {advice}"
