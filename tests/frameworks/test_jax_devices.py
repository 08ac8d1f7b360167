"""A second device: the model goes there for the time being. JAX counts devices once, so it takes a new process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("flax", reason="flax is not installed: make test-frameworks")
HOUSE = Path(__file__).resolve().parents[2]
CODE = """
import jax, numpy as np
from flax import linen as nn, nnx
from actstore.adapters import adapt
from actstore.patterns import select

seen = []

def noticed(x):
    seen.append((x.devices(), jax.numpy.ones(2).devices()))
    return x

class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(noticed(x))

class Nnx(nnx.Module):
    def __init__(self):
        self.dense = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    def __call__(self, x):
        return self.dense(noticed(x))

x = np.ones((4, 3), np.float32)
variables = Linen().init(jax.random.key(0), jax.numpy.asarray(x))
seen.clear()
first, second = jax.devices()
net = Nnx()
for model in ((Linen(), variables), net, (lambda params, x: noticed(x) @ params, x.T)):
    adapter = adapt(model, "cpu:1")
    layers = select(["output"], adapter.layers(x))
    with adapter.running(layers) as run:
        assert len(run(x)["output"].array) == 4
    assert seen == [({second}, {second})] * 3, seen
    seen.clear()
assert variables["params"]["Dense_0"]["kernel"].devices() == {first}
assert net.dense.kernel[...].devices() == {first}
assert jax.numpy.ones(2).devices() == {first}
print("all there")
"""


def test_the_model_and_its_inputs_go_to_the_device_and_come_back():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=False,
        cwd=HOUSE,
        env=os.environ | flags,
    )
    assert (done.stdout, done.returncode) == ("all there\n", 0), done.stderr
