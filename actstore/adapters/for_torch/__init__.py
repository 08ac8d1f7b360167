"""PyTorch: modules by their dotted names, through forward hooks."""

from actstore.adapters.for_torch.adapter import TorchAdapter

__all__ = ["TorchAdapter"]
