"""The MNIST convnet of Alain & Bengio (2016), section 3.4, small: train it, save its weights before and after.

    python docs/reproductions/cladec/network.py MNIST.npz -o WEIGHTS_FOLDER

writes `untrained.pt` and `epoch1.pt`; `actstore dump docs/reproductions/cladec/network.py:net --weights FILE ...`
then stores what every layer makes of the images. The architecture is the paper's (two 5x5 convolutions, each with ReLU
and 2x2 max pooling, then two linear layers) with a quarter of its filters, so that a laptop can hold every layer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class Convnet(nn.Module):
    """Ten digit logits from images (n, 28, 28), uint8."""

    def __init__(self, filters: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, filters, 5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(filters, 2 * filters, 5, padding=2)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(2 * filters * 7 * 7, 16 * filters)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(16 * filters, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = images[:, None].float() / 255
        for layer in self.children():
            hidden = layer(hidden)
        return hidden


def net(filters: int = 8) -> Convnet:
    """An untrained network, the same one every time."""
    torch.manual_seed(0)
    return Convnet(filters)


def train_one_epoch(model: Convnet, images: Tensor, labels: Tensor, batch_size: int = 64) -> None:
    """Adam at 1e-3, in a seeded order."""
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    for rows in order.split(batch_size):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimiser.step()


def accuracy(model: Convnet, images: Tensor, labels: Tensor) -> float:
    """Share of images classified correctly."""
    model.eval()
    with torch.inference_mode():
        predicted = torch.cat([model(batch).argmax(1) for batch in images.split(1000)])
    return (predicted == labels).float().mean().item()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("mnist", type=Path, help="an .npz with x_train, y_train, x_test, y_test")
    arguments.add_argument("-o", "--output", type=Path, required=True, help="folder for the two weight files")
    given = arguments.parse_args()
    with np.load(given.mnist) as mnist:
        data = {name: torch.from_numpy(mnist[name]) for name in ("x_train", "y_train", "x_test", "y_test")}
    given.output.mkdir(parents=True, exist_ok=True)
    model = net()
    torch.save(model.state_dict(), given.output / "untrained.pt")
    train_one_epoch(model, data["x_train"], data["y_train"].long())
    torch.save(model.state_dict(), given.output / "epoch1.pt")
    print(
        f"after one epoch: {accuracy(model, data['x_test'], data['y_test'].long()):.2%} of the test images are right"
    )


if __name__ == "__main__":
    main()
