"""What a fit leaves behind: a probe, and the probes of many layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProbeFileError, ProblemError
from solvers.linear_map import directions
from solvers.printable.named import ByName, find_probe, matching, unknown
from solvers.printable.probes import probes_html, probes_text
from solvers.probing.joining import joined
from solvers.probing.layer.names import other_names, with_names
from solvers.probing.records import ProbeMap, Proof, Provenance, Scores, Where
from solvers.probing.row_table import Beside, predictions_of
from solvers.rows import Columns, as_source

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.linear_map import LinearMap
    from solvers.probing.joining import Kept
    from solvers.probing.row_table import TableKey
    from solvers.probing.scores.comparisons import Comparisons
    from solvers.rows import RowSource
    from solvers.scoring.predictions import Predictions
    from solvers.scoring.score_rows import ScoreRows

__all__ = ["Key", "Probe", "Probes"]

Key = tuple[str, str, int] | tuple[str, str, int, int]
"""(layer, target, step), and the seed where a layer has a probe for each of several draws of its columns."""


def _of(record: str, name: str, doc: str) -> Any:
    """A property that shows a field of a record."""
    return property(lambda probe: getattr(getattr(probe, record), name), doc=doc)


def _by_split(name: str, doc: str) -> Any:
    """A property that shows scores by split; one that there is not is answered with those that there are."""
    return property(lambda probe: ByName("split", getattr(probe.scores, name)), doc=doc)


@dataclass(frozen=True, eq=False, repr=False)
class Probe:
    """A linear probe, softmax((h − mean) W + b), of one target at one layer, with how good it is proven to be.

    Its fields are records, which ``solvers.probing.records`` describes; what is asked for most is an attribute too.

    Args:
        where: which probe it is.
        map: what acts on raw activations.
        proof: how near its loss is to the optimum, and every C that was tried.
        scores: how well it does, by split.
        provenance: where it comes from.
        metrics: further numbers by name: JSON values, whatever whoever measured them keeps.
        predictions: arrays by name (``logits``, ...), by the key of the ``RowTable`` whose rows they are of.
        extra: keys of the file that this version does not know; they are written back.
    """

    where: Where
    map: ProbeMap
    proof: Proof
    scores: Scores
    provenance: Provenance = field(default_factory=Provenance)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[TableKey, Mapping[str, Array]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    target = _of("where", "target", "What it predicts.")
    step = _of("where", "step", "The training step of the network that it was fitted at.")
    kind = _of("where", "kind", "`task`, or what it is a control of.")
    order = _of("where", "order", "The layer's place in the network.")
    shape = _of("where", "shape", "The features of one row, flattened in C order to `width`.")
    seed = _of("where", "seed", "Of the rows set aside and the random features.")
    head = _of("where", "slice", "Which slice of the stored layer this is, from 0; None for all of it.")
    classes = _of("map", "classes", "The labels in sorted order (classes,); None of a regression.")
    weights = _of("map", "weights", "(width, classes), float64, for raw activations.")
    intercept = _of("map", "intercept", "(classes,), float64, of rows that `mean` was subtracted from.")
    bias = _of("map", "bias", "(classes,): the intercept of the same map as h W + bias, rounded.")
    mean = _of("map", "mean", "(width,), what is subtracted from the columns.")
    scale = _of("map", "scale", "(width,), what the fit divided the columns by; inf where their weight is 0.")
    scaled = _of("map", "scaled", "Whether the penalty was taken in columns of unit standard deviation.")
    columns = _of("map", "columns", "The columns that are looked at, ascending; None for all.")
    C = _of("proof", "C", "The penalty's inverse strength, as in scikit-learn.")
    status = _of("proof", "status", "How the fit ended: a word of `solvers.Status`.")
    gap_nats = _of(
        "proof", "gap_nats", "The certified bound on loss minus optimal loss, in nats per training row."
    )
    loss = _of("proof", "loss", "The loss, penalty included, in nats per training row.")
    engine = _of("proof", "engine", "What fitted it.")
    engine_reason = _of("proof", "engine_reason", "Why that did.")
    path = _of("proof", "path", "Every C that was tried, in the order given.")
    error = _by_split("error", "The share of labelled rows that are misclassified, by split.")
    cross_entropy = _by_split("cross_entropy", "In nats per labelled row, by split.")
    majority = _by_split("majority", "The error of always answering the commonest training class, by split.")
    chance = majority
    rows = _by_split("rows", "Labelled rows, by split.")
    unlabelled = _by_split("unlabelled", "Rows without a label, by split.")
    unseen = _by_split("unseen", "Labelled rows of classes that training had none of, by split.")
    fingerprint = _of("provenance", "fingerprint", "Of the store's rows and activations.")
    rows_fingerprint = _of("provenance", "rows_fingerprint", "Of the labels and splits alone.")
    command = _of("provenance", "command", "What was typed.")
    version = _of("provenance", "version", "Of the package that fitted.")
    seconds = _of("provenance", "seconds", "For the whole path and the scores, of all targets fitted together.")

    @property
    def stored_layer(self) -> str:
        """The layer whose rows the probe acts on; of several side by side, their names joined by ``+``."""
        return "+".join(self.where.layers)

    @property
    def layer(self) -> str:
        """Return what the probe is called by: the stored layer, followed by ``@SLICE`` for a slice of it."""
        return self.stored_layer if self.head is None else f"{self.stored_layer}@{self.head}"

    @property
    def penalised(self) -> bool:
        """Whether ``gap_nats`` is a bound; it is not where C is infinite."""
        return bool(self.status != "unpenalised")

    @property
    def key(self) -> Key:
        """The key in ``Probes``: (layer, target, step), of one of several draws (layer, target, step, seed)."""
        key = (self.layer, self.target, self.step)
        return key if self.where.draws == 1 else (*key, self.seed)

    @property
    def width(self) -> int:
        """The number of features of one row."""
        return math.prod(self.shape)

    @property
    def used(self) -> LinearMap:
        """The map of the columns that ``features`` gives."""
        return self.map.used

    def features(self, activations: RowSource | ArrayLike) -> RowSource:
        """Return the columns of raw activations that the probe looks at: all, unless some were drawn or sliced.

        Raises:
            ProblemError: when a row has neither the features of the layer nor their flattened width.
        """
        source = as_source(activations)
        if source.shape[1:] not in (self.shape, (self.width,)):
            expected = ", ".join(map(str, self.shape))
            msg = (
                f"the probe of layer {self.layer!r} takes activations of shape (rows, {expected}) but got "
                f"{tuple(source.shape)}; give it rows of the layer that it was fitted on"
            )
            raise ProblemError(msg)
        return source if self.columns is None else Columns(source, self.columns)

    def logits(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Return (h − mean) W + b of raw activations, (rows, *shape) or (rows, width): (rows, classes).

        Raises:
            ProblemError: as ``features`` does.
        """
        return self.used.logits(self.features(activations))

    def predict_proba(self, activations: RowSource | ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class, (rows, classes), ordered as ``classes``; raises as ``features``."""
        return self.used.predict_proba(self.features(activations))

    def predict(self, activations: RowSource | ArrayLike) -> Array:
        """Return the likeliest class of each row, (rows,), of a regression its values; raises as ``features``."""
        return self.used.predict(self.features(activations))

    def direction(self, space: str = "raw", *, label: Any = None) -> NDArray[np.float64]:
        """Return where in a layer the probe looks: (width,) of two classes, else (width, classes).

        ``raw`` is the gradient of the logits by the activations as they are: what to add to them, project them on or
        read features off. ``scaled`` is the same in columns of unit standard deviation (where the fit scaled them),
        which the penalty was taken of: what to compare between features, layers and probes. Of two classes it is that
        of log p(second) − log p(first); of more, for each class that of its logit minus the mean of all.

        Args:
            space: "raw" or "scaled".
            label: the class that the direction leads to, (width,); None for the second of two, or for all.

        Raises:
            ProblemError: another space.
            UnknownNameError: there is no such class; the message names the nearest.
        """
        if space not in ("raw", "scaled"):
            msg = f"space is {space!r}; expected 'raw' (of activations as they are) or 'scaled' (what was penalised)"
            raise ProblemError(msg)
        weights = self.weights
        if space == "scaled":
            weights = weights * np.where(np.isfinite(self.scale), self.scale, 0.0)[:, None]
        return directions(weights, self.classes, label)

    def to_torch(self, dtype: str = "float64") -> Any:
        """Return the probe as a torch module, raw activations (rows, *features) to logits (rows, classes).

        In float64 (the default) it acts as ``predict_proba`` does; in float32 with that rounding, which counts where
        the mean of a column is large beside its spread. See ``solvers.torch_files.ProbeModule``.

        Raises:
            ProblemError: another dtype, or torch is not installed.
        """
        from solvers.torch_files import as_module

        return as_module(self.map, self.columns, dtype)

    def __repr__(self) -> str:
        gap = f" with a gap of {self.gap_nats:.1e} nats" if self.penalised else ""
        outputs = "values" if self.classes is None else "classes"
        return (
            f"<Probe of {self.layer!r} for {self.target!r}, step {self.step}: {len(self.intercept)} {outputs}, "
            f"C={self.C:g}, {self.status}{gap} by {self.engine}>"
        )


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
