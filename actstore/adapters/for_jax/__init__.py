"""JAX: jitted functions, Flax linen modules and Flax nnx modules."""

from actstore.adapters.for_jax.jax import JaxAdapter
from actstore.adapters.for_jax.linen import LinenAdapter
from actstore.adapters.for_jax.nnx import NnxAdapter

__all__ = ["JaxAdapter", "LinenAdapter", "NnxAdapter"]
