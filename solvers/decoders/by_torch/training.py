"""Minibatch training that can be cut off after any epoch and goes on to the bit, on a CPU.

Nothing that decides what comes next lives outside what is kept: the order of the rows of an epoch and whatever the
network draws follow from the seed and the epoch's number, the rest is the weights and Adam's moments.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.decoders.by_torch.loading import seeded, the_device, torch_or_refuse
from solvers.decoders.by_torch.network import state_of
from solvers.decoders.settings import DecoderSettings, TrainingProgress
from solvers.errors import ProbeFileError, ProblemError
from solvers.probing.document.header import read_header
from solvers.probing.document.kind import FileKind
from solvers.probing.probe_file import opened_arrays, save_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from solvers.decoders.settings import Progress

__all__ = ["EPOCHS", "EpochFile", "Training", "train"]

EPOCHS = FileKind(
    "actstore decoder in training", "0.9", "decoder in training", "probe decode", "fit_conv", "remove it"
)
"""The file that keeps the last epoch of a training."""
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class EpochFile:
    """Where a training keeps its last epoch, and what it is a training of, as JSON."""

    path: Path
    question: Mapping[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """What the epochs must be of."""
        torch = torch_or_refuse("training")
        asked = {**self.question, "torch": torch.__version__, "threads": torch.get_num_threads()}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def write(self, losses: list[float], module: Any, optimiser: Any) -> None:
        """Keep the state after an epoch, in place of the one before."""
        arrays = {f"module.{number}": array for number, array in enumerate(state_of(module).values())}
        states = optimiser.state_dict()["state"]
        for number, state in states.items():
            arrays |= {f"{name}.{number}": np.asarray(state[name].cpu().numpy()) for name in _MOMENTS}
        header = {"format": EPOCHS.format, "version": EPOCHS.version, "of": self.digest(), "losses": losses}
        content = json.dumps({**header, "moved": [int(number) for number in states]}).encode()
        save_arrays(self.path, EPOCHS, content, arrays, overwrite=True)

    def read(self, module: Any, optimiser: Any) -> list[float]:
        """Put back the state after the last epoch, and return the loss of each; [] where there is none to go on from.

        Raises:
            ProbeFileError: the file is damaged.
        """
        if not self.path.exists():
            return []
        with opened_arrays(self.path, EPOCHS) as found:
            header = read_header(self.path, found.bytes_of_header(), EPOCHS)
            if header.get("of") != self.digest():
                return []
            try:
                _put_back(header, found.read, module, optimiser)
                return [float(loss) for loss in header["losses"]]
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                msg = f"{self.path} is damaged ({error}); remove it, and training begins anew"
                raise ProbeFileError(msg) from error


def _put_back(header: Mapping[str, Any], read: Callable[[str], Any], module: Any, optimiser: Any) -> None:
    torch = torch_or_refuse("training")
    names = list(module.state_dict())
    module.load_state_dict(
        {name: torch.from_numpy(read(f"module.{number}")) for number, name in enumerate(names)}
    )
    whole = optimiser.state_dict()
    whole["state"] = {
        int(number): {name: torch.from_numpy(read(f"{name}.{number}")) for name in _MOMENTS}
        for number in header["moved"]
    }
    optimiser.load_state_dict(whole)


@dataclass(frozen=True)
class Training:
    """How one training goes: its settings, where each epoch is kept and gone on from, and who is told of each step."""

    settings: DecoderSettings = field(default_factory=DecoderSettings)
    keep: EpochFile | None = None
    progress: Progress | None = None

    def changed(self, **settings: Any) -> Training:
        """Return the same with other settings."""
        return replace(self, settings=replace(self.settings, **settings))


def train(
    module: Any, loss_of: Callable[[NDArray[np.int64]], Any], rows: NDArray[np.int64], training: Training
) -> tuple[float, ...]:
    """Train a module by Adam, and return the mean loss of each epoch.

    Args:
        module: of torch; its parameters that need gradients are trained.
        loss_of: the loss of some rows, ascending, as a tensor.
        rows: numbers of the training rows.
        training: how.

    Raises:
        ProblemError: no rows, or a loss that is no longer a number.
        ProbeFileError: an epoch cannot be kept, or read.
    """
    torch = torch_or_refuse("training")
    settings, keep = training.settings, training.keep
    if not len(rows):
        msg = "there are no rows to train on; expected some of split `train`, with labels where a classifier takes part"
        raise ProblemError(msg)
    device = the_device(settings.device)
    module.to(device)
    optimiser = torch.optim.Adam(
        [each for each in module.parameters() if each.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=device.type in ("cpu", "cuda"),  # one pass over the weights: a seventh of the time
    )
    losses = [] if keep is None else keep.read(module, optimiser)
    for epoch in range(len(losses), settings.epochs):
        with seeded(settings.seed, 2, epoch):
            losses.append(_epoch(loss_of, optimiser, _batches(rows, settings, epoch), (epoch, training)))
        if keep is not None:
            keep.write(losses, module, optimiser)
    return tuple(losses)


def _batches(rows: NDArray[np.int64], settings: DecoderSettings, epoch: int) -> list[NDArray[np.int64]]:
    """The rows of each step: a seeded order of all, ascending within a step, which reads them faster.

    A single row that is left over joins the step before: batch norm has no deviation of one row.
    """
    order = np.random.default_rng([settings.seed, 3, epoch]).permutation(rows)
    cuts = list(range(settings.batch_rows, len(order), settings.batch_rows))
    if cuts and len(order) - cuts[-1] == 1:
        cuts.pop()
    return [np.sort(batch) for batch in np.split(order, cuts)]


def _epoch(
    loss_of: Callable[[NDArray[np.int64]], Any],
    optimiser: Any,
    batches: list[NDArray[np.int64]],
    which: tuple[int, Training],
) -> float:
    """One pass; returns the mean loss over its rows."""
    epoch, training = which
    total, done, of, epochs = 0.0, 0, sum(map(len, batches)), training.settings.epochs
    for batch in batches:
        optimiser.zero_grad()
        loss = loss_of(batch)
        value = float(loss.detach())
        if not np.isfinite(value):
            msg = f"the loss is {value} in epoch {epoch + 1} of {epochs}; try a smaller learning rate"
            raise ProblemError(msg)
        loss.backward()
        optimiser.step()
        done += len(batch)
        total += value * len(batch)
        if training.progress is not None:
            training.progress(TrainingProgress(epoch + 1, epochs, done, of, value))
    return total / of
