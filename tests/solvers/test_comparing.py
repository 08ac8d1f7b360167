"""Which probes are compared with which, where the reference is from, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.errors import ProblemError
from solvers.metrics import registry
from solvers.probing.probes import Probes
from solvers.probing.scores.comparing import Question, compared
from solvers.scoring.answers import Answers
from solvers.scoring.comparisons import compare
from tests.solvers.made_probes import made


def asked(probes, **question):
    return compared([probes], Question(**question))


def test_every_layer_against_the_best_by_val_reported_on_test():
    probes = made(layers=("a", "b", "c", "d"), sharpness=(0, 1, 1.5, 1.4))
    best = min(probes.values(), key=lambda probe: probe.scores.error["val"]).layer
    (family,) = asked(probes)
    assert family.reference.startswith(f"{best}, the best by error on `val` (")
    assert (family.split, family.simultaneous, len(family.comparisons)) == ("test", False, 3)
    for each in family.comparisons:
        assert each.comparison.value == probes[each.name, "t", 0].scores.error["test"]
        assert each.comparison.reference == probes[best, "t", 0].scores.error["test"]


def test_a_metric_that_the_file_has_no_number_of_is_looked_up_on_val_s_predictions():
    probes = made(layers=("a", "b"), sharpness=(2, 0.5))
    (family,) = asked(probes, metric="roc_auc")
    assert family.reference.startswith("a, the best by roc_auc on `val` (")


def test_without_a_val_the_best_is_found_on_the_rows_and_intervals_are_simultaneous():
    probes = made(layers=("a", "b", "c"), sharpness=(0, 1, 3), chosen=("given", None))
    bare = probes.changed(
        lambda probe: replace(
            probe,
            proof=replace(probe.proof, path=()),
            scores=replace(probe.scores, error={"test": probe.scores.error["test"]}),
        )
    )
    (family,) = asked(bare)
    assert (family.reference, family.simultaneous) == ("c", True)
    assert {each.comparison.interval.how for each in family.comparisons} == {"max_t"}


def test_a_c_that_folds_chose_chooses_the_layer_by_its_held_out_folds():
    probes = made(layers=("a", "b"), chosen=("folds", None))
    bare = probes.changed(
        lambda probe: replace(
            probe,
            scores=replace(
                probe.scores, error={split: probe.scores.error[split] for split in ("train", "test")}
            ),
        )
    )
    (family,) = asked(bare)
    assert family.reference == "a, the best by error on the rows that chose C (0.2000)"


def test_named_layers_are_set_against_the_first_and_all_against_a_reference():
    probes = made(layers=("a", "b", "c"))
    (two,) = asked(probes, layers=("b", "c"))
    assert [(each.name, each.reference) for each in two.comparisons] == [("c", "b")]
    assert two.reference == "b, named beforehand"
    (all_,) = asked(probes, reference="b")
    assert [(each.name, each.reference) for each in all_.comparisons] == [("a", "b"), ("c", "b")]


def test_steps_are_paired_by_layer_and_a_family_of_their_own():
    probes = made(layers=("a", "b"), steps=(0, 500))
    (family,) = asked(probes, steps=(0, 500))
    assert [each.name for each in family.comparisons] == ["a", "b"]
    for each in family.comparisons:
        assert each.comparison.value == probes[each.name, "t", 500].scores.error["test"]
        assert each.comparison.reference == probes[each.name, "t", 0].scores.error["test"]
    assert [family.step for family in asked(probes)] == [0, 500]


def test_targets_of_the_same_rows_are_paired_whatever_their_labels():
    probes = made(layers=("a", "b"), targets=("t", "u"))
    (family,) = asked(probes, targets=("t", "u"))
    for each in family.comparisons:
        assert each.comparison.value == probes[each.name, "u", 0].scores.error["test"]
    said = [Answers.of(probes.predictions((layer, "t", 0), "test")) for layer in ("a", "b")]
    with pytest.raises(ProblemError, match="their labels differ"):
        compare(registry.get("error"), [Answers.of(probes.predictions(("a", "u", 0), "test"))], said[:1])


def test_two_files_are_paired_probe_by_probe():
    first, second = made(seed=1), made(seed=1, sharpness=(2, 2, 2))
    (family,) = compared([first, second], Question(), ["one.h5", "two.h5"])
    assert family.reference == "the same layer of one.h5, against which two.h5 is set"
    assert [each.name for each in family.comparisons] == ["a", "b", "c"]
    assert family.comparisons[0].comparison.value == second["a", "t", 0].scores.error["test"]


def test_a_file_with_itself_is_0_to_0():
    probes = made(groups=40)
    for metric in ("error", "roc_auc", "cross_entropy", "f1_macro"):
        (family,) = compared([probes, probes], Question(metric))
        for each in family.comparisons:
            found = each.comparison
            assert (found.difference, found.interval.low, found.interval.high, found.p) == (0, 0, 0, 1)


def test_files_of_other_rows_are_refused():
    first, second = made(), made(rows=100)
    with pytest.raises(
        ProblemError, match="not scored on the same rows: the first has 100 rows, the second 200"
    ):
        compared([first, second], Question())
    other = second.changed(
        lambda probe: replace(probe, provenance=replace(probe.provenance, rows_fingerprint="other"))
    )
    with pytest.raises(
        ProblemError, match=r"one.h5 and two.h5 were fitted on different rows or splits \(layer 'a'\)"
    ):
        compared([first, other], Question(), ["one.h5", "two.h5"])
    with_ids = [replace(table, arrays={**table.arrays, "id": np.arange(200)}) for table in second.beside.tables]
    others = [
        replace(table, arrays={**table.arrays, "id": np.arange(200)[::-1]}) for table in second.beside.tables
    ]
    one, two = (
        Probes(second.values(), beside=replace(second.beside, tables=tuple(each)))
        for each in (with_ids, others)
    )
    with pytest.raises(ProblemError, match="were scored on rows of other ids"):
        compared([one, two], Question())
    with pytest.raises(ProblemError, match="have no layer, target and step in common"):
        compared([first, made(layers=("x",))], Question())


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ({"metric": "acc"}, "there is no metric 'acc'"),
        ({"metric": "confusion"}, "confusion is no number of all rows"),
        ({"reference": "bb"}, "there is no layer 'bb' among the probes; did you mean 'b'"),
        ({"layers": ("a", "x")}, "there is no layer 'x' among the probes; there are a, b, c"),
        ({"steps": (0, 5)}, "there is no step 5 among the probes; there are 0"),
        ({"targets": ("t", "u")}, "there is no target 'u' among the probes"),
        ({"split": "dev"}, "there is no split 'dev' of all these probes; they were scored on train, val, test"),
        ({"split": "val"}, "the rows of 'val' chose C, so they cannot judge them"),
        ({"split": "train"}, "the rows of 'train' trained the probes, so they cannot judge them"),
        ({"positive": "x"}, "the positive class 'x' is none of the probes'"),
        ({"metric": "top5_accuracy"}, "top5_accuracy of 2 classes is 1 whatever a probe says"),
    ],
)
def test_what_there_is_not_is_refused(question, why):
    with pytest.raises(ProblemError, match=why):
        asked(made(), **question)


def test_one_probe_alone_and_files_without_predictions_are_refused():
    with pytest.raises(ProblemError, match="there are no two probes to compare"):
        asked(made(layers=("a",)))
    with pytest.raises(
        ProblemError, match="the file has no predictions of split 'test', and a comparison is of them"
    ):
        asked(made(kept=()))
    with pytest.raises(ProblemError, match="there are no two probes to compare"):
        asked(Probes([]))


def test_the_p_values_of_a_family_are_holm_s_and_of_enough_draws():
    probes = made(layers=tuple("abcdefgh"), rows=400, groups=100)
    (family,) = asked(probes, metric="cross_entropy", reference="a")
    p = np.array([each.comparison.p for each in family.comparisons])
    order = np.argsort(p)
    expected = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(7, 0, -1)))
    assert [family.comparisons[place].comparison.p_family for place in order] == pytest.approx(expected)
    assert p.min() == pytest.approx(1 / 2_001)


def test_a_comparison_that_cannot_be_judged_counts_in_its_family_and_says_why():
    probes = made(layers=("a", "b", "c", "d"), sharpness=(40, 50, 60, 1))  # a, b, c are right of every row
    (family,) = asked(probes, metric="roc_auc", reference="a")
    found = {each.name: each.comparison for each in family.comparisons}
    for name in ("b", "c"):
        assert found[name].difference == 0
        assert np.isnan([found[name].p, found[name].p_family]).all()
        assert (
            found[name].why == "the difference is the same whichever rows are drawn, so its error is not known"
        )
    assert found["d"].why == ""
    assert found["d"].p_family == pytest.approx(3 * found["d"].p)
