"""Which of JAX's processes this one is, where somebody has initialised ``jax.distributed`` already."""

from __future__ import annotations

import sys


def jax_process() -> tuple[int, int] | None:
    """The index of this process and how many there are; None where JAX is not loaded or runs in one process.

    Asked without importing JAX, and without starting its backends where ``jax.distributed`` was not initialised.
    """
    jax = sys.modules.get("jax")
    is_initialized = getattr(getattr(jax, "distributed", None), "is_initialized", None)  # JAX 0.4.34 or later
    if jax is None or is_initialized is None or not is_initialized():
        return None
    return int(jax.process_index()), int(jax.process_count())
