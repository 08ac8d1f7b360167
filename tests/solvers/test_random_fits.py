"""No certificate is false: random problems against an optimum of the tests' own (`random_fits` tries thousands)."""

import pytest

from tests.solvers import random_fits


@pytest.mark.parametrize("seed", range(12))
def test_no_certificate_is_false(seed):
    for fit, gap, loss in random_fits.judged(random_fits.draw(seed)):
        assert not random_fits.is_false(fit, gap, loss), fit
        assert fit.status == "converged", fit


def test_a_probe_that_claims_too_much_is_found_out():
    (_, gap, loss), *_ = random_fits.judged(random_fits.draw(0))

    class Claimed:
        gap_nats = gap - 1e-9

    assert random_fits.is_false(Claimed, gap, loss)
