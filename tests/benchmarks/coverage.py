"""Do the intervals hold what they say? How often one of 95% covers the truth, in simulation: `make coverage`.

Populations whose truth is known: rows by themselves, rows in groups, layers that are equally good. Each figure is the
share of `--repeats` samples, for each of three seeds. docs/metrics.md has what came of it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from solvers.metrics import registry
from solvers.scoring.answers import Answers
from solvers.scoring.best_of import against_the_best
from solvers.scoring.comparisons import compare
from solvers.scoring.interval_of import Interval, interval_of
from solvers.scoring.intervals import percentile
from solvers.scoring.predictions import Predictions
from solvers.scoring.units import Units
from tests.benchmarks.timing import say

SEEDS = (0, 1, 2)
ROWS_OF_GROUP = 5
SPREAD = 1.0  # of what a group's rows have in common, beside their own of 1: a correlation of .5 in the probit


@dataclass(frozen=True)
class Found:
    """How often, of how many samples, and what kind of interval was met most."""

    share: float
    repeats: int
    how: str


def of_right(right: np.ndarray, group: np.ndarray | None = None) -> Answers:
    """Answers of two classes of which these rows are right; the truth is always class 1."""
    rows = len(right)
    logits = np.column_stack([~right, right]).astype(np.float32)
    return Answers.of(Predictions(np.arange(2), 2, np.ones(rows, int), np.arange(rows), group, logits))


def _covered(truth: float, found: list) -> Found:
    kinds = [each.how for each in found]
    inside = [each.low <= truth <= each.high for each in found]
    return Found(float(np.mean(inside)), len(found), max(set(kinds), key=kinds.count))


def rate_of_rows(rows: int, error: float, repeats: int, seed: int) -> Found:
    """The error of rows by themselves."""
    generator, metric, units = np.random.default_rng(seed), registry.get("error"), Units(rows)
    found = []
    for _ in range(repeats):
        answers = of_right(generator.random(rows) >= error)
        found.append(interval_of(metric, answers, units, metric.value(answers)))
    return _covered(error, found)


def rate_of_groups(groups: int, repeats: int, seed: int, by_rows: bool = False, error: float = 0.2) -> Found:
    """The error of rows in groups that have much in common; resampled by rows on request, as one should not."""
    generator, metric = np.random.default_rng(seed), registry.get("error")
    group = np.repeat(np.arange(groups), ROWS_OF_GROUP)
    units = Units(len(group), None if by_rows else group)
    limit = np.sqrt(1 + SPREAD**2) * ndtri(error)
    found = []
    for _ in range(repeats):
        common = SPREAD * generator.normal(size=groups)[group]
        answers = of_right(common + generator.normal(size=len(group)) > limit, group)
        found.append(
            Interval(*percentile(metric.drawn(answers, units)), "bootstrap of rows")
            if by_rows
            else interval_of(metric, answers, units, metric.value(answers))
        )
    return _covered(error, found)


def area_of_rows(positives: int, negatives: int, area: float, repeats: int, seed: int) -> Found:
    """The area under the ROC curve of two normal distributions."""
    generator, metric = np.random.default_rng(seed), registry.get("roc_auc")
    truth = np.repeat([1, 0], [positives, negatives])
    units = Units(len(truth))
    found = []
    for _ in range(repeats):
        scores = generator.normal(size=len(truth)) + truth * np.sqrt(2) * ndtri(area)
        logits = np.column_stack([np.zeros(len(truth)), scores]).astype(np.float32)
        answers = Answers.of(Predictions(np.arange(2), 2, truth, np.arange(len(truth)), logits=logits))
        found.append(interval_of(metric, answers, units, metric.value(answers)))
    return _covered(area, found)


def cross_entropy_of_groups(groups: int, repeats: int, seed: int) -> Found:
    """A mean of nats, skewed as they are, of rows in groups."""
    generator, metric = np.random.default_rng(seed), registry.get("cross_entropy")
    group = np.repeat(np.arange(groups), ROWS_OF_GROUP)
    units = Units(len(group), group)
    wide = generator.normal(size=(2_000_000, 2)) @ [0.7, 1.0]
    truth, found = float(np.log1p(np.exp(-1 - wide)).mean()), []
    for _ in range(repeats):
        margin = 1 + 0.7 * generator.normal(size=groups)[group] + generator.normal(size=len(group))
        logits = np.column_stack([np.zeros(len(group)), margin]).astype(np.float32)
        said = Predictions(np.arange(2), 2, np.ones(len(group), int), np.arange(len(group)), group, logits)
        answers = Answers.of(said)
        found.append(interval_of(metric, answers, units, metric.value(answers)))
    return _covered(truth, found)


def _equal_layers(layers: int, rows: int, error: float, generator: np.random.Generator) -> list[Answers]:
    """Layers of one error, right and wrong on much the same rows."""
    common = generator.normal(size=rows)
    return [of_right(ndtr((common + generator.normal(size=rows)) / np.sqrt(2)) >= error) for _ in range(layers)]


def best_of_equals(repeats: int, seed: int, layers: int = 33, rows: int = 500, error: float = 0.2) -> Found:
    """How often the best of equal layers is said to be better than one of the rest."""
    generator, metric, said = np.random.default_rng(seed), registry.get("error"), []
    for _ in range(repeats):
        _, found = against_the_best(metric, _equal_layers(layers, rows, error, generator))
        said.append(any(each.interval.low > 0 for each in found))
    return Found(float(np.mean(said)), repeats, "max_t")


def named_reference(repeats: int, seed: int, layers: int = 33, rows: int = 500, error: float = 0.2) -> Found:
    """How often Holm finds a difference between equal layers and one that was named beforehand."""
    generator, metric, said = np.random.default_rng(seed), registry.get("error"), []
    for _ in range(repeats):
        answers = _equal_layers(layers, rows, error, generator)
        found = compare(metric, answers[1:], [answers[0]] * (layers - 1))
        said.append(any(each.p_family < 0.05 for each in found))
    return Found(float(np.mean(said)), repeats, "holm")


TABLE = {
    "error of 20%, 200 groups of 5": lambda n, seed: rate_of_groups(200, n, seed),
    "the same, but rows resampled": lambda n, seed: rate_of_groups(200, n, seed, by_rows=True),
    "error of 20%, 50 groups of 5": lambda n, seed: rate_of_groups(50, n, seed),
    "error of 20%, 10 groups of 5": lambda n, seed: rate_of_groups(10, n, seed),
    "error of 2%, 200 groups of 5": lambda n, seed: rate_of_groups(200, n, seed, error=0.02),
    "error of 0.5%, 100 rows": lambda n, seed: rate_of_rows(100, 0.005, n, seed),
    "error of 1%, 100 rows": lambda n, seed: rate_of_rows(100, 0.01, n, seed),
    "error of 2%, 100 rows": lambda n, seed: rate_of_rows(100, 0.02, n, seed),
    "error of 20%, 500 rows": lambda n, seed: rate_of_rows(500, 0.2, n, seed),
    "AUROC .99, 50 + 50 rows": lambda n, seed: area_of_rows(50, 50, 0.99, n, seed),
    "AUROC .80, 50 + 50 rows": lambda n, seed: area_of_rows(50, 50, 0.8, n, seed),
    "AUROC .95, 20 + 200 rows": lambda n, seed: area_of_rows(20, 200, 0.95, n, seed),
    "cross-entropy, 200 groups of 5": lambda n, seed: cross_entropy_of_groups(200, n, seed),
    "cross-entropy, 10 groups of 5": lambda n, seed: cross_entropy_of_groups(10, n, seed),
    "best of 33 equal layers said to be better": best_of_equals,
    "a named layer said to be another than 32 equal ones (Holm)": named_reference,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2_000)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args()
    say("what | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | interval")
    for name, simulate in TABLE.items():
        if chosen.only in name:
            found = [simulate(chosen.repeats, seed) for seed in SEEDS]
            say(" | ".join([name, *[f"{each.share:.3f}" for each in found], found[0].how]))


if __name__ == "__main__":
    main()
