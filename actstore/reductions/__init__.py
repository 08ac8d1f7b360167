"""What is kept of each layer: a pool, random features, a random projection, a cast, in this order.

They happen before anything is copied off the device or goes to disk, and are recorded so exactly that a dump of the
whole layers would give the same again. What a layer's axes mean is what the layer says; nothing is told from shapes.
"""

from actstore.reductions.cast import CastReport
from actstore.reductions.plan import LayerReduction, Reductions, plan_reductions
from actstore.reductions.settings import ReductionSettings

__all__ = ["CastReport", "LayerReduction", "ReductionSettings", "Reductions", "plan_reductions"]
