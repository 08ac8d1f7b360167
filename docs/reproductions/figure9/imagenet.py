"""Inception v3 with its auxiliary head, for weights of ImageNet that you have: the experiment at the paper's own size.

    actstore dump imagenet.py:inception_v3 --weights inception_v3.pth --data train=imagenet/train:resize=299x299 ...

Modules are named as torchvision names them, so its weights (with `transform_input`) load as they are. Images are
uint8 (rows, 299, 299, 3), as `actstore` reads a folder of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Side = int | tuple[int, int]
MEAN, DEVIATION = 0.5, 0.5


class Unit(nn.Module):
    """A convolution with batch normalisation and ReLU; without a stride it keeps height and width, unless `bare`."""

    def __init__(self, channels: int, out: int, side: Side = 1, stride: int = 1, bare: bool = False) -> None:
        super().__init__()
        high, wide = (side, side) if isinstance(side, int) else side
        around = (0, 0) if bare or stride > 1 else (high // 2, wide // 2)
        self.conv = nn.Conv2d(channels, out, (high, wide), stride, around, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class Mixed(nn.Module):
    """Branches side by side, each a chain of units; one ends in two units side by side where they are given as a pair.

    Args:
        channels: that come in.
        branches: by what torchvision calls their units, each (out, side) or (out, side, stride).
        chains: the names of each branch, in order.
        pool: the branch that pools first: by the mean, with a unit `branch_pool`, or by the maximum, alone.
    """

    def __init__(self, channels: int, chains: list[dict[str, tuple]], pool: int | None) -> None:
        super().__init__()
        self.chains: list[list[str]] = []
        for chain in chains:
            into = channels
            for name, given in chain.items():
                self.add_module(name, Unit(into, *given))
                into = into if name.endswith("a") else given[0]  # the pair `a`, `b` has one input
            self.chains.append(list(chain))
        self.branch_pool = Unit(channels, pool) if pool else None

    def forward(self, x: Tensor) -> Tensor:
        found = [self._branch(names, x) for names in self.chains]
        if self.branch_pool is None:
            found.append(nn.functional.max_pool2d(x, 3, 2))
        else:
            found.append(self.branch_pool(nn.functional.avg_pool2d(x, 3, 1, 1)))
        return torch.cat(found, dim=1)

    def _branch(self, names: list[str], x: Tensor) -> Tensor:
        pair = [name for name in names if name[-1] in "ab"]
        for name in names:
            if name not in pair:
                x = getattr(self, name)(x)
        return torch.cat([getattr(self, name)(x) for name in pair], dim=1) if pair else x


def block_a(channels: int, pool: int) -> Mixed:
    five = {"branch5x5_1": (48,), "branch5x5_2": (64, 5)}
    double = {"branch3x3dbl_1": (64,), "branch3x3dbl_2": (96, 3), "branch3x3dbl_3": (96, 3)}
    return Mixed(channels, [{"branch1x1": (64,)}, five, double], pool)


def block_b(channels: int) -> Mixed:
    double = {"branch3x3dbl_1": (64,), "branch3x3dbl_2": (96, 3), "branch3x3dbl_3": (96, 3, 2)}
    return Mixed(channels, [{"branch3x3": (384, 3, 2)}, double], None)


def block_c(channels: int, inside: int) -> Mixed:
    wide, high = (1, 7), (7, 1)
    seven = {"branch7x7_1": (inside,), "branch7x7_2": (inside, wide), "branch7x7_3": (192, high)}
    names = [f"branch7x7dbl_{number}" for number in range(1, 6)]
    sides = [(inside,), (inside, high), (inside, wide), (inside, high), (192, wide)]
    return Mixed(channels, [{"branch1x1": (192,)}, seven, dict(zip(names, sides, strict=True))], 192)


def block_d(channels: int) -> Mixed:
    three = {"branch3x3_1": (192,), "branch3x3_2": (320, 3, 2)}
    names = [f"branch7x7x3_{number}" for number in range(1, 5)]
    sides = [(192,), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)]
    return Mixed(channels, [three, dict(zip(names, sides, strict=True))], None)


def block_e(channels: int) -> Mixed:
    three = {"branch3x3_1": (384,), "branch3x3_2a": (384, (1, 3)), "branch3x3_2b": (384, (3, 1))}
    double = {"branch3x3dbl_1": (448,), "branch3x3dbl_2": (384, 3)}
    double |= {"branch3x3dbl_3a": (384, (1, 3)), "branch3x3dbl_3b": (384, (3, 1))}
    return Mixed(channels, [{"branch1x1": (320,)}, three, double], 192)


class Auxiliary(nn.Module):
    """The head behind Mixed_6e."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = Unit(channels, 128), Unit(128, 768, 5, bare=True)
        self.fc = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.conv0(nn.functional.avg_pool2d(x, 5, 3)))
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class InceptionV3(nn.Module):
    """Logits from images (n, 299, 299, 3), uint8; the auxiliary head is computed, too, to be dumped."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Unit(3, 32, 3, 2), Unit(32, 32, 3, bare=True)
        self.Conv2d_2b_3x3, self.maxpool1 = Unit(32, 64, 3), nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Unit(64, 80), Unit(80, 192, 3, bare=True)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = block_a(192, 32), block_a(256, 64), block_a(288, 64)
        self.Mixed_6a, self.Mixed_6b = block_b(288), block_c(768, 128)
        self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = block_c(768, 160), block_c(768, 160), block_c(768, 192)
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = block_d(768), block_e(1280), block_e(2048)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(2048, classes)
        self.AuxLogits = Auxiliary(768, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = (images.permute(0, 3, 1, 2).float() / 255 - MEAN) / DEVIATION
        for name, layer in self.named_children():
            if name not in ("fc", "AuxLogits"):
                x = layer(x)
            if name == "Mixed_6e":
                self.AuxLogits(x)
        return self.fc(x.flatten(1))


def inception_v3(classes: int = 1000) -> InceptionV3:
    """A network with weights drawn at random, the same every time; `--weights` loads others."""
    torch.manual_seed(0)
    return InceptionV3(classes)
