"""Which engine fits: one asked for by name, or, under ``auto``, the one that bids most.

A file in this folder that defines ``ENGINE`` is an engine; a package adds one through the entry point
``solvers.engines``. What an engine is, :class:`solvers.goals.Engine` says; none is named here.
"""

from __future__ import annotations

import logging
import pkgutil
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from solvers import engines as folder
from solvers.arrays import NUMPY
from solvers.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from solvers.arrays import Backend
    from solvers.goals import Engine, Prepared
    from solvers.problem.problem import Problem

__all__ = ["Choice", "available", "backend_of", "choose", "get", "names"]

AUTO = "auto"
_MEMBERS = ("name", "finishes", "unavailable", "devices", "bid", "prepare")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """An engine and why it, and not the others; ``finisher`` takes over where it misses the gap.

    ``device`` is the one asked for, by its full name; None leaves it to the engine.
    """

    engine: Engine
    reason: str
    finisher: Engine | None = None
    device: str | None = None

    def prepare(self, problems: Sequence[Problem], memory_bytes: int | None) -> Prepared:
        """Get the rows ready with the engine chosen, on the device asked for."""
        return self.engine.prepare(problems, memory_bytes, self.device)

    def prepare_finisher(
        self, problems: Sequence[Problem], memory_bytes: int | None
    ) -> Callable[[], Prepared] | None:
        """Return what gets the rows ready for the finisher, should it be needed; None where there is none."""
        if self.finisher is None:
            return None
        return partial(self.finisher.prepare, problems, memory_bytes, self.device)


def names() -> list[str]:
    """Return the names of all engines, whether or not they work here."""
    return sorted(_engines())


def get(name: str) -> Engine:
    """Return the engine of a name.

    Raises:
        EngineError: there is none of that name.
    """
    if name not in _engines():
        msg = f"there is no engine {name!r}; expected auto, {', '.join(names())}"
        raise EngineError(msg)
    return _engines()[name]


def available(name: str) -> str | None:
    """Say why an engine does not work on this machine, in one line; None where it does.

    Raises:
        EngineError: there is none of that name.
    """
    return get(name).unavailable()


def backend_of(name: str, device: str | None = None) -> Backend:
    """Return where to score what an engine fitted: on its own GPU where it has one, else in NumPy."""
    made = getattr(_engines().get(name), "backend", None)
    return NUMPY if made is None else made(None if device is None else _place(device))


def choose(
    name: str, problem: Problem, fits: int, device: str | None = None, memory_bytes: int | None = None
) -> Choice:
    """Choose an engine for ``fits`` columns (C times targets) on a problem, by name or by what works and pays here.

    Raises:
        EngineError: the engine asked for by name is unknown, does not work here, or is not one for ``device``.
    """
    if name == AUTO:
        choice = _automatic(problem, fits, None if device is None else _place(device), memory_bytes)
        _log.info("engine %s: %s", choice.engine.name, choice.reason)
        return choice
    engine = get(name)
    if (why_not := engine.unavailable()) is not None:
        msg = f"engine {name!r} does not work here: {why_not}; choose another, or engine='auto'"
        raise EngineError(msg)
    place = None if device is None else _place(device)
    if place is not None and place not in engine.devices():
        others = ", ".join(other.name for other in map(get, names()) if place in other.devices())
        own = ", ".join(engine.devices())
        msg = f"engine {name!r} does not run on device {device!r}; choose {others}, or one of its own devices: {own}"
        raise EngineError(msg)
    return Choice(engine, "asked for by name", _finisher(engine, problem, fits), place)


def _automatic(problem: Problem, fits: int, place: str | None, memory_bytes: int | None) -> Choice:
    """The engine that bids most of those that work here, on a device; no other is loaded to find that out."""
    bids = {name: get(name).bid(problem, fits, memory_bytes) for name in names()}
    why_not = {name: bid.why for name, bid in bids.items() if not bid.speed > 0}
    for name in sorted(bids.keys() - why_not.keys(), key=lambda name: -bids[name].speed):
        engine = get(name)
        if (obstacle := _obstacle(engine, place)) is not None:
            why_not[name] = obstacle
        else:
            where = "" if place is None else f" on the device asked for, {place}"
            others = [f"{other}: {why_not[other]}" for other in names() if other in why_not]
            reason = "; ".join([f"auto{where}: {bids[name].why}", *others])
            return Choice(engine, reason, _finisher(engine, problem, fits), place)
    msg = f"no engine takes this problem: {'; '.join(f'{name}: {why}' for name, why in why_not.items())}"
    raise EngineError(msg)


def _obstacle(engine: Engine, place: str | None) -> str | None:
    """Why an engine does not work here, or not on a device; None where it does."""
    why_not = engine.unavailable()
    if why_not is None and place is not None and place not in engine.devices():
        return f"it does not run on {place}"
    return why_not


def _finisher(engine: Engine, problem: Problem, fits: int) -> Engine | None:
    """Who takes over where an engine misses the gap: the one that bids most of those that can; None for itself."""
    if engine.finishes:
        return None
    able = [
        other for other in map(get, names()) if other.finishes and set(other.devices()) & set(engine.devices())
    ]
    able = [other for other in able if other.unavailable() is None]
    return max(able, key=lambda other: other.bid(problem, fits).speed, default=None)


def _place(device: str) -> str:
    """The full name of a device that an engine runs on here; "cuda" is the first of its kind.

    Raises:
        EngineError: none does; every engine that does not work here is told with its reason.
    """
    known = list(dict.fromkeys(place for name in names() for place in get(name).devices()))
    for place in known:
        if device in (place, place.partition(":")[0]):
            return place
    broken = [f"engine {name}: {why}" for name in names() if (why := available(name)) is not None]
    msg = f"device {device!r} cannot be used here; expected {' or '.join(known)}"
    raise EngineError("; ".join([msg, *broken]))


@cache
def _engines() -> dict[str, Engine]:
    modules = [module.name for module in pkgutil.iter_modules(folder.__path__)]
    found = [import_module(f"{folder.__name__}.{module}") for module in modules]
    inside = [module.ENGINE for module in found if hasattr(module, "ENGINE")]
    return {engine.name: engine for engine in [*_of_other_packages(), *inside]}


def _of_other_packages() -> list[Any]:
    found = []
    for point in entry_points(group="solvers.engines"):
        try:
            engine = point.load()
        except (ImportError, AttributeError) as error:
            _log.warning(
                "engine %s of another package is left out, as it cannot be loaded: %s", point.name, error
            )
            continue
        missing = [member for member in _MEMBERS if not hasattr(engine, member)]
        if missing:
            _log.warning(
                "engine %s of another package is left out, as it lacks %s", point.name, ", ".join(missing)
            )
            continue
        found.append(engine)
    return found
