"""Problems that solvers are measured on: real activations where their data is there, and synthetic ones.

Everybody gets the same float32 rows. Columns have unit standard deviation (constant ones stay as they are) but not zero
mean, so "scaled" is the problem itself, and centring, which leaves the optimum where it is, is a solver's choice.
"""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HOUSE = Path(__file__).resolve().parents[2]
DATA = HOUSE.parent / "shared" / "data"
VECTORS = HOUSE / "build" / "bench" / "ewt.npz"
TRAIN_ROWS = 54_000
"""Rows of MNIST that `probe fit` trains on where a tenth is set aside."""


class MissingError(Exception):
    """What a problem is made of is not on this machine; the message says what."""


@dataclass(frozen=True)
class Problem:
    """Rows (rows, width) float32, labels (rows,) int64, and what to call them."""

    name: str
    activations: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Recipe:
    """How a problem is made, and the C it is fitted at; ``make`` takes whether it shall be a short one."""

    make: Callable[[bool], tuple[NDArray[Any], NDArray[Any]]]
    C: tuple[float, ...]
    short: tuple[float, ...] = (1.0,)
    """C in the short run, which leaves the problem out where there are none."""


def unit_columns(x: NDArray[Any]) -> NDArray[np.float32]:
    """Columns of unit standard deviation, in float32; constant ones as they were."""
    spread = x.std(axis=0, dtype=np.float64)
    constant = spread <= 1e-6 * np.abs(x).max(axis=0)
    return (x / np.where(constant, 1.0, spread)).astype(np.float32)


@cache
def mnist() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pixels (54,000, 784) from 0 to 1, and digits."""
    path = DATA / "mnist.npz"
    if not path.exists():
        msg = f"{path.name} is not in {DATA}"
        raise MissingError(msg)
    with np.load(path) as arrays:
        pixels = arrays["x_train"][:TRAIN_ROWS].reshape(TRAIN_ROWS, -1).astype(np.float32) / 255
        return pixels, arrays["y_train"][:TRAIN_ROWS].astype(np.int64)


def relu_features(x: NDArray[np.float32], width: int, seed: int = 0) -> NDArray[np.float32]:
    """A random layer on x: He's weights, small biases, ReLU."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((x.shape[1], width), np.float32) * np.float32(np.sqrt(2 / x.shape[1]))
    return np.maximum(x @ weights + 0.1 * rng.standard_normal(width, np.float32), 0)


def _pixels(short: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = mnist()
    rows = 6_000 if short else TRAIN_ROWS
    return x[:rows], y[:rows]


def _relu(rows: int, width: int, short_width: int, short: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = mnist()
    rows = min(rows, 6_000) if short else rows
    return relu_features(x[:rows], short_width if short else width), y[:rows]


def _convnet(layer: str, short: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """A layer of the convnet of docs/reproductions/cladec after one epoch (of 6,000 images where it shall be short)."""
    try:
        import torch
    except ImportError:
        msg = "torch is not installed"
        raise MissingError(msg) from None
    network = runpy.run_path(str(HOUSE / "docs" / "reproductions" / "cladec" / "network.py"))

    x, y = _pixels(short)
    images, model = torch.from_numpy(x.reshape(-1, 28, 28) * 255), network["net"]()
    network["train_one_epoch"](model, images, torch.from_numpy(y))
    model.eval()
    taken: list[Any] = []
    model.get_submodule(layer).register_forward_hook(lambda _, __, out: taken.append(out.flatten(1).numpy()))
    with torch.inference_mode():
        for batch in images.split(1000):
            model(batch)
    return np.concatenate(taken), y


def _words(target: str, short: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    if not VECTORS.exists():
        msg = f"{VECTORS.relative_to(HOUSE)} is not there; tests/benchmarks/word_vectors.py makes it"
        raise MissingError(msg)
    with np.load(VECTORS) as arrays:
        x, y = arrays["x_train"], arrays[f"{target}_train"].astype(np.int64)
    if short:
        x, y = x[::20], np.unique(y[::20], return_inverse=True)[1]
    return x, y


def _draw(logits: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels from the softmax of logits, every class present."""
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    labels[: logits.shape[1]] = np.arange(logits.shape[1])
    return labels


def _spectrum(rows: int, width: int, least: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """White rows, and the same with standard deviations falling from 1 to ``least``, rotated: correlated columns."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((rows, width))
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0]
    return white, (white * np.geomspace(1.0, least, width)) @ rotation


def ill_conditioned(rows: int, width: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Covariance of condition 1e7 under a mean; the ten classes depend on narrow directions as much as on wide ones."""
    white, x = _spectrum(rows, width, 10**-3.5, seed)
    rng = np.random.default_rng(seed + 1)
    teacher = rng.standard_normal((width, 10)) * (2 / np.sqrt(width))
    return x + 3 * x.std(axis=0), _draw(white @ teacher, rng)


def near_separable(rows: int, width: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """A linear teacher's ten classes, the half of the rows that it is least sure of left out."""
    _, x = _spectrum(2 * rows, width, 0.1, seed)
    teacher = np.random.default_rng(seed + 1).standard_normal((width, 10))
    logits = x @ teacher
    best = np.sort(logits, axis=1)
    sure = np.argsort(best[:, -2] - best[:, -1])[:rows]
    sure.sort()
    labels = logits[sure].argmax(axis=1)
    return x[sure], np.unique(labels, return_inverse=True)[1]


def many_classes(rows: int, width: int, classes: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Correlated columns under a mean, and labels from a softmax teacher's odds."""
    _, x = _spectrum(rows, width, 0.05, seed)
    x /= x.std(axis=0)
    rng = np.random.default_rng(seed + 1)
    teacher = rng.standard_normal((width, classes)) * (3 / np.sqrt(width))
    return x + 1.0, _draw(x @ teacher, rng)


def residual_stream(
    rows: int, width: int, classes: int = 2, targets: int = 1, decay: float = 0.5, seed: int = 0
) -> tuple[NDArray[np.float32], list[NDArray[np.int64]]]:
    """Rows like a language model's residual stream, and labels of several targets.

    A spectrum that decays (standard deviations k ** -decay), mixed over the columns, one column at +300, one at 200
    times the scale of the others; labels by noisy linear teachers.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width), np.float32) * np.arange(1, width + 1, dtype=np.float32) ** -decay
    for _ in range(3):  # a rotation of all columns would take longer than all fits
        reflected = rng.standard_normal(width).astype(np.float32)
        reflected /= np.linalg.norm(reflected)
        x -= 2 * np.outer(x @ reflected, reflected)
        x = x[:, rng.permutation(width)]
        mixing = np.linalg.qr(rng.standard_normal((64, 64)))[0].astype(np.float32)
        x = (x.reshape(rows, -1, 64) @ mixing).reshape(rows, width)
    labels = []
    for _ in range(targets):
        z = x @ rng.standard_normal((width, 1 if classes == 2 else classes)).astype(np.float32)
        z /= z.std(axis=0)
        if classes == 2:
            labels.append((2 * z[:, 0] + rng.logistic(size=rows) > 0).astype(np.int64))
        else:
            labels.append((3 * z + rng.gumbel(size=z.shape)).argmax(axis=1).astype(np.int64))
    x /= x.std()
    x[:, 7] += 300
    x[:, 11] *= 200
    return unit_columns(x), labels


REAL_C = (0.01, 1.0, 100.0)
_ILL, _SEPARABLE = ((6_000, 128), (20_000, 512)), ((4_000, 128), (20_000, 256))
_CLASSES = {
    2: ((10_000, 128), (20_000, 256)),
    10: ((6_000, 128), (20_000, 256)),
    100: ((4_000, 64), (20_000, 256)),
    1000: ((3_000, 32), (10_000, 128)),
}
RECIPES: dict[str, Recipe] = {
    "mnist-relu-512": Recipe(partial(_relu, 20_000, 512, 256), REAL_C),
    "ewt-upos": Recipe(partial(_words, "upos"), REAL_C),
    "ewt-deprel": Recipe(partial(_words, "deprel"), REAL_C, short=()),
    "mnist-pixels": Recipe(_pixels, REAL_C, short=()),
    "mnist-relu-1024": Recipe(partial(_relu, TRAIN_ROWS, 1024, 512), REAL_C, short=()),
    "convnet-pool2": Recipe(partial(_convnet, "pool2"), REAL_C, short=()),
    "convnet-fc1": Recipe(partial(_convnet, "fc1"), REAL_C, short=()),
    "ill-conditioned": Recipe(lambda short: ill_conditioned(*_ILL[not short]), (1.0,)),
    "near-separable": Recipe(lambda short: near_separable(*_SEPARABLE[not short]), (100.0,), short=(100.0,)),
} | {
    f"{classes}-classes": Recipe(
        lambda short, classes=classes, sizes=sizes: many_classes(*sizes[not short], classes),
        (1.0,),
        short=() if classes == 10 else (1.0,),
    )
    for classes, sizes in _CLASSES.items()
}


def make(name: str, short: bool) -> Problem:
    """The problem of a name.

    Raises:
        MissingError: what it is made of is not here.
    """
    x, y = RECIPES[name].make(short)
    return Problem(name, unit_columns(x), y)


def saved(name: str, short: bool, folder: Path) -> Path:
    """Where a problem lies that was made before, or is made now and kept.

    Raises:
        MissingError: as :func:`make`.
    """
    path = folder / f"{name}{'-short' if short else ''}"
    if not (path / "labels.npy").exists():
        problem = make(name, short)
        path.mkdir(parents=True, exist_ok=True)
        np.save(path / "activations.npy", problem.activations)
        np.save(path / "labels.npy", problem.labels)
    return path


def load(path: Path) -> Problem:
    """A problem that was saved, read into memory."""
    return Problem(path.name, np.load(path / "activations.npy"), np.load(path / "labels.npy"))
