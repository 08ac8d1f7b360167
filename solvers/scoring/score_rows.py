"""Scores as a tidy table: a light sequence of rows, and pandas, Arrow or CSV of it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from solvers.errors import ProblemError
from solvers.scoring.score import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from solvers.scoring.score import Score

__all__ = ["ScoreRows"]


class ScoreRows(Sequence["Score"]):
    """Scores, a row each, in the columns of ``solvers.scoring.score.COLUMNS``.

    ``notes`` say in a line each what a reader of them has to know: too few groups, a class without rows, predictions
    that were not kept. ``divided`` are the scores' (target, step, seed, split) whose rows are of groups that have
    training rows, too.
    """

    def __init__(
        self,
        scores: Iterable[Score],
        notes: Iterable[str] = (),
        divided: Collection[tuple[str, int, int, str]] = frozenset(),
    ) -> None:
        self._scores = tuple(scores)
        self.notes = tuple(dict.fromkeys(notes))
        self.divided = frozenset(divided)

    def __len__(self) -> int:
        return len(self._scores)

    @overload
    def __getitem__(self, place: int) -> Score: ...

    @overload
    def __getitem__(self, place: slice) -> ScoreRows: ...

    def __getitem__(self, place: int | slice) -> Score | ScoreRows:
        """Return one score, or those of a slice."""
        found = self._scores[place]
        return ScoreRows(found, self.notes, self.divided) if isinstance(found, tuple) else found

    def __repr__(self) -> str:
        return f"<ScoreRows: {len(self):,} scores; .to_pandas(), .to_arrow(), .to_csv(), .to_dicts()>"

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return [{name: getattr(score, name) for name in COLUMNS} for score in self]

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame.

        Raises:
            ProblemError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise _missing("pandas", error) from error
        whole = {"fold": "Int64", "groups": "Int64", "features": "Int64"}
        return pd.DataFrame(self.to_dicts(), columns=list(COLUMNS)).astype(whole)

    def to_arrow(self) -> Any:
        """Return a pyarrow Table.

        Raises:
            ProblemError: pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError as error:
            raise _missing("pyarrow", error) from error
        numbers = dict.fromkeys(("C", "value", "low", "high"), pa.float64())
        whole = dict.fromkeys(("step", "seed", "fold", "rows", "groups", "features"), pa.int64())
        types = numbers | whole
        return pa.Table.from_pylist(
            self.to_dicts(), schema=pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])
        )

    def to_csv(self) -> str:
        """Return CSV with a header; what has no number is an empty cell, and numbers are written in full."""
        return "".join(f"{line}\n" for line in self.csv_lines())

    def csv_lines(self) -> Iterator[str]:
        """Yield the header and each row of ``to_csv``, without their line ends."""
        yield _line(COLUMNS)
        for score in self:
            yield _line([_cell(getattr(score, name)) for name in COLUMNS])


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value


def _missing(package: str, error: ImportError) -> ProblemError:
    return ProblemError(f"{package} is not installed ({error}); install it, or take .to_dicts() or .to_csv()")
