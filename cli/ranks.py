"""Which share of a dump or a fit this process takes: said by an option, or by what started the processes.

The first that says so counts, each for both numbers:

1. ``--rank`` and ``--world-size``;
2. ``RANK`` and ``WORLD_SIZE``, which torchrun sets;
3. ``jax.distributed``, where the model's own file initialised it (a dump runs one, a fit does not);
4. Slurm's step: ``SLURM_PROCID`` of ``SLURM_STEP_NUM_TASKS``. It is the step that counts (what ``srun`` starts), not
   the tasks of the allocation (``SLURM_NTASKS``): the shell of an interactive ``salloc`` and a batch script are one
   process each, whatever was allocated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def rank_options(share: str, shares: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds ``--rank`` and ``--world-size``, and says in their help what they share."""
    rank = click.option("--rank", type=click.IntRange(min=0), metavar="R", help=f"{share} ...")
    world_size = click.option("--world-size", type=click.IntRange(min=1), metavar="W", help=f"... {shares}")
    return lambda command: rank(world_size(command))


_TORCHRUN = ("RANK", "WORLD_SIZE")
_SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")


def rank_and_world_size(
    rank: int | None,
    world_size: int | None,
    environment: Mapping[str, str],
    jax_process: Callable[[], tuple[int, int] | None],
) -> tuple[int, int]:
    """The share and how many there are: (0, 1) for a process of its own.

    Args:
        rank: of ``--rank``.
        world_size: of ``--world-size``.
        environment: such as ``os.environ``.
        jax_process: gives the index and the number of JAX's processes, where they are known.

    Raises:
        click.UsageError: one number without the other, or none at all.
    """
    if rank is not None and world_size is not None:
        return rank, world_size
    if rank is not None or world_size is not None:
        raise click.UsageError("--rank and --world-size come together")
    return (
        _pair(_TORCHRUN, environment)
        or jax_process()
        or (_pair(_SLURM, environment) if _SLURM[1] in environment else None)
        or (0, 1)
    )


def _pair(names: tuple[str, str], environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Both numbers, or None where neither variable is set."""
    texts = [environment.get(name) for name in names]
    if texts == [None, None]:
        return None
    rank, world_size = (int(text) if text is not None and text.isdecimal() else None for text in texts)
    if rank is None or world_size is None:
        found = " and ".join(
            f"no {name}" if text is None else f"{name}={text}" for name, text in zip(names, texts, strict=True)
        )
        raise click.UsageError(
            f"the environment has {found}; expected two whole numbers: unset both, or give --rank and --world-size"
        )
    return rank, world_size
