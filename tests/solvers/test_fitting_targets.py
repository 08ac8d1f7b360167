"""Several targets in one call of `solvers.fit`."""

import numpy as np
import pytest

import solvers
from solvers.errors import ProblemError


@pytest.fixture
def targets(data):
    _, labels = data
    return {"class": labels, "first": labels == 0}


def test_each_target_gets_a_fit_of_its_own(data, targets):
    activations, _ = data
    found = solvers.fit(activations, targets, C=1.0)
    assert list(found) == ["class", "first"]
    for name, labels in targets.items():
        certificate = solvers.certify(activations, labels, found[name].weights, found[name].bias)
        assert certificate.gap_nats <= 1e-5


def test_every_target_shares_every_reading(data, targets):
    activations, _ = data
    paths = solvers.fit(activations, targets, C=[0.1, 1.0])
    alone = [solvers.fit(activations, labels, C=[0.1, 1.0]).passes for labels in targets.values()]
    assert len({path.passes for path in paths.values()}) == 1
    assert paths["class"].passes < sum(alone)


@pytest.mark.parametrize("setting", ["sample_weight", "validation"])
def test_a_target_that_a_dict_leaves_out_is_said(data, targets, setting):
    activations, labels = data
    given = {"class": np.ones(len(labels)) if setting == "sample_weight" else labels}
    options = {setting: given if setting == "sample_weight" else (activations, given)}
    with pytest.raises(ProblemError, match="nothing for 'first'; it has 'class'"):
        solvers.fit(activations, targets, C=[0.1, 1.0], **options)


def test_a_target_without_a_warm_start_starts_cold(data, targets):
    activations, _ = data
    first = solvers.fit(activations, targets["class"], gap_nats=1e-8)
    found = solvers.fit(activations, targets, warm_start={"class": first})
    assert found["class"].evaluations < found["first"].evaluations
