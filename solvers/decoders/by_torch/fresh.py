"""A classifier's layers as they were before any training: for the reference, and for the evaluation classifier."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from solvers.decoders.by_torch.loading import seeded, torch_or_refuse
from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Encoder", "fresh"]


def fresh(make: Callable[[], Any], seed: int) -> Any:
    """Return a network of the same architecture whose every weight is drawn anew from a seed.

    Every weight is made NaN before ``reset_parameters`` of its module is called: one that is still NaN after it was not
    drawn anew, and would carry over what another training learned.

    Args:
        make: the factory of the network; what it gives may be trained, or given before: it is copied.
        seed: of the weights.

    Raises:
        ProblemError: a module has weights and no ``reset_parameters``, or that leaves some of them as they were.
    """
    torch = torch_or_refuse("the reference")
    model = copy.deepcopy(make()).float()
    model.requires_grad_(True)
    owners = [
        (name, module) for name, module in model.named_modules() if list(module.parameters(recurse=False))
    ]
    for name, module in owners:
        if not hasattr(module, "reset_parameters"):
            msg = (
                f"module {name or 'the model'!r} ({type(module).__name__}) has weights of its own and no "
                "reset_parameters(), so they cannot be drawn anew; give it that method, as torch's own modules have it"
            )
            raise ProblemError(msg)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(float("nan"))
    with seeded(seed, 4):
        # Those inside first: a module around others may draw their weights by a rule of its own.
        for module in reversed([*model.modules()]):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    for name, weight in model.named_parameters():
        if bool(torch.isnan(weight).any()):
            msg = f"reset_parameters() leaves weight {name!r} as it was; let it draw all of its module's weights anew"
            raise ProblemError(msg)
    return model


class Encoder:
    """The layers of a network up to one, with gradients: what ``layer`` of a store is, of this network.

    Args:
        model: a module of torch, fresh.
        layer: as the store has it: NAME, NAME:in for what goes into it, NAME#1 for its second call, or
            ``output``.

    Raises:
        ProblemError: the network has no such layer.
    """

    def __init__(self, model: Any, layer: str) -> None:
        found = re.fullmatch(r"(.*?)(:in)?(?:#(\d+))?", layer)
        modules = dict(model.named_modules())
        if layer in modules:
            self._name, self._call, self._goes_in = layer, 0, False
        elif layer == "output":
            self._name, self._call, self._goes_in = "", 0, False
        elif found is not None and found[1] in modules:
            self._name, self._call, self._goes_in = found[1], int(found[3] or 0), bool(found[2])
        else:
            msg = f"the model has no module {layer!r}, so no reference can be trained for it; leave --reference out"
            raise ProblemError(msg)
        self.model, self._layer = model, layer

    def train(self) -> None:
        """Evaluation mode, so that no dropout guesses, but for what learns its statistics (batch norm)."""
        self.model.eval()
        for module in self.model.modules():
            if getattr(module, "running_mean", None) is not None:
                module.training = True

    def __call__(self, stored: Any) -> Any:
        """Return the layer (rows, ...) of stored pictures."""
        kept: list[Any] = []
        module = self.model.get_submodule(self._name)
        handle = (
            module.register_forward_pre_hook(
                lambda _module, given: kept.append(_copied(given[0] if given else None))
            )
            if self._goes_in
            else module.register_forward_hook(lambda _module, _given, made: kept.append(_copied(made)))
        )
        try:
            self.model(stored)
        finally:
            handle.remove()
        if len(kept) <= self._call or not hasattr(kept[self._call], "shape"):
            msg = f"layer {self._layer!r} of the model gives no tensor; no reference can be trained for it"
            raise ProblemError(msg)
        return kept[self._call]


def _copied(value: Any) -> Any:
    """A tensor as it is now, with its gradient: a later module may change it in place."""
    return value.clone() if hasattr(value, "clone") else value
