"""Several targets over the same layers, each as if it were alone."""

import numpy as np
import pytest

import solvers
from solvers.errors import ProblemError
from solvers.fitting.result import FitProgress
from solvers.probing.fit_layers import LayerProgress
from solvers.probing.layer import choosing as layer_module

ROWS = 300
STRENGTHS = (0.01, 1.0, 100.0)


class Counted:
    """Rows that count how often they are read, and refuse to be where they must not."""

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.rows_read = 0

    def __getitem__(self, rows):
        self.rows_read += len(range(*rows.indices(len(self.array))))
        return self.array[rows]


@pytest.fixture
def labels():
    """Three classes; two classes as text; three classes, of which a third of the rows have none."""
    kind = np.random.default_rng(0).integers(0, 3, ROWS)
    missing = np.random.default_rng(3).random(ROWS) < 0.3
    return {
        "kind": kind,
        "name": np.where(kind == 1, "bee", "ant"),
        "some": np.ma.masked_array((kind + 1) % 3, missing),
    }


@pytest.fixture
def layers(labels):
    generator = np.random.default_rng(1)
    return {name: np.eye(3, 8)[labels["kind"]] + generator.normal(size=(ROWS, 8)) for name in ("input", "conv")}


@pytest.fixture
def splits():
    return np.random.default_rng(2).choice(["train", "val", "test"], size=ROWS, p=[0.6, 0.2, 0.2])


@pytest.mark.parametrize("strengths", [1.0, STRENGTHS])
@pytest.mark.parametrize("named", [True, False], ids=["val", "held out"])
def test_each_target_is_fitted_as_if_it_were_alone(layers, labels, splits, strengths, named, monkeypatch):
    # C = 1 and 100 differ by 0.001 nats on validation rows, less than the gap that paths are judged at.
    monkeypatch.setattr("solvers.fitting.path.ROUGH_GAP_NATS", 1e-8)
    options = {"C": strengths, "splits": splits if named else None, "seed": 4, "gap_nats": 1e-10}
    together = solvers.fit_layers(layers, labels, **options)
    assert list(together) == [(layer, target, 0) for layer in layers for target in labels]
    for target, own in labels.items():
        for key, alone in solvers.fit_layers(layers, {target: own}, **options).items():
            probe = together[key]
            assert probe.C == alone.C
            # One optimum, and the same rows of every split.
            assert abs(probe.loss - alone.loss) <= probe.gap_nats + alone.gap_nats
            assert (probe.rows, probe.unlabelled, probe.chance) == (alone.rows, alone.unlabelled, alone.chance)
            assert probe.rows_fingerprint == alone.rows_fingerprint
            assert probe.classes.tolist() == alone.classes.tolist()
            assert probe.error == alone.error
            for split, nats in probe.cross_entropy.items():
                # Logits err by the root of the gap, about, and cross-entropies by no more.
                assert nats == pytest.approx(alone.cross_entropy[split], abs=2e-5)


def test_a_mapping_of_one_is_the_same_as_one_array(layers, labels):
    (one,) = solvers.fit_layers({"conv": layers["conv"]}, {"kind": labels["kind"]}, C=1.0).values()
    (other,) = solvers.fit_layers({"conv": layers["conv"]}, labels["kind"], target="kind", C=1.0).values()
    assert one.key == other.key == ("conv", "kind", 0)
    assert np.array_equal(one.weights, other.weights)


def test_all_targets_are_one_call_of_fit_with_rows_masked_that_are_not_theirs(
    layers, labels, splits, monkeypatch
):
    calls = []
    fit = layer_module.fit

    def spy(activations, given, **options):
        calls.append((activations, given, options["validation"]))
        return fit(activations, given, **options)

    monkeypatch.setattr(layer_module, "fit", spy)
    solvers.fit_layers({"conv": layers["conv"]}, labels, splits=splits, C=STRENGTHS)
    ((activations, given, (held, held_labels)),) = calls
    train = splits == "train"
    assert activations.shape == (train.sum(), 8)
    assert np.array_equal(activations[0 : train.sum()], layers["conv"][train])
    assert list(given) == list(held_labels) == ["kind", "name", "some"]
    assert np.array_equal(np.ma.getmaskarray(given["some"]), labels["some"].mask[train])
    assert not np.ma.getmaskarray(given["kind"]).any()
    assert held.shape[0] == len(held_labels["some"]) == np.sum(splits == "val")


def test_the_test_split_is_read_once_for_all_targets(layers, labels):
    splits = {"test": np.arange(100), "train": np.arange(100, ROWS)}

    class TestRows(Counted):
        def __getitem__(self, rows):
            if rows.indices(ROWS)[0] < 100:
                self.rows_read += len(range(*rows.indices(ROWS)))
            return self.array[rows]

    layer = TestRows(layers["conv"])
    solvers.fit_layers({"conv": layer}, labels | {"some": labels["some"].data}, splits=splits, C=STRENGTHS)
    assert layer.rows_read == 100


def test_a_target_that_can_not_be_fitted_is_refused_before_anything_is_read(layers, labels):
    layer = Counted(layers["conv"])
    with pytest.raises(
        ProblemError, match="target 'flat' has only the class 7 in its 300 labelled training rows"
    ):
        solvers.fit_layers({"conv": layer}, labels | {"flat": np.full(ROWS, 7)}, C=1.0)
    with pytest.raises(ProblemError, match="layer 'conv' has 300 rows but target 'short' has 280"):
        solvers.fit_layers({"conv": layer}, labels | {"short": np.arange(280) % 2}, C=1.0)
    with pytest.raises(ProblemError, match="there are no targets to fit; give the labels of at least one"):
        solvers.fit_layers({"conv": layer}, {}, C=1.0)
    assert layer.rows_read == 0


@pytest.mark.parametrize("split", ["train", "test"])
def test_bad_rows_stop_the_targets_that_need_them_and_no_other(layers, labels, splits, split):
    missing = labels["some"].mask
    row = np.flatnonzero((splits == split) & missing)[0]
    layers["input"][row, 2] = np.nan
    probes = solvers.fit_layers(layers, labels, splits=splits, C=STRENGTHS)
    assert [key[:2] for key in probes] == [
        ("input", "some"),
        *(("conv", target) for target in labels),
    ]
    count = np.sum(splits == split)
    reason = (
        f"bad_data: 1 rows hold NaN or infinite values (1 of {count} {split}), the first is row {row}; mend or leave "
        "out such rows; what a narrow dtype made infinite, dump in a wider one"
    )
    assert probes.failures == {"input": f"target 'kind': {reason}; target 'name': {reason}"}


def test_what_solvers_fit_is_given(layers, labels, monkeypatch):
    given = {}
    fit = layer_module.fit

    def spy(*arguments, **options):
        given.update(options)
        return fit(*arguments, **{name: options[name] for name in ("C", "scale")})

    monkeypatch.setattr(layer_module, "fit", spy)
    solvers.fit_layers(
        {"conv": layers["conv"]}, labels, C=1.0, class_weight="balanced", memory_bytes=10**9, device="cuda:1"
    )
    assert (given["class_weight"], given["memory_bytes"], given["device"]) == ("balanced", 10**9, "cuda:1")
    assert "warm_start" not in given


def test_progress_within_a_layer(layers, labels, monkeypatch):
    fit = layer_module.fit

    def reporting(*arguments, progress, **options):
        progress(FitProgress(2, 3, 1e-6, 40))
        return fit(*arguments, **options)

    monkeypatch.setattr(layer_module, "fit", reporting)
    seen = []
    solvers.fit_layers(layers, labels, C=1.0, progress=seen.append)
    within = FitProgress(2, 3, 1e-6, 40)
    assert seen == [
        LayerProgress("input", 0, 2),
        LayerProgress("input", 0, 2, within),
        LayerProgress("conv", 1, 2),
        LayerProgress("conv", 1, 2, within),
    ]
