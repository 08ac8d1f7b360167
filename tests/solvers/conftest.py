"""Problems, an independent optimum, and a stand-in for a GPU's arrays."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from solvers.arrays import NUMPY, Backend
from solvers.engines import choice
from solvers.engines.cupy_lbfgs import device_name
from solvers.problem.problem import pose
from solvers.workers.threads import Threads
from tests.solvers.stand_in import DeviceModule, Stream, _lifted, installed, to_host


def pytest_terminal_summary(terminalreporter):
    """Say on which GPU the engine cupy was tested, or why on none."""
    reason = choice.available("cupy")
    where = (
        f"tested on {device_name()}"
        if reason is None
        else f"its arithmetic tested through NumPy alone: {reason}"
    )
    terminalreporter.write_line(f"engine cupy: {where}")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Problems this small gain nothing from threads, and lose much where other work keeps the cores busy."""
    with threadpool_limits(1):
        yield


def _rows(rows, width, classes, seed=0):
    """Gaussian rows with labels drawn from a softmax of their own, every class present."""
    generator = np.random.default_rng(seed)
    activations = generator.standard_normal((rows, width))
    logits = activations @ generator.standard_normal((width, classes))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    labels[:classes] = np.arange(classes)
    return activations, labels


@pytest.fixture
def make_rows():
    return _rows


@pytest.fixture
def data():
    """Rows and labels of columns with means and deviations of their own."""
    activations, labels = _rows(300, 6, 3)
    return activations * np.linspace(0.2, 4, 6) + 3, labels


@pytest.fixture
def labels():
    """One of three classes for each of 300 rows."""
    return np.random.default_rng(0).integers(0, 3, 300)


@pytest.fixture
def layers(labels):
    """A network at one step: two layers, features with a little to say about three classes."""
    generator = np.random.default_rng(1)
    return {name: np.eye(3, 8)[labels] + generator.normal(size=(len(labels), 8)) for name in ("input", "conv")}


@pytest.fixture
def make_problem():
    def make(rows=120, width=5, classes=3, seed=0, weighted=False, scale=False):
        activations, labels = _rows(rows, width, classes, seed)
        activations = activations * np.linspace(0.5, 3.0, width) + 2.0
        weights = np.random.default_rng(seed + 1).exponential(size=rows) if weighted else None
        return pose(activations, labels, weights, scale=scale)

    return make


def _newton(problem, C):
    """The optimum by damped Newton steps on the whole Hessian: no code in common with what it judges."""
    x = (np.asarray(problem.source[:], dtype=np.float64) - problem.mean) / problem.scale
    x = np.column_stack([x, np.ones(len(x))])
    classes, size = len(problem.classes), x.shape[1]
    weights = np.ones(len(x)) if problem.weights is None else problem.weights
    effective = C / 2 if classes == 2 else C
    penalty = np.append(np.full(size - 1, 1 / (effective * problem.total_weight)), 0.0)
    one_hot = np.eye(classes)[problem.codes]

    def loss(a):
        z = x @ a.T
        z -= z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        return -(weights * (one_hot * log_p).sum(axis=1)).mean() + 0.5 * (penalty * a**2).sum(), np.exp(log_p)

    a = np.zeros((classes, size))
    for _ in range(100):
        value, p = loss(a)
        gradient = ((p - one_hot) * weights[:, None]).T @ x / len(x) + penalty * a
        hessian = np.diag(np.tile(penalty, classes))
        for i in range(classes):
            for j in range(classes):
                v = weights * p[:, i] * ((i == j) - p[:, j])
                hessian[i * size : (i + 1) * size, j * size : (j + 1) * size] += (x * v[:, None]).T @ x / len(x)
        step = -np.linalg.lstsq(hessian, gradient.ravel(), rcond=1e-14)[0].reshape(a.shape)
        if abs((gradient * step).sum()) < 1e-26:
            break
        length = 1.0
        while length > 1e-8 and loss(a + length * step)[0] > value:
            length /= 2
        a = a + length * step
    return SimpleNamespace(
        coefficients=a - a.mean(axis=0), loss=loss(a)[0], loss_at=lambda other: loss(other)[0]
    )


@pytest.fixture
def newton():
    return _newton


def _factor(matrix):
    """As cuSOLVER's: zeros above the diagonal, and no exception where the matrix is not positive definite."""
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None


@pytest.fixture
def device():
    """A backend whose arrays cannot reach the host unasked: it runs the code that runs on a GPU."""
    mine = Stream()

    @contextlib.contextmanager
    def here():
        with mine:
            yield

    with mine:  # what a test does itself
        yield Backend(
            DeviceModule(),
            to_host,
            block_elements=1 << 8,
            factor=_lifted(_factor),
            solve=_lifted(NUMPY.solve),
            free_bytes=lambda: 1 << 30,
            workers=Threads(2, here),
            here=here,
        )


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in as the module ``cupy``, for the engine of that name."""
    with installed(monkeypatch) as module:
        yield module
