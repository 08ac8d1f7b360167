"""What `make bench-gpu` measures torch by, on a CPU."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.framework


def test_torchs_lbfgs_is_timed_to_the_gap(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import bench_gpu

    generator = np.random.default_rng(0)
    rows = bench_gpu.Rows(generator.normal(size=(200, 8)).astype(np.float16), generator.integers(0, 4, 200), 4)
    seconds, text = bench_gpu._lbfgs(torch, rows, 1.0, 5.0, "cpu")
    assert seconds is None or seconds >= 0
    assert "evaluations in" in text
    sys.modules.pop("bench_gpu")
