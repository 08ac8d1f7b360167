"""Torch tensors in place of arrays: the same probes, or one line."""

import numpy as np
import pytest

import solvers
from solvers.errors import ProblemError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.framework


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    activations = torch.from_numpy(generator.normal(size=(200, 6)).astype(np.float32))
    return activations.bfloat16(), (activations[:, 0] + activations[:, 1] > 0).long()


def test_tensors_are_fitted_as_the_numbers_that_they_hold(rows):
    bits, labels = rows
    plain = solvers.fit(bits.float().numpy(), labels.numpy())
    for given in (bits, bits.float(), bits.float().requires_grad_(), bits.clone().requires_grad_()):
        found = solvers.fit(given, labels, sample_weight=torch.ones(200, dtype=torch.bfloat16))
        np.testing.assert_array_equal(found.weights, plain.weights)
        np.testing.assert_array_equal(found.predict(given), plain.predict(bits.float().numpy()))
        probes = solvers.fit_layers({"h": given}, labels, C=1.0, scale=False)
        np.testing.assert_array_equal(probes["h", "label", 0].weights, plain.weights)


def test_sparse_and_absent_tensors_are_one_line(rows):
    with pytest.raises(ProblemError, match=r"sparse Tensor; expected dense rows: give x.to_dense\(\)"):
        solvers.fit(rows[0].float().to_sparse(), rows[1])
    with pytest.raises(ProblemError, match="activations lie on meta; expected them on the host"):
        solvers.fit(rows[0].to("meta"), rows[1])
    with pytest.raises(ProblemError, match="labels lie on meta"):
        solvers.fit(rows[0], rows[1].to("meta"))
