"""The networks of test_same_network.py in Flax nnx: modules that hold their own weights."""

import pytest
from frameworks.same_network import EPSILON, HEADS, WIDTH, WORDS


def convnet(weights):
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed: make test-frameworks")

    class Net(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.conv1, self.relu1 = nnx.Conv(3, 4, (3, 3), rngs=rngs), does(nnx.relu)
            self.pool = does(lambda x: nnx.max_pool(x, (2, 2), (2, 2)))
            self.conv2, self.relu2 = nnx.Conv(4, 6, (3, 3), rngs=rngs), does(nnx.relu)
            self.dense = nnx.Linear(96, 5, rngs=rngs)

        def __call__(self, x):
            x = self.pool(self.relu1(self.conv1(x)))
            return self.dense(self.relu2(self.conv2(x)).reshape(len(x), -1))

    net = Net()
    for name in ("conv1", "conv2", "dense"):
        fill(getattr(net, name), "kernel", weights, name)
    return net


def transformer(weights):
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed: make test-frameworks")
    rngs = nnx.Rngs(0)

    class Block(nnx.Module):
        def __init__(self):
            self.norm1 = nnx.LayerNorm(WIDTH, epsilon=EPSILON, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
            self.norm2 = nnx.LayerNorm(WIDTH, epsilon=EPSILON, rngs=rngs)
            self.up, self.down = nnx.Linear(WIDTH, 16, rngs=rngs), nnx.Linear(16, WIDTH, rngs=rngs)
            self.gelu = does(lambda x: nnx.gelu(x, approximate=False))

        def __call__(self, x):
            x = x + self.attention(self.norm1(x))
            return x + self.down(self.gelu(self.up(self.norm2(x))))

    class Net(nnx.Module):
        def __init__(self):
            self.embed, self.block = nnx.Embed(WORDS, WIDTH, rngs=rngs), Block()
            self.norm = nnx.LayerNorm(WIDTH, epsilon=EPSILON, rngs=rngs)

        def __call__(self, x):
            return self.norm(self.block(self.embed(x)))

    net = Net()
    net.embed.embedding[...] = weights["embed"]
    for part in ("query", "key", "value", "out"):
        fill(getattr(net.block.attention, part), "kernel", weights, part)
    for name in ("up", "down"):
        fill(getattr(net.block, name), "kernel", weights, name)
    for module, name in ((net.block, "norm1"), (net.block, "norm2"), (net, "norm")):
        fill(getattr(module, name), "scale", weights, name)
    return net


def fill(layer, kind, weights, name):
    kernel = getattr(layer, kind)
    kernel[...] = weights[name].reshape(kernel.shape)
    layer.bias[...] = weights[f"{name}.bias"]


def does(function):
    """A function as a module."""
    from flax import nnx

    class Does(nnx.Module):
        def __call__(self, x):
            return function(x)

    return Does()
