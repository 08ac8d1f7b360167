"""The engine cupy, whole, on a stand-in for two GPUs: devices, streams, memory; and the benchmark to its end."""

import runpy
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers.errors import EngineError
from solvers.scoring import row_outputs, split_score
from tests.solvers import stand_in

BENCH = Path(__file__).parents[1] / "benchmarks" / "bench_gpu.py"


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("device", [None, "cuda", "cuda:0", "cuda:1"])
@pytest.mark.parametrize("memory_bytes", [None, 60_000])
def test_every_device_fits_and_certifies_resident_and_streamed(make_rows, device, memory_bytes):
    activations, labels = make_rows(4000, 20, 3)
    rows = activations.astype(np.float32)
    fit = solvers.fit(rows, labels, engine="cupy", device=device, memory_bytes=memory_bytes, scale=True)
    assert (fit.engine, fit.status) == ("cupy", "converged")
    same = solvers.fit(rows, labels, engine="numpy", scale=True)
    assert abs(fit.loss - same.loss) <= fit.gap_nats + same.gap_nats


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("weighted", [False, True])
def test_a_column_begins_along_leading_directions_on_a_device_too(weighted):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 900)
    spread = np.arange(1, 451) ** -1.0
    activations = ((generator.standard_normal((900, 450)) + labels[:, None]) * spread).astype(np.float32)
    weights = {0: 1.0, 1: 3.0, 2: 0.5} if weighted else None
    settings = {"C": [0.01, 1.0], "class_weight": weights, "gap_nats": 1e-5}
    there = solvers.fit(activations, labels, engine="cupy", **settings)
    here = solvers.fit(activations, labels, engine="numpy", **settings)
    for far, near in zip(there, here, strict=True):
        assert far.status == near.status == "converged"
        assert abs(far.loss - near.loss) <= 1e-5


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_the_callers_device_and_stream_stay_the_callers(make_rows, device):
    """As torch's are: also between the solutions of a path, and in what a progress report runs."""
    activations, labels = make_rows(300, 8, 3)
    seen = []

    def note(_progress):
        seen.append((stand_in.device(), stand_in.stream()))

    with stand_in.Device(1):
        mine = stand_in.Stream()
        with mine:
            solvers.fit(activations, labels, C=[0.1, 1.0, 10.0], engine="cupy", device=device, progress=note)
            assert (stand_in.device(), stand_in.stream()) == (1, mine)
    assert seen == [(1, mine)] * 3
    assert stand_in.device() == 0


@pytest.mark.usefixtures("cupy")
def test_fits_side_by_side_on_two_devices(make_rows):
    activations, labels = make_rows(2000, 10, 3)
    found = {}

    def fit(device):
        found[device] = solvers.fit(activations, labels, engine="cupy", device=device, memory_bytes=100_000)

    threads = [threading.Thread(target=fit, args=(device,)) for device in ("cuda:0", "cuda:1")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    np.testing.assert_array_equal(found["cuda:0"].weights, found["cuda:1"].weights)


@pytest.mark.usefixtures("cupy")
def test_a_device_that_is_not_there(make_rows):
    with pytest.raises(
        EngineError, match=r"device 'cuda:2' cannot be used here; expected cuda:0 or cuda:1 or cpu"
    ):
        solvers.fit(*make_rows(50, 4, 2), device="cuda:2")


def test_the_stand_in_finds_work_on_another_device_and_what_nobody_waited_for(cupy):
    first = cupy.asarray(1.0)
    with stand_in.Device(1), pytest.raises(AssertionError, match="an array of device 0 is used on device 1"):
        first + 1
    with stand_in.Stream(), pytest.raises(AssertionError, match="without waiting for it"):
        first + 1
    assert float(first) == 1.0  # the host waits, and then it is there for all
    with stand_in.Stream():
        assert float(first + 1) == 2.0


def test_memory_that_the_pool_holds_is_free(cupy):
    cupy.free, cupy.pool.held = 1000, 9000
    from solvers.engines.cupy_lbfgs import _backend

    assert _backend(0).free_bytes() == 8000


def no_room(cupy, monkeypatch, at_most):
    """Let the device hold no array of more bytes than that."""
    plain = np.empty

    def empty(shape, dtype=float):
        made = plain(shape, dtype)
        if made.nbytes > at_most:
            msg = f"Out of memory allocating {made.nbytes:,} bytes"
            raise stand_in.OutOfMemoryError(msg)
        return made

    monkeypatch.setattr(cupy, "empty", stand_in._lifted(empty), raising=False)


def test_rows_that_do_not_fit_after_all_are_streamed(cupy, monkeypatch, make_rows):
    activations, labels = make_rows(60_000, 20, 2)
    rows = activations.astype(np.float32)
    monkeypatch.setattr("solvers.engines.cupy_lbfgs.BLOCK_ELEMENTS", 1 << 16)
    no_room(cupy, monkeypatch, rows.nbytes // 2)
    cupy.pool.held = 5
    fit = solvers.fit(rows, labels, engine="cupy", C=0.1)
    assert fit.status == "converged"
    assert cupy.pool.held == 0


def test_a_device_without_room_is_one_line(cupy, monkeypatch, make_rows):
    activations, labels = make_rows(5000, 20, 2)
    no_room(cupy, monkeypatch, 10)
    with pytest.raises(
        EngineError, match=r"^device cuda:1 is out of memory \(Out of memory allocating .*engine numpy$"
    ):
        solvers.fit(
            activations.astype(np.float32), labels, engine="cupy", device="cuda:1", memory_bytes=100_000
        )
    assert stand_in.device() == 0


@pytest.mark.usefixtures("cupy")
def test_the_benchmark_runs_to_its_end(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", [str(BENCH), "--rows", "200", "--width", "8", "--classes", "4", "--budget-seconds", "1"]
    )
    pytest.importorskip("sklearn.linear_model")  # which asks for torch, where it is loaded only then
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.syspath_prepend(str(BENCH.parent))
    made = runpy.run_path(str(BENCH))
    monkeypatch.setitem(made["main"].__globals__, "ROOMY_BYTES", 0)
    monkeypatch.setitem(made["main"].__globals__, "COPIED_ELEMENTS", 1 << 10)
    made["main"]()
    said = capsys.readouterr().out
    assert "On stand-in" in said
    assert "| ours | " in said
    assert "| torch.optim.LBFGS, float32 | > 1 |" in said
    assert "| scikit-learn on CuPy arrays, float32 |" in said


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("classes", [3, 40])
def test_what_the_gpu_fitted_is_scored_there_and_says_the_same(make_rows, monkeypatch, classes):
    """In the engine's own stream; the rows, the truth and the maps go there, a few numbers a row come back."""
    activations, labels = make_rows(600, 6, classes)
    splits = np.array(["train", "train", "val", "test"])[np.arange(600) % 4]
    seen = []
    of = row_outputs.RowOutputs.of
    monkeypatch.setattr(split_score.RowOutputs, "of", lambda z, y, xp: seen.append(type(z)) or of(z, y, xp))
    options = {"splits": splits, "C": [0.1, 1.0], "full_path": True}
    there = solvers.fit_layers({"h": activations}, labels, engine="cupy", **options)
    assert set(seen) == {stand_in.DeviceArray}
    here = solvers.evaluate(*[there["h", "label", 0], activations[splits == "test"], labels[splits == "test"]])
    probe = there["h", "label", 0]
    assert (probe.engine, probe.error["test"]) == ("cupy", here.error)
    assert probe.cross_entropy["test"] == pytest.approx(here.cross_entropy, rel=1e-12)
    said = there.predictions(probe.key, "test")
    predicted = said.predicted if said.logits is None else said.logits.argmax(axis=1)
    np.testing.assert_array_equal(said.classes[predicted], probe.predict(activations[splits == "test"]))
