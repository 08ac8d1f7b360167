"""ResNet-50 whose sums are layers, of torch or of Keras, for weights of ImageNet that you have in a folder.

    actstore dump imagenet.py:of_torch --weights resnet50.pth --pool mean --layers '**.add' ...
    actstore dump imagenet.py:of_keras --arg weights=resnet50.h5 --pool mean --layers '*_add' ...

The torch modules are named as torchvision names them, the Keras layers are those of `keras.applications`. What they
call `layer1.0.add` and `conv2_block1_add` is the fourth version's `add_1`, before the ReLU. Images are uint8 (rows,
height, width, 3), as `actstore` reads a folder of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

EXPANSION = 4
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolutions around a shortcut; `add` is their sum, before the ReLU."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        self.add = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inside = self.bn1(self.conv1(x)).relu()
        inside = self.bn2(self.conv2(inside)).relu()
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.add(self.bn3(self.conv3(inside)) + shortcut).relu()


class ResNet(nn.Module):
    """Logits from images (n, channels, height, width); sixteen bottlenecks in four stages.

    Args:
        stem: what comes before the stages, with its names; it gives `width` channels.
        width: of the first stage; it doubles from stage to stage.
        classes: how many logits.
    """

    def __init__(
        self, stem: dict[str, nn.Module], width: int, classes: int, depths: Sequence[int] = (3, 4, 6, 3)
    ) -> None:
        super().__init__()
        for name, module in stem.items():
            self.add_module(name, module)
        channels, self.way = width, [*stem]
        for stage, depth in enumerate(depths):
            blocks = []
            for number in range(depth):
                blocks.append(Bottleneck(channels, width * 2**stage, 2 if stage and not number else 1))
                channels = EXPANSION * width * 2**stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            self.way.append(f"layer{stage + 1}")
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.way:
            x = getattr(self, name)(x)
        return self.fc(self.avgpool(x).flatten(1))


class OfPhotos(ResNet):
    """ResNet-50 of images (n, height, width, 3), uint8."""

    def __init__(self, classes: int) -> None:
        stem = {
            "conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            "bn1": nn.BatchNorm2d(64),
            "relu": nn.ReLU(),
            "maxpool": nn.MaxPool2d(3, 2, 1),
        }
        super().__init__(stem, 64, classes)

    def forward(self, images: Tensor) -> Tensor:
        scaled = images.float() / 255
        mean, deviation = scaled.new_tensor(MEAN), scaled.new_tensor(DEVIATION)
        return super().forward(((scaled - mean) / deviation).permute(0, 3, 1, 2))


def of_torch(classes: int = 1000) -> OfPhotos:
    """A network with weights drawn at random, the same every time; `--weights` loads others."""
    torch.manual_seed(0)
    return OfPhotos(classes)


def of_keras(weights: str | None = None, classes: int = 1000, side: int = 224) -> Any:
    """Keras's ResNet50 with the weights of a file, else drawn at random, the same every time."""
    import keras

    keras.utils.set_random_seed(0)
    images = keras.Input((side, side, 3), name="images")
    ready = keras.applications.resnet50.preprocess_input(images)
    network = keras.applications.ResNet50(weights=weights, classes=classes, input_tensor=ready)
    return keras.Model(images, network.output)
