"""The bottleneck network of He et al. (2015, arXiv 1512.03385), random weights: with its own depths, ResNet-50.

As torchvision has it, so with the stride in the 3 × 3 convolution: 25.6 million weights, 4.1 GMAC a row at 224 × 224.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

RESNET50 = (3, 4, 6, 3)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolutions around a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.relu(self.bn1(self.conv1(x)))
        inside = self.relu(self.bn2(self.conv2(inside)))
        return self.relu(self.bn3(self.conv3(inside)) + self.downsample(x))


class BottleneckNetwork(nn.Module):
    """A stem, four stages of bottlenecks, the mean over positions, 1,000 classes."""

    def __init__(self, depths: Sequence[int]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, depth in enumerate(depths):
            width = 64 * 2**stage
            blocks = []
            for number in range(depth):
                blocks.append(Bottleneck(channels, width, 2 if stage and not number else 1))
                channels = EXPANSION * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(channels, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def network(depths: Sequence[int] = RESNET50) -> BottleneckNetwork:
    """A network for evaluation, its weights drawn with a fixed seed."""
    torch.manual_seed(0)
    return BottleneckNetwork(depths).eval()


def images(rows: int, side: int, batch_rows: int) -> list[torch.Tensor]:
    """Random images of three channels, in batches."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(min(batch_rows, rows - first), 3, side, side, generator=generator)
        for first in range(0, rows, batch_rows)
    ]


def weights(model: nn.Module) -> int:
    """How many weights a network has."""
    return sum(one.numel() for one in model.parameters())


def forward(model: nn.Module, batches: Sequence[torch.Tensor]) -> None:
    """The bare forward pass."""
    with torch.inference_mode():
        for batch in batches:
            model(batch)
