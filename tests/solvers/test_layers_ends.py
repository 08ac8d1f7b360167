import numpy as np
import pytest

import solvers
from solvers.probing.fit_layers import FitInterrupted, LayerProgress

ROWS = 300
STRENGTHS = (0.01, 1.0, 100.0)


@pytest.fixture
def splits():
    """Scattered rows: about 60% train, 20% val, 20% test."""
    return np.random.default_rng(2).choice(["train", "val", "test"], size=ROWS, p=[0.6, 0.2, 0.2])


@pytest.mark.parametrize(("split", "bad"), [("train", np.nan), ("val", np.inf), ("test", -np.inf)])
def test_a_layer_with_bad_rows_is_refused_and_the_others_finish(layers, labels, splits, split, bad):
    rows = np.flatnonzero(splits == split)[[0, 5]]
    layers["input"][rows, 3] = bad
    probes = solvers.fit_layers(layers, labels, splits=splits, C=STRENGTHS)
    assert list(probes) == [("conv", "label", 0)]
    assert probes.failures == {
        "input": f"bad_data: 2 rows hold NaN or infinite values (2 of {np.sum(splits == split)} {split}), "
        f"the first is row {rows[0]}; mend or leave out such rows; "
        "what a narrow dtype made infinite, dump in a wider one"
    }


def test_bad_rows_that_are_in_no_split_do_no_harm(layers, labels):
    layers["input"][299] = np.nan
    assert not solvers.fit_layers(layers, labels, splits={"train": range(200)}, C=1.0).failures


def test_progress(layers, labels):
    seen = []
    solvers.fit_layers(layers, labels, C=1.0, progress=seen.append)
    begun = [each for each in seen if each.fit is None]
    assert begun == [LayerProgress("input", 0, 2), LayerProgress("conv", 1, 2)]
    within = [(each.layer, each.done, each.fit.done, each.fit.total) for each in seen if each.fit is not None]
    assert within == [("input", 0, 1, 1), ("conv", 1, 1, 1)]
    assert all(0 <= each.fit.worst_gap_nats <= 1e-5 and each.fit.passes > 0 for each in seen if each.fit)


def test_an_interrupt_keeps_the_finished_layers(layers, labels):
    def stop_at_the_second(progress):
        if progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(
        FitInterrupted, match="interrupted at layer 'conv', with 1 of 2 layers fitted"
    ) as caught:
        solvers.fit_layers(layers, labels, C=1.0, progress=stop_at_the_second)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert list(caught.value.probes) == [("input", "label", 0)]


def test_an_interrupt_within_a_layer_ends_the_whole(layers, labels):
    def stop_within(progress):
        if progress.fit is not None:
            raise KeyboardInterrupt

    with pytest.raises(
        FitInterrupted, match="interrupted at layer 'input', with 0 of 2 layers fitted"
    ) as caught:
        solvers.fit_layers(layers, labels, progress=stop_within)
    assert len(caught.value.probes) == 0


def test_a_gap_that_is_missed_is_said(layers, labels):
    probes = solvers.fit_layers(layers, labels, C=1.0, engine="numpy", gap_nats=1e-300)
    assert {probe.status for probe in probes.values()} == {"gap_missed"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": [0, 1] * 140},
            "layer 'input' has 300 rows but target 'label' has 280; a probe needs one label per",
        ),
        (
            {"layers": {"x": np.zeros(ROWS)}},
            r"layer 'x': activations have shape \(300,\); expected \(rows, features\)",
        ),
        ({"layers": {}}, "there are no layers to fit; give at least one"),
        ({"C": []}, "C is an empty list; give one penalty or several, or leave it out for 1e-4 to 1e4"),
        ({"C": [1.0, -1.0]}, "C"),
        ({"engine": "abacus"}, "abacus"),
        ({"seed": -1}, "seed is -1; expected an int of 0 or more"),
        ({"feature_subset": 0}, "feature_subset is 0; expected a number of columns, 1 or more"),
        (
            {"splits": ["val"] * 150 + ["test"] * 150},
            "no rows to train on: the splits are test, val; name one of them",
        ),
        (
            {"labels": np.zeros(ROWS, int)},
            "target 'label' has only the class 0 in its 300 labelled training rows",
        ),
        (
            {"labels": [0, 1] * 100 + [2] * 100, "splits": ["train"] * 200 + ["val"] * 100},
            "no row of the `val` split has a label for 'label' that is known from training, so C cannot be",
        ),
    ],
)
def test_what_makes_no_problem(layers, labels, changes, message):
    given = {"layers": layers, "labels": labels, "C": STRENGTHS} | changes
    with pytest.raises(solvers.SolverError, match=message):
        solvers.fit_layers(given.pop("layers"), given.pop("labels"), **given)
