"""The engines: one file each in this folder, and whatever other packages add.

A file that defines ``ENGINE`` is an engine; a package adds one through the entry point ``solvers.engines``.
"""

from __future__ import annotations

import logging
import pkgutil
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from solvers import engines as folder
from solvers.errors import EngineError

if TYPE_CHECKING:
    from solvers.goals import Engine
    from solvers.problem import Problem

__all__ = ["Choice", "available", "choose", "get", "names"]

AUTO = "auto"
SKLEARN_ENTRIES = 0
"""Entries of rows up to which ``auto`` leaves one C to scikit-learn: none, as what it saves on small problems is little
beside what importing it takes (docs/solving.md). Where that is otherwise, this is the number to change."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """An engine and why it, and not the others; ``finisher`` takes over where it misses the gap."""

    engine: Engine
    reason: str
    finisher: Engine | None = None


def names() -> list[str]:
    """Names of all engines, whether or not they work here."""
    return sorted(_engines())


def get(name: str) -> Engine:
    """The engine of a name.

    Raises:
        EngineError: there is none of that name.
    """
    if name not in _engines():
        msg = f"there is no engine {name!r}; expected auto, {', '.join(names())}"
        raise EngineError(msg)
    return _engines()[name]


def available(name: str) -> str | None:
    """Why an engine does not work on this machine, in one line; None where it does.

    Raises:
        EngineError: there is none of that name.
    """
    return get(name).unavailable()


def choose(name: str, problem: Problem, fits: int, device: str | None = None) -> Choice:
    """Choose an engine for ``fits`` columns (C times targets) on a problem, by name or by what works and pays here.

    Raises:
        EngineError: the engine asked for by name is unknown, does not work here, or is not one for ``device``.
    """
    gpu = _gpu_number(device)
    if gpu is not None:
        no_gpu = available("cupy")
        if no_gpu is not None and name in (AUTO, "cupy"):
            msg = f"device {device!r} can not be used here: {no_gpu}; choose cpu, or none"
            raise EngineError(msg)
        choice = choose("cupy" if name == AUTO else name, problem, fits)
        if choice.engine.name != "cupy":
            msg = f"engine {name!r} does not run on device {device!r}; choose cupy, or device='cpu'"
            raise EngineError(msg)
        return replace(choice, engine=choice.engine.on(gpu))  # type: ignore[attr-defined]
    if device == "cpu" and name in (AUTO, "cupy"):
        if name == "cupy":
            msg = "engine 'cupy' does not run on device 'cpu'; choose numpy, or device='cuda'"
            raise EngineError(msg)
        return Choice(get("numpy"), "auto: the device asked for is the CPU")
    if name != AUTO:
        reason = available(name)
        if reason is not None:
            msg = f"engine {name!r} does not work here: {reason}; choose another, or engine='auto'"
            raise EngineError(msg)
        return Choice(get(name), "asked for by name")
    choice = _automatic(problem, fits)
    _log.info("engine %s: %s", choice.engine.name, choice.reason)
    return choice


def _automatic(problem: Problem, fits: int) -> Choice:
    no_gpu = available("cupy")
    if no_gpu is None:
        return Choice(get("cupy"), "auto: a GPU works here")
    entries = f"{problem.rows * problem.width:,} entries"
    if fits == 1 and problem.rows * problem.width <= SKLEARN_ENTRIES and available("sklearn") is None:
        reason = f"auto: one C on {entries}, where scikit-learn was measured no slower; cupy: {no_gpu}"
        return Choice(get("sklearn"), reason, finisher=get("numpy"))
    saved = "scikit-learn would save less than importing it takes"
    reason = f"auto: {fits} columns on {entries}, where {saved}; cupy: {no_gpu}"
    return Choice(get("numpy"), reason)


def _gpu_number(device: str | None) -> int | None:
    """The number of the GPU that a device names; None for the CPU, or where none was named."""
    if device is None or device == "cpu":
        return None
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdigit() or (not number and ":" in device):
        msg = f"device is {device!r}; expected cpu, cuda, or cuda:N for one of several GPUs"
        raise EngineError(msg)
    return int(number or 0)


@cache
def _engines() -> dict[str, Engine]:
    modules = [module.name for module in pkgutil.iter_modules(folder.__path__)]
    found = [import_module(f"{folder.__name__}.{module}") for module in modules]
    inside = [module.ENGINE for module in found if hasattr(module, "ENGINE")]
    return {engine.name: engine for engine in [*_of_other_packages(), *inside]}


def _of_other_packages() -> list[Engine]:
    found = []
    for point in entry_points(group="solvers.engines"):
        try:
            found.append(point.load())
        except (ImportError, AttributeError) as error:
            _log.warning(
                "engine %s of another package is left out, as it can not be loaded: %s", point.name, error
            )
    return found
