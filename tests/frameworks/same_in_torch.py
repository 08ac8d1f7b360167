"""The networks of test_same_network.py in PyTorch: channels first, dense layers (out, in)."""

import numpy as np
import pytest
from frameworks.same_network import EPSILON, HEADS, WIDTH, WORDS


def torch_nn():
    return pytest.importorskip("torch", reason="torch is not installed: make test-frameworks").nn


def convnet(weights):
    nn = torch_nn()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.relu1 = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)
            self.pool = nn.MaxPool2d(2)
            self.conv2, self.relu2 = nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True)
            self.dense = nn.Linear(96, 5)

        def forward(self, x):
            x = self.pool(self.relu1(self.conv1(x)))
            return self.dense(self.relu2(self.conv2(x)).flatten(1))

    arrays = {name.replace(".bias", "_bias"): value for name, value in weights.items()}
    return loaded(
        Net(),
        {
            "conv1.weight": arrays["conv1"].transpose(3, 2, 0, 1), "conv1.bias": arrays["conv1_bias"],
            "conv2.weight": arrays["conv2"].transpose(3, 2, 0, 1), "conv2.bias": arrays["conv2_bias"],
            # Flattened channels first: the inputs of the dense layer are in another order.
            "dense.weight": arrays["dense"].transpose(3, 2, 0, 1).reshape(5, -1), "dense.bias": arrays["dense_bias"],
        },
    )  # fmt: skip


def transformer(weights):
    nn = torch_nn()

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=EPSILON), nn.LayerNorm(WIDTH, eps=EPSILON)
            self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
            self.up, self.gelu, self.down = nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, WIDTH)

        def forward(self, x):
            y = self.norm1(x)
            x = x + self.attention(y, y, y, need_weights=False)[0]
            return x + self.down(self.gelu(self.up(self.norm2(x))))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.block = nn.Embedding(WORDS, WIDTH), Block()
            self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)

        def forward(self, x):
            return self.norm(self.block(self.embed(x)))

    parts = ("query", "key", "value")
    state = {
        "embed.weight": weights["embed"],
        "block.attention.in_proj_weight": np.concatenate(
            [weights[part].reshape(WIDTH, -1).T for part in parts]
        ),
        "block.attention.in_proj_bias": np.concatenate([weights[f"{part}.bias"].reshape(-1) for part in parts]),
        "block.attention.out_proj.weight": weights["out"].reshape(-1, WIDTH).T,
        "block.attention.out_proj.bias": weights["out.bias"],
    }
    for name in ("block.norm1", "block.norm2", "block.up", "block.down", "norm"):
        own = name.removeprefix("block.")
        state |= {f"{name}.weight": weights[own].T, f"{name}.bias": weights[f"{own}.bias"]}
    return loaded(Net(), state)


def loaded(module, arrays):
    import torch

    module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
    return module
