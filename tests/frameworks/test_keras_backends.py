"""Keras's backend is chosen when it is imported: the tests of Keras run once more on each other one, in a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.frameworks.keras_networks import BACKEND, BACKENDS, INSTALLED

HOUSE = Path(__file__).resolve().parents[2]
TESTS = [
    "tests/frameworks/test_keras_adapter.py",
    "tests/frameworks/test_keras_files.py",
    "tests/frameworks/test_same_network.py",
    "tests/actstore/test_adapters_conformance.py",
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_test_of_keras_passes_on(backend):
    if backend == BACKEND:
        pytest.skip("this is the backend that the other tests ran on")
    if backend not in INSTALLED:
        where = "test-tensorflow" if backend == "tensorflow" else "test-frameworks"
        pytest.skip(f"{backend} is not installed: make {where}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "keras", *TESTS]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, cwd=HOUSE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
