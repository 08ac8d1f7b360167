"""What is the same in every framework of test_same_network.py: the inputs and the weights of two small networks.

Weights are laid out channels last: a convolution (height, width, in, out), a dense layer (in, out), attention (in,
heads, width of a head).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ROWS, PIXELS, POSITIONS, WORDS, WIDTH, HEADS = 5, 8, 7, 20, 8, 2
EPSILON = 1e-5


@dataclass
class Network:
    """A network in one framework.

    Args:
        build: from the weights by name to a model that an adapter takes.
        layers: the name that each layer has in this framework.
        inputs: from the inputs, channels last, to what the model takes.
    """

    build: Callable[[dict[str, np.ndarray]], object]
    layers: dict[str, str]
    inputs: Callable[[np.ndarray], np.ndarray] = lambda inputs: inputs


def drawn(shapes, seed):
    """Weights of these shapes, scaled so that activations are of order 1."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
        for name, shape in shapes.items()
    }


def images():
    return np.random.default_rng(1).normal(size=(ROWS, PIXELS, PIXELS, 3)).astype(np.float32)


def convnet_weights():
    return drawn(
        {
            "conv1": (3, 3, 3, 4), "conv1.bias": (4,), "conv2": (3, 3, 4, 6), "conv2.bias": (6,),
            "dense": (4, 4, 6, 5), "dense.bias": (5,),
        },
        seed=2,
    )  # fmt: skip


def sentences():
    return np.random.default_rng(3).integers(0, WORDS, (ROWS, POSITIONS))


def transformer_weights():
    head = (WIDTH, HEADS, WIDTH // HEADS)
    return drawn(
        {
            "embed": (WORDS, WIDTH), "norm1": (WIDTH,), "norm1.bias": (WIDTH,),
            **dict.fromkeys(("query", "key", "value"), head),
            **{f"{part}.bias": head[1:] for part in ("query", "key", "value")},
            "out": (*head[1:], WIDTH), "out.bias": (WIDTH,), "norm2": (WIDTH,), "norm2.bias": (WIDTH,),
            "up": (WIDTH, 16), "up.bias": (16,), "down": (16, WIDTH), "down.bias": (WIDTH,),
            "norm": (WIDTH,), "norm.bias": (WIDTH,),
        },
        seed=4,
    )  # fmt: skip
