"""What other packages add through packaging entry points: adapters (``actstore.adapters``), sources
(``actstore.sources``). ``docs/extending.md`` shows one of each.

Ours are asked first, so that installing a package does not change what runs or reads what we know; theirs come in the
order of their names, and plain functions last, since the models of others can be called, too. One that cannot be used
is left out with a line that says why.
"""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Callable

ADAPTERS = "actstore.adapters"
SOURCES = "actstore.sources"

_log = logging.getLogger("actstore")


def of_other_packages(group: str, fault: Callable[[object], str]) -> list[object]:
    """Return what other packages registered in ``group``.

    Args:
        group: ``ADAPTERS`` or ``SOURCES``.
        fault: what an object lacks to be one of the group; "" where it lacks nothing.
    """
    found = []
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        try:
            value = point.load()
        except Exception as error:  # noqa: BLE001 - somebody else's module, which may fail in any way as it is imported
            why = f"it cannot be loaded: {explain(error)}"
        else:
            why = fault(value)
        if why:
            kind = group.rpartition(".")[2].removesuffix("s")
            _log.warning("%s %r of another package (%s) is left out: %s", kind, point.name, point.value, why)
        else:
            found.append(value)
    return found
