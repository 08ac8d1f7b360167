"""The linear decoder is scikit-learn's Ridge, at every penalty, and proves itself."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from solvers.decoders.examples import Examples
from solvers.decoders.images import image_units
from solvers.decoders.linear import fit_linear, linear_backend
from solvers.errors import EngineError, ProblemError


@pytest.fixture
def given():
    """400 rows of 12 activations on a level of their own, and 5 x 4 pictures in whole numbers that they tell of."""
    generator = np.random.default_rng(0)
    codes = generator.normal(size=(400, 12)) * np.linspace(0.5, 6, 12) + 30
    pictures = 128 + (codes - 30) @ generator.normal(size=(12, 20)) * 4 + generator.normal(size=(400, 20)) * 10
    return codes, np.clip(pictures, 0, 255).astype(np.uint8).reshape(400, 5, 4)


def examples_of(images, train=None, select=None):
    train = np.arange(len(images)) if train is None else np.asarray(train)
    return Examples(images, image_units(images, np.arange(len(images))), train, select)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_it_predicts_as_ridge_does(given, penalty, dtype):
    codes, images = given[0].astype(dtype), given[1]
    train = np.arange(0, 400, 2)
    fit = fit_linear(codes, examples_of(images, train), penalties=[penalty])
    wanted = images.reshape(400, -1) / 255
    ridge = Ridge(alpha=penalty, solver="cholesky").fit(codes[train].astype("f8"), wanted[train])
    assert np.linalg.cond(codes[train].astype("f8") - codes[train].mean(axis=0)) < 1e4
    expected = ridge.predict(codes.astype("f8"))
    found = fit.decoder.reconstruct(codes).reshape(400, -1)
    assert np.abs(found - expected).max() <= 1e-10 * np.abs(expected).max()
    assert fit.status == "converged"
    assert fit.residual < 1e-12


def test_the_gap_bounds_the_loss_of_any_weights(given):
    """One decoder's own gap is nearly 0; the loss of any other is above, so the optimum is real."""
    codes, images = given
    fit = fit_linear(codes, examples_of(images), penalties=[10.0])
    centred, wanted = codes - codes.mean(axis=0), images.reshape(400, -1) / 255

    def loss(weights):
        left = wanted - wanted.mean(axis=0) - centred @ weights
        return ((left**2).sum() + 10.0 * (weights**2).sum()) / left.size

    least = loss(fit.decoder.weights)
    nudged = fit.decoder.weights + 1e-4 * np.random.default_rng(1).normal(size=fit.decoder.weights.shape)
    assert loss(nudged) > least
    assert fit.gap < 1e-20


def test_blocks_do_not_change_the_decoder(given, monkeypatch):
    codes, images = given
    whole = fit_linear(codes, examples_of(images), penalties=[1.0])
    monkeypatch.setattr("solvers.decoders.linear._BLOCK_ELEMENTS", 60)
    in_blocks = fit_linear(codes, examples_of(images), penalties=[1.0])
    np.testing.assert_allclose(in_blocks.decoder.weights, whole.decoder.weights, rtol=1e-10)


def test_on_a_device_it_is_the_same(given, device):
    codes, images = given
    here = fit_linear(codes, examples_of(images, np.arange(300), np.arange(300, 400)))
    there = fit_linear(codes, examples_of(images, np.arange(300), np.arange(300, 400)), backend=device)
    assert here.penalty == pytest.approx(there.penalty, rel=1e-12)
    np.testing.assert_allclose(there.decoder.weights, here.decoder.weights, rtol=1e-9, atol=1e-14)
    assert type(there.decoder.weights) is np.ndarray


def test_the_penalty_is_chosen_by_the_selection_rows_alone(given):
    codes, images = given
    train, select = np.arange(20), np.arange(300, 400)
    fit = fit_linear(codes, examples_of(images, train, select), penalties=[1e-4, 1, 100, 1e4])
    wanted = images.reshape(400, -1) / 255
    errors = {}
    for penalty, error in fit.path:
        ridge = Ridge(alpha=penalty).fit(codes[train], wanted[train])
        errors[penalty] = ((ridge.predict(codes[select]) - wanted[select]) ** 2).mean()
        assert error == pytest.approx(errors[penalty], rel=1e-8)
    assert fit.penalty == min(errors, key=errors.get)


def test_more_columns_than_rows_and_constant_columns(given):
    codes, images = given
    wide = np.hstack([codes, np.ones((400, 30)), codes])[:25]
    fit = fit_linear(wide, examples_of(images[:25]), penalties=[0.5])
    ridge = Ridge(alpha=0.5).fit(wide, images[:25].reshape(25, -1) / 255)
    np.testing.assert_allclose(
        fit.decoder.reconstruct(wide).reshape(25, -1), ridge.predict(wide), rtol=1e-9, atol=1e-11
    )
    assert fit.status == "converged"


def test_a_residual_that_stays_is_said(given, monkeypatch):
    """Nothing is dressed up: a decomposition that is off gives weights whose residual shows it."""
    codes, images = given
    real = np.linalg.eigh
    monkeypatch.setattr("solvers.decoders.linear._REFINEMENTS", 0)

    def off(gram):
        values, vectors = real(gram)
        return values * 1.001, vectors

    monkeypatch.setattr(np.linalg, "eigh", off)
    fit = fit_linear(codes, examples_of(images), penalties=[1.0])
    assert fit.status == "residual_missed"
    assert fit.residual > 1e-4


def test_what_cannot_be_fitted_is_refused(given):
    codes, images = given
    every = examples_of(images)
    with pytest.raises(ProblemError, match="penalty 0; expected a number above 0"):
        fit_linear(codes, every, penalties=[0.0])
    with pytest.raises(ProblemError, match="penalty nan"):
        fit_linear(codes, every, penalties=[float("nan")])
    with pytest.raises(ProblemError, match="no penalty was given"):
        fit_linear(codes, every, penalties=[])
    with pytest.raises(ProblemError, match="several penalties and no rows"):
        fit_linear(codes, every)
    with pytest.raises(ProblemError, match="several penalties and no rows"):
        fit_linear(codes, examples_of(images, None, np.array([], int)))
    with pytest.raises(ProblemError, match="399 rows of activations and 400 pictures"):
        fit_linear(codes[:399], every, penalties=[1.0])
    with pytest.raises(ProblemError, match="1 rows to fit a decoder on"):
        fit_linear(codes, examples_of(images, [3]), penalties=[1.0])
    with pytest.raises(ProblemError, match="rows go from 0 to 400"):
        examples_of(images, [0, 400])
    codes = codes.copy()
    codes[7, 3] = np.nan
    with pytest.raises(ProblemError, match="1 rows of the activations hold NaN"):
        fit_linear(codes, every, penalties=[1.0])
    with pytest.raises(EngineError, match=r"a linear decoder of 12 features takes 0\.0 GB"):
        fit_linear(codes, every, penalties=[1.0], memory_bytes=1000)
    with pytest.raises(EngineError, match="no engine 'sklearn'; expected auto, numpy or cupy"):
        linear_backend("sklearn")
