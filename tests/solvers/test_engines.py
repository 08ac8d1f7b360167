"""Every engine of the folder, against the certificate and against the others."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import solvers
from solvers.arrays import NUMPY
from solvers.engines import choice as engines
from solvers.engines.cupy_lbfgs import CupyEngine, _probe_device
from solvers.engines.sklearn_fallback import SklearnEngine
from solvers.errors import EngineError
from solvers.goals import Bid, Goal
from solvers.lbfgs.sweep import ColumnSolver
from solvers.problem.problem import pose, pose_together
from solvers.proof.certificate import Certifier, Claim

GAP = 1e-6


def _mixture(rows, width, classes, seed):
    generator = np.random.default_rng(seed)
    activations = generator.standard_normal((rows, width))
    labels = (
        activations @ generator.standard_normal((width, classes)) + generator.gumbel(size=(rows, classes))
    ).argmax(1)
    labels[:classes] = np.arange(classes)
    return activations, labels


def _grid():
    """Problems by name: activations, labels, keywords of `pose`."""
    plain, three = _mixture(200, 8, 3, 0)
    weights = np.random.default_rng(1).exponential(size=200)
    yield "binary", (*_mixture(200, 8, 2, 2), {})
    yield "binary, weighted, scaled", (*_mixture(200, 8, 2, 2), {"sample_weight": weights, "scale": True})
    yield "50 classes", (*_mixture(600, 10, 50, 3), {})
    yield "weighted", (plain, three, {"sample_weight": weights})
    yield "columns of 1e-6 to 1e6", (plain * np.logspace(-6, 6, 8), three, {})
    yield "columns of 1e-6 to 1e6, scaled", (plain * np.logspace(-6, 6, 8), three, {"scale": True})
    yield "constant columns", (np.column_stack([plain, np.full(200, 7.0), np.zeros(200)]), three, {})
    yield "constant columns, scaled", (np.column_stack([plain, np.full(200, 0.1)]), three, {"scale": True})
    yield "duplicated columns", (np.column_stack([plain, plain[:, :4], plain[:, 0]]), three, {})
    yield "fewer rows than columns", (*_mixture(40, 100, 3, 4), {})
    yield "separable", (np.sign(plain[:, :1]) * 3 + plain * 0.1, plain[:, 0] > 0, {})
    yield "far from the origin", (plain + 1e5, three, {})


GRID = dict(_grid())


class DeviceEngine:
    """The arithmetic of the GPU's engine, on arrays that behave like its own."""

    name = "cupy, through NumPy"
    finishes = True

    def __init__(self, backend):
        self.backend = backend

    def unavailable(self):
        return None

    def devices(self):
        return ("stand-in:0", "stand-in:1")

    def bid(self, problem, fits, memory_bytes=None):
        return Bid(100.0, "it is asked for here")

    def prepare(self, problems, memory_bytes=None, device=None):
        self.device = device
        return ColumnSolver(problems, self.backend, memory_bytes)


def engine_or_skip(name):
    reason = engines.available(name)
    if reason is not None:
        pytest.skip(f"engine {name}: {reason}")
    return engines.get(name)


PARAMETERS = [pytest.param(name, marks=pytest.mark.gpu) if name == "cupy" else name for name in engines.names()]


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_engine_reaches_the_optimum(name, classes, weighted, make_problem):
    """The objective is convex, so a small certified gap proves the fit, whatever the engine."""
    engine = engine_or_skip(name)
    problem = make_problem(classes=classes, weighted=weighted, scale=True)
    prepared = engine.prepare([problem])
    solutions = [each for found in prepared.sweep([Goal((0.01, 1.0, 100.0), 1e-9)]) for each in found]
    assert sorted(each.C for each in solutions) == [0.01, 1.0, 100.0]
    certificates = Certifier([problem], NUMPY).certify([Claim(0, s.coefficients, s.C) for s in solutions])
    for certificate in certificates:
        assert certificate.gap_nats < 1e-8  # ten times the goal: engines stop by estimates of their own
    assert sum(rows.passes for rows in prepared.readings) > 0
    assert sum(rows.bytes_read for rows in prepared.readings) > 0
    assert all(each.evaluations > 0 for each in solutions)


@pytest.mark.parametrize("name", PARAMETERS)
def test_engine_solves_several_problems_on_the_same_rows(name):
    engine = engine_or_skip(name)
    activations, labels = _mixture(200, 8, 4, 5)
    weights = [None, (np.arange(200) % 3 > 0) * np.random.default_rng(6).exponential(size=200)]
    problems = pose_together(activations, [labels, labels > 1], weights, scale=True)
    prepared = engine.prepare(problems)
    goals = [Goal((0.1, 10.0), 1e-8, 0), Goal((1.0,), 1e-8, 1)]
    solutions = [each for found in prepared.sweep(goals) for each in found]
    assert sorted((each.problem, each.C) for each in solutions) == [(0, 0.1), (0, 10.0), (1, 1.0)]
    claims = [Claim(each.problem, each.coefficients, each.C) for each in solutions]
    for certificate in Certifier(problems, NUMPY).certify(claims):
        assert certificate.gap_nats < 1e-7  # ten times the goal: engines stop by estimates of their own


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("classes", [2, 3])
def test_engine_without_a_penalty_comes_to_a_small_gradient(name, classes):
    engine_or_skip(name)
    activations, labels = _mixture(300, 5, classes, 7)
    fit = solvers.fit(activations, labels, C=np.inf, gap_nats=1e-4, engine=name)
    assert fit.status == "unpenalised"
    assert fit.gradient_norm <= 1e-4
    assert fit.gap_nats == fit.loss
    assert np.isfinite(fit.weights).all()


@pytest.mark.parametrize("problem_name", GRID)
@pytest.mark.parametrize("C", [0.1, 100.0])
def test_engines_agree_within_the_sum_of_their_gaps(problem_name, C, device):
    activations, labels, settings = GRID[problem_name]
    problem = pose(activations, labels, **settings)
    found = {}
    for engine in [
        *(engines.get(n) for n in engines.names() if engines.available(n) is None),
        DeviceEngine(device),
    ]:
        ((solution,),) = engine.prepare([problem]).sweep([Goal((C,), GAP, max_evaluations=1000)])
        (found[engine.name],) = Certifier([problem], NUMPY).certify([Claim(0, solution.coefficients, C)])
    assert {"numpy", "sklearn", "cupy, through NumPy"} <= set(found)
    for one in found.values():
        for other in found.values():
            assert abs(one.loss - other.loss) <= one.gap_nats + other.gap_nats
    assert found["numpy"].gap_nats <= 2 * GAP  # scikit-learn may miss it, and then its gap says so
    assert found["cupy, through NumPy"].gap_nats <= 2 * GAP


@pytest.mark.gpu
@pytest.mark.parametrize("problem_name", GRID)
def test_gpu_agrees_with_cpu(problem_name):
    engine_or_skip("cupy")
    activations, labels, settings = GRID[problem_name]
    on_gpu, on_cpu = (solvers.fit(activations, labels, engine=name, **settings) for name in ("cupy", "numpy"))
    assert abs(on_gpu.loss - on_cpu.loss) <= on_gpu.gap_nats + on_cpu.gap_nats


def test_the_folder_is_the_registry():
    assert engines.names() == ["cupy", "numpy", "sklearn"]
    assert all(engines.get(name).name == name for name in engines.names())


def test_numpy_and_scikit_learn_work_here():
    assert engines.available("numpy") is None
    assert engines.available("sklearn") is None


def test_unknown_engine_is_refused():
    with pytest.raises(EngineError, match="there is no engine 'tpu'; expected auto, cupy, numpy, sklearn"):
        engines.available("tpu")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(CupyEngine, "unavailable", lambda self: "no GPU here")


@pytest.mark.usefixtures("no_gpu")
def test_engine_asked_for_by_name_that_does_not_work_is_an_error_with_the_reason():
    with pytest.raises(EngineError, match="engine 'cupy' does not work here: no GPU here; choose another"):
        solvers.fit(np.eye(4), [0, 1, 0, 1], engine="cupy")


@pytest.mark.usefixtures("no_gpu")
def test_choice_and_reasons_are_kept_in_the_fit():
    activations, labels, _ = GRID["weighted"]
    fit = solvers.fit(activations, labels, C=[1.0, 2.0])[0]
    assert fit.engine == "numpy"
    assert "no GPU here" in fit.engine_reason
    assert "2 columns on 1,600 entries" in fit.engine_reason
    assert solvers.fit(activations, labels, engine="sklearn").engine_reason == "asked for by name"


def test_auto_takes_the_gpu_where_one_works(monkeypatch, make_problem):
    monkeypatch.setattr(CupyEngine, "unavailable", lambda self: None)
    choice = engines.choose("auto", make_problem(), 1)
    assert choice.engine.name == "cupy"
    assert choice.reason.startswith("auto: a GPU works here")


@pytest.mark.usefixtures("no_gpu")
def test_auto_takes_numpy_whether_or_not_scikit_learn_is_imported(monkeypatch, make_rows):
    activations, labels = make_rows(50, 1100, 3)
    for module in (None, SimpleNamespace()):
        monkeypatch.setitem(sys.modules, "sklearn.linear_model", module)
        for problem in (pose(activations, labels > 0), pose(activations, labels)):
            choice = engines.choose("auto", problem, 1)
            assert (choice.engine.name, choice.finisher) == ("numpy", None)
            assert "sklearn: it is a reference, and faster nowhere" in choice.reason


def test_float32_rows_are_fitted_in_float32_by_scikit_learn_and_certified_to_the_gap_all_the_same(make_rows):
    activations, labels = make_rows(150, 1200, 2)
    wide = (activations * np.linspace(0.1, 5, 1200) + 300).astype(np.float32)
    for gap_nats in (1e-5, 1e-9):
        fit = solvers.fit(wide, labels, scale=True, gap_nats=gap_nats, engine="sklearn")
        assert fit.engine_reason.startswith("asked for by name")
        assert fit.status == "converged"
        other = solvers.fit(wide, labels, scale=True, gap_nats=gap_nats, engine="numpy")
        assert abs(fit.loss - other.loss) <= fit.gap_nats + other.gap_nats


@pytest.mark.parametrize("size", [1e-35, 1e-20, 1e20])
def test_scikit_learn_takes_float32_rows_of_any_size(make_rows, size):
    activations, labels = make_rows(100, 6, 2)
    rows = (activations * size).astype(np.float32)
    fit = solvers.fit(rows, labels, scale=True, engine="sklearn")
    assert fit.status == "converged"
    plain = solvers.fit(activations, labels, scale=True, engine="numpy")
    assert abs(fit.loss - plain.loss) <= fit.gap_nats + plain.gap_nats + 1e-6  # float32's rounding of the rows


def test_scikit_learn_that_misses_the_gap_says_so_and_auto_has_numpy_finish(monkeypatch):
    activations, labels, _ = GRID["columns of 1e-6 to 1e6"]
    monkeypatch.setattr(CupyEngine, "unavailable", lambda self: "no GPU here")
    monkeypatch.setattr(
        SklearnEngine, "bid", lambda self, problem, fits, memory_bytes=None: Bid(2.0, "in this test")
    )
    for name in ("auto", "sklearn"):
        finished = solvers.fit(activations, labels, C=0.1, engine=name)
        assert finished.status == "converged"
        assert finished.engine == "numpy"
        assert "sklearn missed the gap, so numpy finished from there" in finished.engine_reason


@pytest.fixture
def one_more(monkeypatch, device):
    """An engine of another package, with devices of its own."""
    engine = DeviceEngine(device)
    engine.name = "theirs"
    point = SimpleNamespace(name="theirs", load=lambda: engine)
    monkeypatch.setattr("solvers.engines.choice.entry_points", lambda group: [point])
    engines._engines.cache_clear()
    yield engine
    engines._engines.cache_clear()


@pytest.mark.usefixtures("no_gpu")
def test_auto_takes_whoever_bids_most_and_says_why_the_others_were_not_taken(one_more):
    activations, labels, _ = GRID["weighted"]
    fit = solvers.fit(activations, labels)
    assert fit.engine == "theirs"
    said = "auto: it is asked for here; sklearn: it is a reference, and faster nowhere (docs/solving.md)"
    assert fit.engine_reason == said
    one_more.bid = lambda problem, fits, memory_bytes: Bid(0.0, f"not for {fits} columns")
    fit = solvers.fit(activations, labels, C=[1.0, 2.0]).fits[0]
    assert fit.engine == "numpy"
    assert "theirs: not for 2 columns" in fit.engine_reason


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("asked", "given"),
    [("stand-in", "stand-in:0"), ("stand-in:0", "stand-in:0"), ("stand-in:1", "stand-in:1")],
)
def test_a_device_is_handed_to_an_engine_that_has_it(one_more, asked, given):
    activations, labels, _ = GRID["weighted"]
    fit = solvers.fit(activations, labels, device=asked)
    assert (fit.engine, one_more.device) == ("theirs", given)
    assert f"on the device asked for, {given}" in fit.engine_reason
    solvers.fit(activations, labels, device=asked, engine="theirs")
    assert one_more.device == given
    with pytest.raises(
        EngineError, match=r"'numpy' does not run on device 'stand-in.*; choose theirs, or .* cpu"
    ):
        solvers.fit(activations, labels, device=asked, engine="numpy")


@pytest.mark.usefixtures("no_gpu")
def test_a_device_that_no_engine_has_is_refused_with_those_there_are(one_more):
    with pytest.raises(
        EngineError,
        match=r"device 'stand-in:2' cannot be used here; expected cpu or stand-in:0 or stand-in:1; engine cupy: no GPU",
    ):
        solvers.fit(np.eye(4), [0, 1, 0, 1], device="stand-in:2")


def test_engine_of_another_package_is_found_and_a_broken_one_left_out(monkeypatch, caplog):
    def broken():
        msg = "no module named fast"
        raise ImportError(msg)

    points = [
        SimpleNamespace(name="fast", load=broken),
        SimpleNamespace(
            name="theirs",
            load=lambda: SimpleNamespace(
                name="theirs",
                unavailable=lambda: "not today",
                finishes=True,
                devices=None,
                bid=None,
                prepare=None,
            ),
        ),
        SimpleNamespace(name="half", load=lambda: SimpleNamespace(name="half", unavailable=None, devices=None)),
    ]
    monkeypatch.setattr("solvers.engines.choice.entry_points", lambda group: points)
    engines._engines.cache_clear()
    try:
        assert engines.names() == ["cupy", "numpy", "sklearn", "theirs"]
        assert engines.available("theirs") == "not today"
    finally:
        engines._engines.cache_clear()
    assert (
        "engine fast of another package is left out, as it cannot be loaded: no module named fast"
        in caplog.text
    )
    assert "engine half of another package is left out, as it lacks finishes, bid, prepare" in caplog.text


def test_missing_cupy_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    _probe_device.cache_clear()
    try:
        assert "cupy cannot be imported" in engines.available("cupy")
    finally:
        _probe_device.cache_clear()


class BrokenCupy:
    """A cupy whose driver is there and whose cuBLAS is not."""

    float32 = np.float32

    class cuda:  # noqa: N801
        @staticmethod
        def is_available():
            return True

    @staticmethod
    def ones(shape, dtype):
        msg = "libcublas.so.12: cannot open shared object file\nand more"
        raise ImportError(msg)


@pytest.mark.parametrize(
    ("works", "message"),
    [
        (
            True,
            r"cannot compute on it \(ImportError: libcublas.so.12: cannot open shared object file\); choose",
        ),
        (False, "finds no GPU"),
    ],
)
def test_cupy_that_can_not_compute_is_a_reason(monkeypatch, works, message):
    monkeypatch.setitem(sys.modules, "cupy", BrokenCupy)
    monkeypatch.setattr(BrokenCupy.cuda, "is_available", staticmethod(lambda: works))
    _probe_device.cache_clear()
    try:
        with pytest.raises(EngineError, match=message):
            solvers.fit(np.eye(4), [0, 1, 0, 1], engine="cupy")
    finally:
        _probe_device.cache_clear()
