import numpy as np
import pytest

import solvers
from solvers.errors import ProblemError

ROWS = 300


def passes(probes):
    """Readings of the rows that the solver needed, of all layers."""
    return sum(tried.passes for probe in probes.values() for tried in probe.path)


@pytest.mark.parametrize("split_features", [None, 2])
def test_a_fit_one_step_later_needs_fewer_passes_from_the_probes_of_the_step_before(
    layers, labels, split_features
):
    """The paper's θn -> θn+1: the same network, its activations moved a little."""
    options = {"C": 10.0, "engine": "numpy", "gap_nats": 1e-8, "split_features": split_features}
    before = solvers.fit_layers(layers, labels, step=1, **options)
    generator = np.random.default_rng(2)
    later = {name: layer + 1e-3 * generator.normal(size=layer.shape) for name, layer in layers.items()}
    cold = solvers.fit_layers(later, labels, step=2, **options)
    warm = solvers.fit_layers(later, labels, step=2, warm_start=before, **options)
    assert list(warm) == list(cold)
    assert passes(warm) < passes(cold)
    for key, probe in warm.items():
        # Both are proven to lie within their gaps of one optimum.
        assert abs(probe.loss - cold[key].loss) <= probe.gap_nats + cold[key].gap_nats


def test_probes_that_have_none_to_start_from_are_counted(layers, labels):
    before = solvers.fit_layers({"conv": layers["conv"]}, labels, C=1.0, target="kind")
    said = []
    both = {"kind": labels, "odd": labels == 1}
    probes = solvers.fit_layers(layers, both, C=1.0, warm_start=before, notice=said.append)
    assert said == ["3 of 4 probes start cold: the warm start has none of their layer and target"]
    assert len(probes) == 4
    said.clear()
    solvers.fit_layers(layers, both, C=1.0, warm_start=probes, notice=said.append)
    assert said == []


def test_of_several_steps_the_last_is_taken(layers, labels):
    early = solvers.fit_layers(layers, labels, C=1e-4, step=1)
    late = solvers.fit_layers(layers, labels, C=10.0, engine="numpy", gap_nats=1e-8, step=2)
    options = {"C": 10.0, "engine": "numpy", "gap_nats": 1e-8}
    both = solvers.Probes([*late.values(), *early.values()])
    assert passes(solvers.fit_layers(layers, labels, warm_start=both, **options)) == passes(
        solvers.fit_layers(layers, labels, warm_start=late, **options)
    )


def test_random_features_start_from_their_columns(layers, labels):
    options = {"C": 1.0, "engine": "numpy", "random_features": 5}
    before = solvers.fit_layers(layers, labels, **options)
    again = solvers.fit_layers(layers, labels, warm_start=before, **options)
    assert passes(again) < passes(before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"width": 6},
            "the warm start of layer 'input', target 'label', has 6 features but the layer has 8; give probes of",
        ),
        (
            {"classes": 5},
            r"target 'label', has the classes 0, 1, 2, 3, ... \(5\) but the labels have 0, 1, 2; give probes of",
        ),
    ],
)
def test_probes_of_something_else_are_refused(layers, labels, given, message):
    other = {"input": layers["input"][:, : given.get("width", 8)]}
    kinds = np.arange(ROWS) % given.get("classes", 3)
    before = solvers.fit_layers(other, kinds, C=0.01)
    with pytest.raises(ProblemError, match=message):
        solvers.fit_layers(layers, labels, C=1.0, warm_start=before)
