"""The certificate, against optima found by code of the tests' own: never below the true gap, whatever it is given."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp

from solvers.arrays import NUMPY
from solvers.problem.problem import pose, pose_together
from solvers.proof.certificate import Certifier, Claim
from solvers.workers.threads import Threads

# Newton's optimum is good to the rounding of a loss of order 1.
ROUNDING = 1e-14
KINDS = ["optimal", "close", "stopped early", "random", "zero", "wrong intercept", "no intercept", "shifted"]


def certify(problem, probes, strengths, backend=NUMPY):
    """Certificates of probes of one problem."""
    claims = [Claim(0, each, C) for each, C in zip(probes, strengths, strict=True)]
    return Certifier([problem], backend).certify(claims)


def probe(kind, optimum, seed=0):
    """Coefficients of every quality, converged or not."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(optimum.shape)
    changed = optimum.copy()
    if kind == "wrong intercept":
        changed[:, -1] += 8 * noise[:, -1]
    elif kind == "no intercept":
        changed[:, -1] = 0
    elif kind == "shifted":
        changed += noise[0]  # the same for every class: probabilities stay, the penalty does not
    else:
        amount = {"optimal": 0.0, "close": 1e-4, "stopped early": 0.05, "random": 3.0, "zero": 0.0}[kind]
        changed = amount * noise + (0 if kind in {"random", "zero"} else optimum)
    return changed


@pytest.fixture(params=[(2, False), (2, True), (4, False), (4, True)], ids=str)
def case(request, make_problem):
    classes, weighted = request.param
    return make_problem(classes=classes, weighted=weighted, scale=weighted)


@pytest.mark.parametrize("C", [1e-2, 1.0, 1e3])
def test_never_below_the_true_gap(case, newton, C):
    optimum = newton(case, C)
    probes = [probe(kind, optimum.coefficients, seed) for kind in KINDS for seed in range(3)]
    certificates = certify(case, probes, [C] * len(probes))
    for kind, certificate in zip(np.repeat(KINDS, 3), certificates, strict=True):
        true_gap = optimum.loss_at(certificate.coefficients) - optimum.loss
        assert certificate.gap_nats >= true_gap - ROUNDING, kind
        assert certificate.loss == pytest.approx(optimum.loss_at(certificate.coefficients), rel=1e-12), kind


@pytest.mark.parametrize("C", [1e-2, 1.0, 1e3])
def test_proves_an_optimum(case, newton, C):
    optimum = newton(case, C).coefficients
    kinds = ["optimal", "wrong intercept", "no intercept"]
    certificates = certify(case, [probe(kind, optimum) for kind in kinds], [C] * len(kinds))
    for certificate in certificates:
        # Weights are optimal in all three and the intercept is solved anew: only rounding is left.
        assert 0 <= certificate.gap_nats < 1e-11
        np.testing.assert_allclose(certificate.coefficients[:, :-1], optimum[:, :-1])


def test_is_tight_for_a_gradient_of_the_weights_alone(make_problem, newton):
    problem = make_problem()
    optimum = newton(problem, 1.0)
    nudged = optimum.coefficients + 1e-5 * np.random.default_rng(1).standard_normal(optimum.coefficients.shape)
    (certificate,) = certify(problem, [nudged], [1.0])
    x = np.column_stack([problem.source[:] - problem.mean, np.ones(problem.rows)])
    z = x @ certificate.coefficients.T
    p = np.exp(z - logsumexp(z, axis=1, keepdims=True))
    residuals = p - np.eye(3)[problem.codes]
    gradient = (residuals.T @ x)[:, :-1] / problem.rows
    gradient += problem.penalty(1.0) * certificate.coefficients[:, :-1]
    expected = np.sum(gradient**2) / (2 * problem.penalty(1.0))
    assert certificate.gap_nats == pytest.approx(expected, rel=1e-2)  # the share that the intercept may keep


def test_short_formula_without_the_intercept_step_would_be_false(make_problem, newton):
    """A probe whose weights are stationary for a wrong intercept: no gradient by W, and yet not optimal."""
    problem = make_problem(classes=2)
    rows = problem.rows
    heavy = pose(
        np.vstack([problem.source[:], np.zeros((rows, problem.width))]), np.append(problem.codes, [0] * rows)
    )
    wrong = np.zeros((2, heavy.width + 1))
    wrong[:, -1] = [-30.0, 30.0]
    (certificate,) = certify(heavy, [wrong], [1.0])
    optimum = newton(heavy, 1.0)
    assert certificate.gap_nats >= certificate.loss - optimum.loss


def test_gap_is_never_more_than_the_loss(make_problem):
    problem = make_problem()
    (certificate,) = certify(problem, [probe("random", np.zeros((3, 6)))], [1e6])
    assert certificate.gap_nats == certificate.loss


@pytest.mark.parametrize("size", [1e3, 1e8, 1e150])
def test_probe_without_a_doubt_is_judged_too(case, newton, size):
    optimum = newton(case, 1.0)
    (certificate,) = certify(case, [size * probe("random", optimum.coefficients)], [1.0])
    assert certificate.gap_nats >= certificate.loss - optimum.loss - ROUNDING * certificate.loss
    assert np.isfinite(certificate.coefficients).all()


def test_probes_are_judged_each_for_itself(make_problem, newton):
    problem = make_problem()
    optimum = newton(problem, 1.0).coefficients
    probes, strengths = [probe(kind, optimum) for kind in KINDS], np.logspace(-2, 2, len(KINDS))
    together = certify(problem, probes, strengths)
    for each, C, certificate in zip(probes, strengths, together, strict=True):
        (alone,) = certify(problem, [each], [C])
        # The products are of another shape, so their last bits may differ.
        assert alone.gap_nats == pytest.approx(certificate.gap_nats, rel=1e-9, abs=1e-13)


def test_size_of_blocks_does_not_matter(make_problem):
    problem = make_problem(rows=500, weighted=True)
    nudged = probe("stopped early", np.zeros((3, 6)))
    (whole,) = certify(problem, [nudged], [1.0])
    (blocked,) = certify(problem, [nudged], [1.0], replace(NUMPY, block_elements=30, workers=Threads(3)))
    assert blocked.gap_nats == pytest.approx(whole.gap_nats, rel=1e-10)


def test_the_same_on_a_device(make_problem, device):
    problem = make_problem(weighted=True, scale=True)
    probes = [probe(kind, np.zeros((3, 6))) for kind in KINDS]
    here, there = (certify(problem, probes, [1.0] * len(KINDS), where) for where in (NUMPY, device))
    for one, other in zip(here, there, strict=True):
        assert one.gap_nats == pytest.approx(other.gap_nats, rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_random_problems_of_every_shape(newton, make_rows, seed):
    generator = np.random.default_rng(seed)
    rows, width, classes = generator.integers(10, 60), generator.integers(1, 8), generator.integers(2, 5)
    activations, labels = make_rows(int(rows), int(width), int(classes), seed)
    activations = activations * 10.0 ** generator.uniform(-3, 3, width) + generator.normal(scale=10, size=width)
    weights = generator.exponential(size=rows) if seed % 2 else None
    problem = pose(activations, labels, weights, scale=bool(seed % 3))
    C = float(10 ** generator.uniform(-3, 3))
    optimum = newton(problem, C)
    probes = [probe(kind, optimum.coefficients, seed) for kind in KINDS]
    for kind, certificate in zip(KINDS, certify(problem, probes, [C] * len(KINDS)), strict=True):
        slack = ROUNDING * (1 + certificate.loss)
        assert certificate.gap_nats >= optimum.loss_at(certificate.coefficients) - optimum.loss - slack, kind


def three_problems(make_rows):
    """Other classes and weights on the same rows, some of which the last problem does not use."""
    activations, labels = make_rows(200, 6, 4)
    activations = activations * np.linspace(0.5, 3.0, 6) + 2.0
    weights = [None, np.random.default_rng(1).exponential(size=200), (np.arange(200) % 3 > 0).astype(float)]
    return activations, pose_together(activations, [labels, labels > 1, labels % 3], weights, scale=True)


def test_problems_on_the_same_rows_are_judged_each_for_itself(make_rows, newton):
    _, problems = three_problems(make_rows)
    claims, kinds = [], ["close", "random", "no intercept"]
    for index, problem in enumerate(problems):
        optimum = newton(problem, 10.0).coefficients
        claims += [Claim(index, probe(kind, optimum), 10.0) for kind in kinds]
    certifier = Certifier(problems, NUMPY)
    passes = certifier.rows.passes
    together = certifier.certify(claims)
    shared = certifier.rows.passes - passes
    longest = 0
    for claim, certificate in zip(claims, together, strict=True):
        problem = problems[claim.problem]
        optimum = newton(problem, claim.C)
        assert certificate.gap_nats >= optimum.loss_at(certificate.coefficients) - optimum.loss - ROUNDING
        before = certifier.rows.passes
        (alone,) = certifier.certify([claim])
        longest = max(longest, certifier.rows.passes - before)
        # The products are of another shape, so their last bits may differ.
        assert alone.gap_nats == pytest.approx(certificate.gap_nats, rel=1e-9, abs=1e-13)
        np.testing.assert_allclose(alone.coefficients, certificate.coefficients, atol=1e-9)
    assert shared == longest  # all of them take the passes of the one that takes most


def test_rows_of_weight_zero_are_not_there(make_rows):
    activations, problems = three_problems(make_rows)
    used = np.arange(200) % 3 > 0
    labels = problems[2].classes[problems[2].codes]
    alone = pose(activations[used], labels[used], scale=True)
    nudged = probe("stopped early", np.zeros((3, 7)))
    (together,) = Certifier(problems, NUMPY).certify([Claim(2, nudged, 10.0)])
    (expected,) = certify(alone, [nudged], [10.0])
    assert together.loss == pytest.approx(expected.loss, rel=1e-12)
    assert together.gap_nats == pytest.approx(expected.gap_nats, rel=1e-9)
    assert together.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_penalty_the_gap_is_the_loss_and_the_gradient_is_told(case, kind):
    shape = (len(case.classes), case.width + 1)
    (certificate,) = certify(case, [probe(kind, np.zeros(shape))], [np.inf])
    at = certificate.coefficients
    x = np.column_stack([(case.source[:] - case.mean) / case.scale, np.ones(len(case.codes))])
    weights = np.ones(len(x)) if case.weights is None else case.weights
    z = x @ at.T
    log_p = z - logsumexp(z, axis=1, keepdims=True)
    one_hot = np.eye(shape[0])[case.codes]
    loss = -np.average((one_hot * log_p).sum(axis=1), weights=weights)
    residuals = (np.exp(log_p) - one_hot) * weights[:, None]
    assert certificate.gap_nats == certificate.loss == pytest.approx(loss, rel=1e-12)
    norm = np.linalg.norm(residuals.T @ x[:, :-1]) / len(x)
    assert certificate.gradient_norm == pytest.approx(norm, rel=1e-9)


def test_gradient_norm_is_that_at_the_intercept_found(make_problem, newton):
    problem = make_problem(weighted=True)
    optimum = newton(problem, 1.0).coefficients
    at_optimum, away = certify(problem, [optimum, probe("random", optimum)], [1.0, 1.0])
    assert at_optimum.gradient_norm < 1e-10
    # The bound is the square of the norm over 2 λ, and what repairing the intercept takes.
    assert (
        away.gradient_norm**2 / (2 * problem.penalty(1.0)) >= 0.9 * away.gap_nats or away.gap_nats == away.loss
    )
    assert away.gradient_norm > 0.1


def test_the_intercept_is_solved_no_further_than_is_enough(make_problem, newton):
    problem = make_problem(weighted=True)
    near = newton(problem, 1.0).coefficients
    near[:, -1] += [1e-3, 0.0, -1e-3]
    certifier = Certifier([problem], NUMPY)
    passes = certifier.rows.passes
    (enough,) = certifier.certify([Claim(0, near, 1.0, enough_nats=1e-2)])
    assert certifier.rows.passes - passes == 1
    (least,) = certifier.certify([Claim(0, near, 1.0)])
    assert certifier.rows.passes - passes > 2
    assert least.gap_nats < 1e-11 < enough.gap_nats <= 1e-2


def test_without_a_penalty_the_intercept_is_solved_before_anything_is_enough(make_problem, newton):
    """The gradient by the weights is small wherever all rows are certain: only at the best intercept it says much."""
    problem = make_problem()
    near = newton(problem, 1.0).coefficients
    near[:, -1] += [5.0, 0.0, -5.0]
    (certificate,) = Certifier([problem], NUMPY).certify([Claim(0, near, np.inf, enough_nats=100.0)])
    z = (problem.source[:] - problem.mean) @ certificate.coefficients[:, :-1].T + certificate.coefficients[
        :, -1
    ]
    p = np.exp(z - logsumexp(z, axis=1, keepdims=True))
    by_intercept = (p - np.eye(3)[problem.codes]).mean(axis=0)
    assert np.abs(by_intercept).max() <= 0.01 * certificate.gradient_norm
