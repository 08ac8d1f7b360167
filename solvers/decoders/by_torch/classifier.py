"""The network that is explained, as a judge of pictures: frozen, in evaluation mode, checked before it is believed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.decoders.by_torch.loading import the_device, torch_or_refuse
from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.decoders.images import ImageUnits

__all__ = ["Classifier", "answers", "frozen", "is_torch_model", "logits_of"]

_TOLERANCE = 1e-4
"""Of answers to the same pictures as floats, beside the largest answer: float32 rounds at 1e-7 a layer."""


def is_torch_model(model: object) -> bool:
    """Whether a model is a module of torch, told without importing it."""
    return any(base.__module__ == "torch.nn.modules.module" for base in type(model).__mro__)


@contextmanager
def frozen(model: Any, device: str = "cpu") -> Iterator[None]:
    """Evaluation mode for every module and no gradients for its weights; all as it was afterwards.

    Raises:
        ProblemError: a module that stays in training mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        model.eval()
        stubborn = [name or "the model" for name, module in model.named_modules() if module.training]
        if stubborn:
            msg = f"{stubborn[0]} stays in training mode after model.eval(), so dropout would be on; mend its train()"
            raise ProblemError(msg)
        model.requires_grad_(False)
        model.to(the_device(device))
        yield
    finally:
        for module, training in modes:
            module.training = training
        for weight, needed in wanted:
            weight.requires_grad_(needed)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network from stored pictures to classes.

    Args:
        model: the module; ``frozen`` while it is asked.
        units: of the pictures.
        classes: (classes,) the labels, in the order of the network's outputs.
        probabilities: whether it gives probabilities, which are taken the logarithm of, rather than logits.
    """

    model: Any
    units: ImageUnits
    classes: Array
    probabilities: bool = False

    @classmethod
    def checked(cls, model: Any, units: ImageUnits, classes: Array, stored: Array) -> Classifier:
        """Return the classifier once it has answered a few stored pictures as a classifier must.

        Args:
            model: a module of torch, frozen.
            units: of the pictures.
            classes: the labels there are.
            stored: (rows, ...) a few pictures, as stored.

        Raises:
            ProblemError: it is no module of torch, is random, gives no row of classes, other ones than the labels, or
                answers other things to the same pictures as floats.
        """
        torch = torch_or_refuse("the classifier")
        if not is_torch_model(model):
            msg = (
                f"the model is a {type(model).__name__}; expected a torch module: gradients go through it, or its "
                "layers are trained anew"
            )
            raise ProblemError(msg)
        with torch.no_grad():
            as_floats = logits_of(model, torch.from_numpy(np.array(stored, np.float64)))
            again = logits_of(model, torch.from_numpy(np.array(stored, np.float64)))
            as_stored = logits_of(model, torch.from_numpy(np.array(stored)), floats=False)
        if not torch.equal(as_floats, again):
            msg = "the model answers the same pictures in two ways: something in it is random, though no module trains"
            raise ProblemError(msg)
        size = max(1e-30, float(as_stored.abs().max()))
        if float((as_floats - as_stored).abs().max()) > _TOLERANCE * size:
            msg = (
                f"the model answers otherwise to the same pictures as floats than as {np.asarray(stored).dtype}, so it "
                "cannot judge decoded pictures, which are floats; let it scale by x.float() / 255, whatever the dtype"
            )
            raise ProblemError(msg)
        ordered = _ordered(classes, as_floats.shape[1])
        probable = as_floats.min() >= 0 and torch.allclose(
            as_floats.sum(1), torch.ones_like(as_floats[:, 0]), atol=1e-3
        )
        return cls(model, units, ordered, bool(probable))

    def log_odds(self, pictures: Any) -> Any:
        """Return logits (rows, classes) of pictures (rows, channels, height, width) in [0, 1], with gradients."""
        return self.of(self.model, pictures)

    def of(self, model: Any, pictures: Any) -> Any:
        """As ``log_odds``, by another network of the same architecture."""
        found = logits_of(model, self.units.to_stored(pictures))
        return (found + 1e-30).log() if self.probabilities else found


def logits_of(model: Any, stored: Any, floats: bool = True) -> Any:
    """What a network makes of stored pictures: one tensor (rows, classes).

    Floats come in the dtype of the network's weights, on their device, as they did in the dump.

    Raises:
        ProblemError: it gives something else.
    """
    weights = next((each for each in model.parameters() if each.is_floating_point()), None)
    if weights is not None:
        as_float = floats or stored.is_floating_point()
        stored = stored.to(weights.device, weights.dtype if as_float else stored.dtype)
    elif floats:
        stored = stored.float()
    found = model(stored)
    if not hasattr(found, "shape") or len(found.shape) != 2 or len(found) != len(stored) or found.shape[1] < 2:
        shape = tuple(found.shape) if hasattr(found, "shape") else type(found).__name__
        msg = (
            f"the model gives {shape} for {len(stored)} pictures; expected one tensor (rows, classes) of logits or "
            "probabilities: put a module around it that returns that"
        )
        raise ProblemError(msg)
    return found


def _ordered(classes: Array, outputs: int) -> Array:
    """The labels in the order of the outputs: whole numbers are their places, others are sorted.

    Raises:
        ProblemError: they are not the network's.
    """
    found = np.unique(classes)
    if found.dtype.kind in "iu":
        if len(found) and (found[0] < 0 or found[-1] >= outputs):
            msg = (
                f"the labels go from {found[0]} to {found[-1]}, but the model has outputs 0 to {outputs - 1}; "
                "give the target that it was trained on"
            )
            raise ProblemError(msg)
        return np.arange(outputs)
    if len(found) != outputs:
        msg = f"the target has {len(found)} classes and the model {outputs} outputs; give the target it was trained on"
        raise ProblemError(msg)
    return found


def answers(
    log_odds: Callable[[Any], Any], pictures: Array, labels: NDArray[np.int64], device: str = "cpu"
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the nats of each row's label, NaN where it has none (-1), and the likeliest class.

    Args:
        log_odds: of a classifier or judge.
        pictures: (rows, channels, height, width); clipped to [0, 1], which a linear decoder may leave.
        labels: (rows,) places among the classes.
        device: of the network.
    """
    torch = torch_or_refuse("the classifier")
    with torch.no_grad():
        shown = torch.from_numpy(np.clip(pictures, 0, 1).astype(np.float32)).to(the_device(device))
        found = log_odds(shown).double()
        wanted = torch.from_numpy(np.maximum(labels, 0)).to(found.device)
        nats = torch.nn.functional.cross_entropy(found, wanted, reduction="none").cpu().numpy()
        return np.where(labels >= 0, nats, np.nan), found.argmax(1).cpu().numpy()
