"""Small linen models, and how the tests run them."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.patterns import select

jax = pytest.importorskip("jax", reason="jax is not installed: make test-frameworks")
nn = pytest.importorskip("flax.linen", reason="flax is not installed: make test-frameworks")
jnp = jax.numpy


class ConvNet(nn.Module):
    """A convolution over pixels, a dense layer over them, and one over what is left of them."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Conv(4, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.Dense(3)(x)
        return nn.Dense(2)(x.reshape(len(x), -1, 3)).mean(1)


class Calls(nn.Module):
    """A forward pass given as a function, over a dense layer that it can call."""

    forward: object
    width: int = 3

    @nn.compact
    def __call__(self, *inputs, **named):
        return self.forward(nn.Dense(self.width, name="dense"), *inputs, **named)


def pixels(rows=4):
    return np.random.default_rng(0).normal(size=(rows, 5, 5, 1)).astype(np.float32)


def vectors(rows=4):
    return np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)


def made(module, *inputs, **named):
    return module, module.init(jax.random.key(0), *inputs, **named)


def rows_by_name(model, inputs):
    return {row.name: row for row in adapt(model).layers(inputs)}


def run_batches(model, patterns, *batches):
    """The layers of each batch after the first, which only describes the model."""
    adapter = adapt(model)
    layers = select(patterns, adapter.layers(batches[0]))
    with adapter.running(layers) as run:
        return [run(batch) for batch in batches]
