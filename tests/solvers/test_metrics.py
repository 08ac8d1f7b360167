"""Metrics: each against scikit-learn on 200 random cases, and one check of all of them."""

import logging
import warnings
from inspect import signature
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as reference

from solvers.errors import ProblemError
from solvers.metrics import registry
from solvers.metrics.base import MeanMetric
from solvers.metrics.conformance import check_metric, random_predictions
from solvers.metrics.ece_15 import bin_of
from solvers.scoring.answers import Answers
from solvers.scoring.predictions import Predictions

CASES = range(200)


def case(number, classes=None, absent=False, zeros=True):
    """Predictions of up to 300 rows in up to 7 classes; every other case with ties, every fifth with weights of 0."""
    generator = np.random.default_rng([7, number])
    classes = classes or int(generator.integers(2, 8))
    rows = int(generator.integers(2 * classes + 4, 300))
    truth = generator.integers(0, classes, rows)
    truth[: 2 * classes] = np.tile(np.arange(classes), 2)
    if absent:
        truth[truth == classes - 1] = 0
    logits = generator.normal(size=(rows, classes)) + generator.uniform(0, 3) * np.eye(classes)[truth]
    if number % 2:
        logits = np.round(logits)
    weights = generator.exponential(size=rows)
    if not number % 5 and zeros:
        weights = np.ceil(weights) * (np.arange(rows) % 3 > 0)
        weights[: 2 * classes] += 1
    said = Predictions(np.arange(classes), classes, truth, np.arange(rows), logits=logits.astype(np.float32))
    chances = softmax(said.logits.astype(np.float64), axis=1)
    return SimpleNamespace(
        answers=Answers.of(said), truth=truth, chances=chances, weights=weights, classes=classes, logits=logits
    )


def macro(one, truth, chances, weights):
    present = [code for code in range(chances.shape[1]) if 0 < np.sum(truth == code) < len(truth)]
    return np.mean([one(truth == code, chances[:, code], sample_weight=weights) for code in present])


def of_two_or_macro(one):
    def reference_of(found, weights):
        if found.classes == 2:
            scores = found.logits[:, 1] - found.logits[:, 0]
            return one(found.truth, scores, sample_weight=weights)
        # Softmax rounds what is tied apart; twelve decimals put it together again.
        return macro(one, found.truth, np.round(found.chances, 12), weights)

    return reference_of


def top5(found, weights):
    if found.classes < 6:
        return 1.0
    # scikit-learn takes the higher class of a tie, so it gets its classes in reverse.
    chances, truth = found.chances[:, ::-1], found.classes - 1 - found.truth
    return reference.top_k_accuracy_score(
        truth, chances, k=5, labels=np.arange(found.classes), sample_weight=weights
    )


def brier(found, weights):
    chances = found.chances[:, 1] if found.classes == 2 else found.chances
    labels = {} if found.classes == 2 else {"labels": np.arange(found.classes)}
    if labels and "labels" not in signature(reference.brier_score_loss).parameters:
        pytest.skip("before 1.7 scikit-learn has Brier's score of two classes only")
    return reference.brier_score_loss(found.truth, chances, sample_weight=weights, **labels)


def ece(found, weights):
    """Guo et al. (2017), bin by bin."""
    confidence, right = found.chances.max(axis=1), found.chances.argmax(axis=1) == found.truth
    total, edges = 0.0, np.linspace(0, 1, 16)
    for low, high in pairwise(edges):
        own = (confidence > low) & (confidence <= high)
        total += abs(np.sum(weights[own] * right[own]) - np.sum(weights[own] * confidence[own]))
    return total / weights.sum()


def predicted(found):
    return found.chances.argmax(axis=1)


REFERENCES = {
    "accuracy": lambda found, w: reference.accuracy_score(found.truth, predicted(found), sample_weight=w),
    "error": lambda found, w: reference.zero_one_loss(found.truth, predicted(found), sample_weight=w),
    "balanced_accuracy": lambda found, w: reference.balanced_accuracy_score(
        found.truth, predicted(found), sample_weight=w
    ),
    "f1_macro": lambda found, w: reference.f1_score(
        found.truth, predicted(found), average="macro", sample_weight=w
    ),
    "cross_entropy": lambda found, w: reference.log_loss(
        found.truth, found.chances, sample_weight=w, labels=np.arange(found.classes)
    ),
    "top5_accuracy": top5,
    "brier": brier,
    "roc_auc": of_two_or_macro(reference.roc_auc_score),
    "average_precision": of_two_or_macro(reference.average_precision_score),
    "ece_15": ece,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_metric_is_scikit_learn_s_with_ties_weights_and_a_class_absent(name):
    metric = registry.get(name)
    for number in CASES:
        # scikit-learn's F1 counts a class that is predicted only of rows of weight 0; ours has no such class.
        zeros, absent = name != "f1_macro", number % 7 == 3 and name not in ("cross_entropy", "brier")
        found = case(number, absent=absent, zeros=zeros)
        ones = np.ones(len(found.truth))
        for weights, value in (
            (ones, metric.value(found.answers)),
            (found.weights, metric.value(found.answers, found.weights)),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of classes without rows, which are meant
                expected = REFERENCES[name](found, weights)
            # Sums of 300 numbers of order one, in another order.
            if np.isnan(expected) or (name == "average_precision" and not np.sum(found.truth > 0)):
                # scikit-learn says 0 of no positive row, with a warning
                assert np.isnan(value)
            else:
                assert value == pytest.approx(expected, rel=1e-9, abs=1e-12), (name, number)


def test_the_table_of_references_is_whole():
    assert set(registry.names()) == {*REFERENCES, "confusion", "tpr_at_fpr_0.01"}


@pytest.mark.parametrize("name", registry.names())
def test_every_metric_of_the_folder_conforms(name):
    for seed in range(3):
        check_metric(registry.get(name), seed)


def test_the_check_finds_a_metric_that_breaks_its_promise():
    class Liar(MeanMetric):
        name = "liar"

        def of_rows(self, answers):
            return answers.right * np.arange(len(answers)) / len(answers)

    with pytest.raises(AssertionError, match="'liar' breaks a promise: the order of the rows does not matter"):
        check_metric(Liar())


# tpr at fpr


def of_curve(positive, scores, weights=None):
    """The highest TPR of scikit-learn's curve whose FPR is at most 0.01."""
    fpr, tpr, _ = reference.roc_curve(positive, scores, sample_weight=weights, drop_intermediate=False)
    return tpr[fpr <= 0.01 * (1 + 1e-9)].max()


@pytest.mark.parametrize("tied", [False, True])
def test_tpr_at_fpr_is_the_highest_of_the_curve_below_the_rate(tied):
    metric = registry.get("tpr_at_fpr_0.01")
    for seed in range(60):
        said = random_predictions(int(1_990 + 37 * seed), 2, seed)
        if tied:
            said = Predictions(said.classes, 2, said.truth, said.index, logits=np.round(2 * said.logits))
        answers = Answers.of(said)
        if np.sum(said.truth == 0) < 1_000:
            assert np.isnan(metric.value(answers))
            continue
        scores = answers.odds(1)
        assert metric.value(answers) == pytest.approx(of_curve(said.truth == 1, scores), rel=1e-12)
        weights = np.random.default_rng(seed).integers(0, 3, len(said))
        expected = of_curve(said.truth == 1, scores, weights)
        assert metric.value(answers, weights) == pytest.approx(expected, rel=1e-12)


def test_the_threshold_of_a_named_split_is_its_ninety_ninth_percentile():
    metric = registry.get("tpr_at_fpr_0.01")
    said, control = random_predictions(300, 2, 1), random_predictions(4_000, 2, 2)
    assert np.isnan(metric.value(Answers.of(said)))  # too few negatives of its own
    answers = Answers.of(said, negatives=control)
    against = np.sort(answers.of_negatives().odds(1)[control.truth == 0])
    threshold = np.quantile(against, 0.99, method="higher")
    assert metric.value(answers) == np.mean(answers.odds(1)[said.truth == 1] > threshold)


def test_tpr_at_fpr_of_more_classes_asks_for_the_positive_one():
    metric = registry.get("tpr_at_fpr_0.01")
    said = random_predictions(3_000, 3)
    assert "--positive" in metric.refusal(Answers.of(said))
    assert metric.refusal(Answers.of(said, 2)) == ""
    assert metric.value(Answers.of(said, 2)) == pytest.approx(
        of_curve(said.truth == 2, Answers(said).odds(2)), rel=1e-12
    )


# classes that training had none of, many classes, no rows


def unseen():
    """Ten rows of two known classes, all right, and ten of a third."""
    truth = np.repeat([0, 1, 2], [5, 5, 10])
    logits = 4 * np.eye(3)[truth][:, :2]
    return Answers.of(Predictions(np.array(["a", "b", "c"]), 2, truth, np.arange(20), logits=logits))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", 0.5),
        ("error", 0.5),
        ("balanced_accuracy", 2 / 3),
        ("top5_accuracy", 0.5),
        ("cross_entropy", np.log1p(np.exp(-4))),
        ("roc_auc", 1.0),  # of b against the rest: 4 against −4 and 0
    ],
)
def test_a_row_of_an_unseen_class_is_wrong(name, value):
    assert registry.get(name).value(unseen()) == pytest.approx(value, rel=1e-6)


def test_unseen_classes_are_wrong_in_f1_and_brier_too():
    answers = unseen()
    f1 = reference.f1_score(answers.truth, answers.predicted, average="macro", zero_division=0.0)
    assert registry.get("f1_macro").value(answers) == pytest.approx(f1)
    chance = 1 / (1 + np.exp(-4))
    wrong = (0.5**2 + 0.5**2 + 1) / 2
    assert registry.get("brier").value(answers) == pytest.approx(((1 - chance) ** 2 + wrong) / 2, rel=1e-6)


@pytest.mark.parametrize("name", registry.names())
def test_above_32_classes_a_metric_is_the_same_or_refuses_in_one_line(name):
    said = random_predictions(1_200, 40)
    refusal = registry.get(name).refusal(Answers.of(said, 3))
    if registry.get(name).needs_logits:
        assert refusal.startswith(
            f"{name} needs the logits, which are kept up to 32 classes, but the probe has 40"
        )
        with pytest.raises(ProblemError, match="the logits of 40 classes were not kept"):
            registry.get(name).value(Answers.of(said, 3))
    else:
        assert refusal == ""


@pytest.mark.parametrize("name", ["accuracy", "error", "cross_entropy", "top5_accuracy", "ece_15", "f1_macro"])
def test_the_four_numbers_of_a_row_give_what_its_logits_give(name):
    said = random_predictions(500, 40)
    generator = np.random.default_rng([0, 500, 40])
    truth = generator.integers(0, 40, 500)
    logits = (generator.normal(size=(500, 40)) + 1.5 * np.eye(40)[truth]).astype(np.float32)
    whole = Predictions(said.classes, 40, truth, said.index, logits=logits)
    metric = registry.get(name)
    # nats and confidence are kept in single precision
    assert metric.value(Answers(said)) == pytest.approx(metric.value(Answers(whole)), rel=1e-6)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_one_class_alone_has_no_pairs(name):
    said = random_predictions(50, 2)
    alone = Predictions(said.classes, 2, np.zeros(50, int), said.index, logits=said.logits)
    assert np.isnan(registry.get(name).value(Answers.of(alone)))


def test_scores_of_a_class_that_round_to_one_keep_their_order():
    """Probabilities of 1 − 1e-20 are all 1; their log-odds are not."""
    logits = np.array([[0, 50, 0], [0, 60, 0], [0, 45, 0], [0, 55, 0]], dtype=np.float32)
    said = Predictions(np.arange(3), 3, np.array([1, 1, 0, 0]), np.arange(4), logits=logits)
    assert registry.get("roc_auc").value(Answers.of(said, 1)) == 0.75


def test_bins_are_closed_above():
    assert bin_of(np.array([0.0, 1 / 15, np.nextafter(1 / 15, 1), 0.5, 1.0])).tolist() == [0, 0, 1, 7, 14]


# which there are


def test_a_name_that_is_none_is_answered_by_the_nearest():
    with pytest.raises(ProblemError, match=r"no metric 'acuracy'; expected one of .*; did you mean accuracy\?"):
        registry.get("acuracy")


def test_a_positive_class_that_is_none_is_refused():
    said = random_predictions(20, 2)
    with pytest.raises(
        ProblemError, match="the positive class 'x' is none of the probe's; expected one of 0, 1"
    ):
        Answers.of(said, "x")
    assert Answers.of(said, "0").positive == 0


def test_what_is_shown_by_default():
    def shown(classes, counts):
        truth = np.repeat(np.arange(len(counts)), counts)
        logits = np.zeros((len(truth), classes), dtype=np.float32)
        said = Predictions(np.arange(classes), classes, truth, np.arange(len(truth)), logits=logits)
        return registry.default_names(Answers.of(said))

    assert shown(2, [10, 40]) == ["accuracy", "roc_auc", "error"]
    assert shown(2, [10, 41]) == ["accuracy", "roc_auc", "error", "balanced_accuracy"]
    assert shown(3, [5, 5, 5]) == ["accuracy", "error", "cross_entropy"]
    assert shown(3, [5, 5, 21]) == ["accuracy", "error", "cross_entropy", "balanced_accuracy"]
    assert shown(2, []) == ["accuracy", "roc_auc", "error"]


class Halved(MeanMetric):
    name = "halved"

    def of_rows(self, answers):
        return answers.right / 2


def test_a_metric_of_another_package_is_there_and_a_broken_one_is_told_of(monkeypatch, caplog):
    def broken():
        raise RuntimeError("no such luck")

    points = [
        SimpleNamespace(name="halved", value="other:HALVED", load=Halved),
        SimpleNamespace(name="broken", value="other:BROKEN", load=broken),
        SimpleNamespace(name="number", value="other:NUMBER", load=lambda: 3),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "actstore.metrics" else [])
    registry._metrics.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "solvers"):
            assert registry.get("halved").value(Answers.of(random_predictions(100, 2))) <= 0.5
        check_metric(registry.get("halved"))
        assert "metric 'broken' of another package (other:BROKEN) is left out" in caplog.text
        assert "'number'" in caplog.text
    finally:
        registry._metrics.cache_clear()
