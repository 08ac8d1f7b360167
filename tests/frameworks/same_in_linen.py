"""The networks of test_same_network.py in Flax linen: what has no weights is no module, and is sown."""

import pytest
from frameworks.same_network import EPSILON, HEADS, WIDTH, WORDS


def convnet(weights):
    nn = pytest.importorskip("flax.linen", reason="flax is not installed: make test-frameworks")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for name, features in (("1", 4), ("2", 6)):
                x = nn.relu(nn.Conv(features, (3, 3), name=f"conv{name}")(x))
                self.sow("intermediates", f"relu{name}", x)
                if name == "1":
                    x = nn.max_pool(x, (2, 2), (2, 2))
                    self.sow("intermediates", "pool", x)
            return nn.Dense(5, name="dense")(x.reshape(len(x), -1))

    params = {
        name: {"kernel": weights[name], "bias": weights[f"{name}.bias"]} for name in ("conv1", "conv2", "dense")
    }
    params["dense"]["kernel"] = weights["dense"].reshape(-1, 5)
    return Net(), {"params": params}


def transformer(weights):
    nn = pytest.importorskip("flax.linen", reason="flax is not installed: make test-frameworks")

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.LayerNorm(epsilon=EPSILON, name="norm1")(x)
            x = x + nn.MultiHeadDotProductAttention(HEADS, name="attention")(y)
            y = nn.Dense(16, name="up")(nn.LayerNorm(epsilon=EPSILON, name="norm2")(x))
            y = nn.gelu(y, approximate=False)
            self.sow("intermediates", "gelu", y)
            return x + nn.Dense(WIDTH, name="down")(y)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = Block(name="block")(nn.Embed(WORDS, WIDTH, name="embed")(x))
            return nn.LayerNorm(epsilon=EPSILON, name="norm")(x)

    def layer(name, kind):
        return {kind: weights[name], "bias": weights[f"{name}.bias"]}

    block = {
        **{name: layer(name, "scale") for name in ("norm1", "norm2")},
        **{name: layer(name, "kernel") for name in ("up", "down")},
        "attention": {part: layer(part, "kernel") for part in ("query", "key", "value", "out")},
    }
    embed = {"embedding": weights["embed"]}
    return Net(), {"params": {"embed": embed, "block": block, "norm": layer("norm", "scale")}}
