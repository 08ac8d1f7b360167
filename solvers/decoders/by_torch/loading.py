"""torch, where it is installed; one line that names the extra where it is not."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from solvers.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["seeded", "the_device", "torch_or_refuse"]


def torch_or_refuse(what: str) -> Any:
    """Return the module torch.

    Raises:
        EngineError: it is not installed; ``what`` needs it.
    """
    try:
        import torch
    except ImportError as error:
        msg = (
            f"{what} needs torch ({error}); install it: pip install 'actstore[torch]', or take --decoder linear"
        )
        raise EngineError(msg) from error
    return torch


def the_device(name: str) -> Any:
    """Return a device of torch that works here.

    Raises:
        EngineError: there is none of that name.
    """
    torch = torch_or_refuse("a device of torch")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # how torch says that there is no such device
        msg = f"device {name!r} cannot be used here: {str(error).splitlines()[0]}; expected cpu or cuda:N"
        raise EngineError(msg) from error
    return device


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Let torch draw from a seed of these numbers for the time being; the caller's generators stay as they are."""
    import numpy as np

    torch = torch_or_refuse("a seed of torch")
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
