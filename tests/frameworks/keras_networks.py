"""Small Keras models for tests, on whatever backend KERAS_BACKEND says, or else the first that is installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

BACKENDS = ("torch", "jax", "tensorflow")
INSTALLED = [name for name in BACKENDS if find_spec(name)]

if not INSTALLED:
    pytest.skip("no backend of Keras is installed: make test-frameworks", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", INSTALLED[0])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras", reason="keras is not installed: make test-frameworks")
layers = keras.layers
BACKEND = keras.backend.backend()


class Residual(layers.Layer):
    """The same ReLU twice, dropout, and a residual."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.second = layers.Dense(6), layers.Dense(6)
        self.relu = layers.ReLU()
        self.drop = layers.Dropout(0.5)

    def build(self, shape):
        self.first.build(shape)
        self.second.build(shape)

    def call(self, x):
        hidden = self.drop(self.relu(self.first(x)))
        return self.relu(self.second(hidden)) + x


def residual():
    """A Sequential model of one such layer, over vectors of six."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6,)), Residual(name="block")])


def convnet(seed=0, order="channels_last"):
    """A functional model with a shared layer, an operation between layers, and a model inside it."""
    keras.utils.set_random_seed(seed)
    shape = (8, 8, 1) if order == "channels_last" else (1, 8, 8)
    inputs = keras.Input(shape)
    relu = layers.ReLU(name="relu")
    first = relu(layers.Conv2D(4, 3, padding="same", data_format=order, name="first")(inputs))
    second = relu(layers.Conv2D(4, 3, padding="same", data_format=order, name="second")(first))
    both = first + second  # an operation, which is no layer
    inner = keras.Sequential(
        [keras.Input(both.shape[1:]), layers.BatchNormalization(name="norm"), layers.Dropout(0.5, name="drop")],
        name="inner",
    )
    pooled = layers.GlobalAveragePooling2D(data_format=order, name="pool")(inner(both))
    return keras.Model(inputs, layers.Dense(3, name="head")(pooled))
