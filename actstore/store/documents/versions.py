"""Versions of what computed rows: rows of one store that several versions computed are told apart, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from actstore.store.documents.documents import differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actstore.store.format import JSON

VERSIONS = "versions"
THREADS = "threads"
RESUMED = "resumed"  # the key of the provenance that lists which rows other versions computed


def other_versions(before: object, now: object) -> list[str]:
    """Return what differs between two records of versions, each by its name with both values.

    What only one of them knows does not count: a package that was not loaded computed nothing. Of the platform the
    machine and the C library count, not the kernel's release, in which the nodes of a cluster differ; threads are noted
    alone, since other nodes have more of them.
    """
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return []
    known = [key for key in before if key in now and key != THREADS]
    return differences(
        {key: _compared(key, before[key]) for key in known},
        {key: _compared(key, now[key]) for key in known},
        VERSIONS,
    )


def other_threads(before: object, now: object) -> bool:
    """Return whether two records of versions know of different numbers of threads."""
    known = [isinstance(each, Mapping) and each.get(THREADS) for each in (before, now)]
    return all(known) and known[0] != known[1]


def _compared(key: str, version: Any) -> Any:
    found = re.fullmatch(r"([^-]+)-.*-([^-]+-with-[^-]+)", str(version)) if key == "platform" else None
    return f"{found[1]} {found[2]}" if found else version


def resumed(shards: Iterable[tuple[int, Mapping[str, JSON] | None]]) -> list[JSON]:
    """Which rows other versions computed than the first of a rank: from each shard's first row and its versions."""
    return list(_changes(shards))


def _changes(shards: Iterable[tuple[int, Mapping[str, JSON] | None]]) -> Iterator[JSON]:
    last: Mapping[str, JSON] | None = None
    for first_row, versions in shards:
        if versions != last:
            yield {"from_row": first_row, VERSIONS: versions}
            last = versions
