"""The first look at a model: its layers, as two rows of a batch show them; and its errors in one line."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.adapters.moves import with_rows
from actstore.errors import ActstoreError, DumpError, RowError
from actstore.sources.base import SlicedSource
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actstore.adapters import Adapter
    from actstore.adapters.describing import Description
    from actstore.dumping.plan import DumpPlan
    from actstore.rows.ids import RowIds
    from actstore.sources import Batch

DESCRIBED_ROWS = 3
_TEXTS = 4096


def described(adapter: Adapter, batch: Batch, ids: Sequence[str] = ()) -> Description:
    """Describe the layers that a batch, of rows with these ids, goes through."""
    with blaming_model("the first batch", ids):
        return adapter.description(batch.inputs)


@dataclass(frozen=True)
class Extremes:
    """The shortest and the longest text of the data, with their ids."""

    inputs: list[Any]
    ids: tuple[str, str]


def extremes(plan: DumpPlan, ids: RowIds) -> Extremes | None:
    """Find the shortest and the longest text of all data, by their characters or words; None where it is no text."""
    if not arrays.is_text(plan.first.inputs):
        return None
    ends: list[tuple[int, Any, str]] = []
    choice, ids = plan.settings.examples, ids.copy()
    for position, item in enumerate(plan.data):
        source = item.source
        if not isinstance(source, SlicedSource):
            continue
        places = np.asarray(item.places(choice, position), np.int64)
        with source.slicing() as take:
            for start in range(0, len(places), _TEXTS):
                some = places[start : start + _TEXTS]
                texts: Any = take(some).inputs
                named = zip(texts, ids.at(item.split, some.tolist(), item.row_ids), strict=True)
                sized = sorted(
                    [*ends, *((len(text), text, row) for text, row in named)], key=lambda each: each[0]
                )
                ends = [sized[0], sized[-1]]
        ids.pass_over(item.split, choice.limited(source.rows))
    if not ends or ends[0][0] == ends[-1][0]:
        return None
    (_, short, first), (_, long, second) = ends
    return Extremes([short, long], (first, second))


def try_last_sizes(plan: DumpPlan) -> None:
    """Run as many rows as the last batches have, before the first row is stored.

    Raises:
        DumpError: the model, or a layer asked for, does not take so many.
    """
    for size in plan.last_sizes():
        rows = "a single row" if size == 1 else f"{size:,} rows"
        try:
            with (
                blaming_model(f"{size:,} rows, as many as the last batch has"),
                plan.adapter.running(plan.layers) as run,
            ):
                run(with_rows(plan.first.inputs, size))
        except ActstoreError as error:
            msg = (
                f"the last batch will have {rows}, which was tried before the first is stored: {error}; choose a "
                "--batch-size or a --limit that leaves another number over"
            )
            raise (DumpError if isinstance(error, RowError) else type(error))(msg) from error


@contextmanager
def blaming_model(where: str, ids: Sequence[str] = ()) -> Iterator[None]:
    """Errors of the user's model as one line that names the batch; those of a row with its id, where ids are known."""
    try:
        yield
    except RowError as error:
        if not ids:
            raise
        msg = f"row {ids[error.row]!r} {error.what}"
        raise DumpError(msg) from error
    except ActstoreError:
        raise
    except Exception as error:
        msg = f"the model failed on {where}: {explain(error)}"
        raise DumpError(msg) from error
