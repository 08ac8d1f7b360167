"""The convolutional decoder as a network of torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.decoders.by_torch.loading import seeded, torch_or_refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.decoders.architecture import Architecture

__all__ = ["build", "decode", "doubling", "loaded", "state_of"]


def build(architecture: Architecture, seed: int, brightness: NDArray[np.float64]) -> Any:
    """Return the decoder's layers (``torch.nn.Sequential``), initialised by torch's rules from a seed.

    But for the last bias, with which the decoder begins at about the ``brightness`` (channels,) of the pictures. From
    .5 on, pictures that are mostly black pull every unit down at once, and a reference, whose activations are small at
    first, ends with units that are all off (docs/decisions/0036).
    """
    with seeded(seed, 1):
        body = _layers(architecture)
    torch = torch_or_refuse("the convolutional decoder")
    least = 1 / 256
    with torch.no_grad():
        body[-1].bias.copy_(torch.logit(torch.from_numpy(np.asarray(brightness)).clamp(least, 1 - least)))
    return body


def _layers(architecture: Architecture) -> Any:
    nn = torch_or_refuse("the convolutional decoder").nn
    first = architecture.widths[0]
    if architecture.order:
        channels = architecture.code[architecture.order[0]]
        layers = [nn.Conv2d(channels, first, 3, padding=1), nn.ReLU()]
    else:
        layers = [nn.Linear(math.prod(architecture.code), first), nn.ReLU(), nn.Unflatten(1, (first, 1, 1))]
    outputs = [*architecture.widths[1:], architecture.picture[0]]
    for number, (given, made) in enumerate(zip(architecture.widths, outputs, strict=True), start=1):
        layer = doubling(given, made) if architecture.doublings else None
        layers.append(layer or nn.Conv2d(given, made, 3, padding=1))
        if number < len(outputs):
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def doubling(given: int, made: int) -> Any:
    """A transposed 4 x 4 convolution of stride 2.

    Of a map of 1 x 1, which a vector becomes, only the four middle taps reach into the 2 x 2 that comes of it. torch
    multiplies by all sixteen, 40% of a training step of the decoder of a vector.
    """
    torch = torch_or_refuse("the convolutional decoder")

    class Doubling(torch.nn.ConvTranspose2d):  # type: ignore[name-defined]
        def forward(self, cells: Any) -> Any:
            if cells.shape[2:] != (1, 1):
                return super().forward(cells)
            taps = self.weight[:, :, 1:3, 1:3].reshape(given, -1)
            return (cells.flatten(1) @ taps).reshape(-1, made, 2, 2) + self.bias[:, None, None]

    return Doubling(given, made, 4, stride=2, padding=1)


def decode(body: Any, architecture: Architecture, codes: Any) -> Any:
    """Return pictures (rows, channels, height, width) in [0, 1] of a tensor of activations (rows, *code)."""
    torch = torch_or_refuse("the convolutional decoder")
    if architecture.order:
        channel, height, width = architecture.order
        codes = codes.permute(0, channel + 1, height + 1, width + 1)
    else:
        codes = codes.reshape(len(codes), -1)
    hidden = body[: 2 if architecture.order else 3](codes)
    if architecture.fit == "resize":
        interpolate = torch.nn.functional.interpolate
        hidden = interpolate(hidden, size=architecture.cells, mode="bilinear", align_corners=False)
    pictures = body[2 if architecture.order else 3 :](hidden)
    _, height, width = architecture.picture
    top, left = (pictures.shape[2] - height) // 2, (pictures.shape[3] - width) // 2
    return torch.sigmoid(pictures[:, :, top : top + height, left : left + width])


def state_of(module: Any) -> dict[str, Array]:
    """Return the tensors of a module by name, as arrays of the host."""
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


def loaded(architecture: Architecture, arrays: Mapping[str, Array]) -> Any:
    """Return the layers of a decoder with the tensors of ``state_of``.

    Raises:
        ValueError: they are not of this architecture.
    """
    torch = torch_or_refuse("the convolutional decoder")
    with torch.device("meta"):  # nothing is allocated for an architecture that the arrays may not be of
        body = _layers(architecture)
    wanted = {name: tuple(value.shape) for name, value in body.state_dict().items()}
    given = {name: array.shape for name, array in arrays.items() if array.dtype == np.float32}
    if wanted != given or len(given) != len(arrays):
        msg = "the arrays are not those of its architecture"
        raise ValueError(msg)
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    body.load_state_dict(tensors, assign=True)
    return body
