"""Every test of this folder needs a framework; helpers that more than one of its files uses."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.patterns import select


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/frameworks" in item.path.as_posix():
            item.add_marker(pytest.mark.framework)


@pytest.fixture
def images():
    """Eight images of one channel."""
    return np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def captured():
    """``captured(model, inputs, pattern, ...)`` gives the layers of one batch by name, as a dump would."""

    def run_once(model, inputs, *patterns, device=None):
        adapter = adapt(model, device)
        layers = select(patterns or ("**",), adapter.layers(inputs))
        with adapter.running(layers) as run:
            return run(inputs)

    return run_once
