"""Write a store: rows gather in memory, are sealed in shards, and are there once the journal says so."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Self

from actstore.captured import RowBatch
from actstore.format import JSON

if TYPE_CHECKING:
    from actstore.reader import Store


class Writer:
    """Writes one store, ``NAME.acts`` (a folder) or ``NAME.h5`` (a single file)."""

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        row_unit: str = "example",
        provenance: Mapping[str, JSON] | None = None,
        overwrite: bool = False,
        shard_bytes: int | None = None,
    ) -> None: ...

    def note(self, **provenance: JSON) -> None: ...

    def append(self, batch: RowBatch) -> None: ...

    def finish(self) -> Store: ...

    def abandon(self) -> str: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
