"""The probes of many layers, targets and steps: found by name, shown, scored, compared, saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProbeFileError, ProblemError
from solvers.printable.named import find_probe, matching, unknown
from solvers.printable.probes import probes_html, probes_text
from solvers.probing.afterwards.joining import joined
from solvers.probing.layer.names import other_names, with_names
from solvers.probing.probe import Key, Probe
from solvers.probing.row_table import Beside, predictions_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from solvers.probing.afterwards.joining import Kept
    from solvers.probing.scores.comparisons import Comparisons
    from solvers.rows import RowSource
    from solvers.scoring.predictions import Predictions
    from solvers.scoring.score_rows import ScoreRows

__all__ = ["Probes"]


class Probes(Mapping[Key, Probe]):
    """Probes by (layer, target, step), in the order of the network; of several draws by (layer, target, step, seed).

    ``failures`` says in one line why a layer has no probe, or none for a target, by layer. ``parts`` are the finished
    layers that ``fit_layers`` kept on the disk, if it did: saving the probes removes them there.
    """

    def __init__(
        self,
        probes: Iterable[Probe],
        failures: Mapping[str, str] | None = None,
        parts: Kept | None = None,
        beside: Beside | None = None,
    ) -> None:
        self._probes: dict[Key, Probe] = {}
        for probe in sorted(probes, key=lambda probe: probe.order):
            if probe.key in self._probes:
                msg = f"two probes have the key {probe.key}; a layer, a target and a step name one probe"
                raise ProblemError(msg)
            self._probes[probe.key] = probe
        self.failures = dict(failures or {})
        self.parts = parts
        self.beside = Beside() if beside is None else beside

    def __getitem__(self, key: Key | str | tuple[Any, ...]) -> Probe:
        """Return the probe of a (layer, target, step), or of a part that names one: ``probes["fc1"]``.

        A layer, a (layer, target) or a (layer, step) will do. UnknownNameError where it names none, or several.
        """
        return find_probe(self._probes, key)

    def __contains__(self, key: object) -> bool:
        """Whether there is a probe of this key, or of this part of one."""
        return bool(matching(self._probes, key))

    def _ipython_key_completions_(self) -> list[Any]:
        layers = dict.fromkeys(layer for layer, *_ in self._probes)
        return [*(layer for layer in layers if len(matching(self._probes, layer)) == 1), *self._probes]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._probes)

    def __len__(self) -> int:
        return len(self._probes)

    def __repr__(self) -> str:
        return probes_text(list(self.values()), self.failures)

    def _repr_html_(self) -> str:
        return probes_html(list(self.values()), self.failures)

    def rows_of(self, split: str, target: str | None = None) -> NDArray[np.int64]:
        """Return which rows a split was, ascending: of those set aside from ``train`` for ``val``, too.

        Args:
            split: as in ``probe.rows``, or as the store calls it.
            target: whose rows; None where there is one, or where all have the same.

        Raises:
            UnknownNameError: no such split or target.
            ProblemError: targets have other rows each, or the probes do not know their rows.
        """
        from solvers.probing.scores.split_names import own_split

        tables = [table for table in self.beside.tables if table.fold is None]
        if not tables:
            msg = "these probes do not say which rows they were fitted on; fit them again with this version"
            raise ProblemError(msg)
        if target is not None and not any(table.target == target for table in tables):
            raise unknown("target", target, (table.target for table in tables))
        tables = [table for table in tables if target in (None, table.target)]
        if split not in {table.split for table in tables}:
            split = (
                own_split((probe for probe in self.values() if target in (None, probe.target)), split) or split
            )
        found = [np.asarray(table.arrays["index"]) for table in tables if table.split == split]
        if not found:
            raise unknown("split", split, (table.split for table in tables))
        if any(not np.array_equal(rows, found[0]) for rows in found):
            names = ", ".join(repr(table.target) for table in tables if table.split == split)
            msg = f"the rows of split {split!r} differ by target; say which: rows_of({split!r}, target) of {names}"
            raise ProblemError(msg)
        return found[0]

    def changed(self, change: Callable[[Probe], Probe]) -> Probes:
        """Return these probes, each changed, with all that is kept beside them."""
        return Probes([change(probe) for probe in self.values()], self.failures, self.parts, self.beside)

    def renamed(self, names: Mapping[str, str]) -> Probes:
        """Return these probes with other names of their layers, new by old (see ``layer.names``)."""
        new = other_names(
            [*dict.fromkeys(layer for probe in self.values() for layer in probe.where.layers)], names
        )
        changed = self.changed(lambda probe: with_names(probe, new))
        changed.beside = changed.beside.of_no_question
        return changed

    def predictions(self, key: Key, split: str) -> Predictions | None:
        """Return what a probe said of the rows of a split; None where that was not kept.

        Args:
            key: of the probe.
            split: as in ``probe.rows``, or as the store calls it.

        Raises:
            UnknownNameError: there is no probe of this key, or no such split; the message names the nearest.
            ProbeFileError: what is kept does not fit the probe.
        """
        from solvers.probing.scores.split_names import known_splits, own_split

        probe = self[key]
        own = own_split([probe], split)
        for table in self.beside.tables:
            if table.key == (probe.target, own or split, probe.where.fold):
                return predictions_of(probe, table)
        if own is None:
            raise unknown("split", split, known_splits([probe]))
        return None

    def __or__(self, other: Probes) -> Probes:
        """Return the probes of both, such as two steps, targets or layers.

        Raises:
            ProblemError: both have a probe of one key, say differently why a layer has none, or were scored on
                different rows of one target and split.
        """
        if not isinstance(other, Probes):
            return NotImplemented
        return Probes(*joined(self, other))

    def scores(
        self,
        metrics: str | Sequence[str] | None = None,
        *,
        positive: Any = None,
        negatives: str | None = None,
        splits: str | Sequence[str] | None = None,
        parts: bool = False,
    ) -> ScoreRows:
        """Return every number of every probe as tidy rows, with intervals of 95% of held-out splits.

        Args:
            metrics: such as ["accuracy", "roc_auc"]; docs/metrics.md has them. None: error and others that suit the
                classes, and those of the path.
            positive: the label of the class that metrics of two classes call positive; None: the second of two, or of
                more each class against the rest.
            negatives: the split that the threshold of ``tpr_at_fpr_0.01`` is taken from.
            splits: which; None for all.
            parts: whether classes, cells of a confusion matrix and bins come along.

        Raises:
            ProblemError: a metric, class or split that there is not, or a metric that the predictions do not allow.
        """
        from solvers.probing.scores.asked import Asked
        from solvers.probing.scores.of_probes import scores_of

        named = None if metrics is None else (metrics,) if isinstance(metrics, str) else tuple(metrics)
        chosen = None if splits is None else (splits,) if isinstance(splits, str) else tuple(splits)
        return scores_of(self, Asked(named, positive, negatives, chosen, parts))

    def compare(self, other: Probes | None = None, *, metric: str = "error", **how: Any) -> Comparisons:
        """Return differences of a metric on the same rows, each with its interval of 95%, p, and p of the family.

        Every layer is compared with the best by ``val``, unless one way is chosen, as in `probe compare`:

        Args:
            other: probes of the same rows, each of which is compared with the one of these.
            metric: which; docs/metrics.md has them.
            how: ``reference`` (a layer that all others are compared with), ``layers`` (two or more, each against the
                first), ``steps`` or ``targets`` (two, the second against the first); ``split`` (test by default);
                ``positive``, the class that metrics of two classes call positive.

        Raises:
            ProblemError: several ways, a word or name that there is not, or probes that cannot be compared.
        """
        from solvers.probing.scores.comparisons import comparisons

        return comparisons(self, other, {"metric": metric, **how})

    def evaluate(
        self,
        layers: Mapping[Any, RowSource | ArrayLike],
        labels: ArrayLike | Mapping[str, ArrayLike],
        *,
        splits: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        metrics: Sequence[str] | None = None,
        positive: Any = None,
        parts: bool = False,
    ) -> ScoreRows:
        """Return scores of these probes on other rows, with intervals of 95% of rows that are held out.

        Rows are held out unless they are recognised as those that a probe was trained on (``fit``) or that chose its C
        (``select``): by their labels and by what the probe says of them, where all rows of a split are there in order.
        A part of the training rows is not recognised.

        Args:
            layers: raw activations (rows, *features) by layer, such as ``store.layers``, or by (layer, step); probes of
                other layers are left out.
            labels: (rows,), masked where a row has none; of several targets a mapping of such.
            splits: (rows,) names, each of which is scored by itself.
            groups: (rows,) rows that belong together.
            metrics: such as ["accuracy", "roc_auc"]; None for those that suit the classes.
            positive: the label of the class that metrics of two classes call positive.
            parts: whether classes, cells of a confusion matrix and bins come along.

        Raises:
            ProblemError: no probe has its layer and target here, rows that cannot be scored, labels none of which is a
                class of the probe, or a metric that there is not.
        """
        from solvers.probing.afterwards.scores import evaluated
        from solvers.probing.scores.asked import Asked

        named = None if metrics is None else tuple(metrics)
        asked = Asked(named, positive, parts=parts)
        return evaluated(self, layers, labels, splits=splits, groups=groups, asked=asked)

    def table(self, wide: bool = False) -> Any:
        """Return a row per probe: a pandas DataFrame where pandas is installed, else a list of dicts.

        Columns: ``layer``, ``target`` and ``step`` where there are several, where columns were drawn several times the
        ``seed``, error_SPLIT of every split, C, gap_nats; with ``wide`` then status, engine, cross_entropy_SPLIT and
        rows_SPLIT. ``scores`` has every number.
        """
        splits = list(dict.fromkeys(split for probe in self.values() for split in probe.rows))
        several = [
            name for name in ("target", "step") if len({getattr(probe, name) for probe in self.values()}) > 1
        ]
        several += ["seed"] * any(probe.where.draws > 1 for probe in self.values())
        rows = [_table_row(probe, ["layer", *several], splits, wide) for probe in self.values()]
        try:
            import pandas as pd
        except ImportError:
            return rows
        return pd.DataFrame(rows)

    def plot(self, kind: str = "depth", **options: Any) -> Any:
        """Return a figure of the scores for a notebook; kinds and options are those of ``solvers.figures.asked.Asked``.

        Raises:
            FigureError: an option that there is not, or scores that cannot be drawn so.
        """
        from solvers.figures.figure import plot

        return plot(self, kind, **options)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write one HDF5 file, which appears only whole; docs/probes.md has its layout.

        The ``parts`` that these probes were joined from are removed once the file is on the disk. Of ranks that save
        the probes of one fit to one file, the first writes it, and the others find it there.

        Raises:
            ProbeFileError: when the file is there already (without ``overwrite``, or as something else than a probe
                file), or cannot be written.
        """
        from solvers.probing.probe_file import save

        if self.parts is None:
            save(self, path, overwrite)
            return
        try:
            self.parts.publish(Path(path), lambda: save(self, path, overwrite))
        except ProbeFileError as error:
            self.parts.explain(error)
            raise


def _table_row(probe: Probe, names: Sequence[str], splits: Sequence[str], wide: bool) -> dict[str, Any]:
    row = {name: getattr(probe, name) for name in names}
    row |= {f"error_{split}": probe.scores.error.get(split) for split in splits}
    row |= {"C": probe.C, "gap_nats": probe.gap_nats}
    if wide:
        row |= {"status": probe.status, "engine": probe.engine}
        for score in ("cross_entropy", "rows"):
            row |= {f"{score}_{split}": getattr(probe.scores, score).get(split) for split in splits}
    return row
