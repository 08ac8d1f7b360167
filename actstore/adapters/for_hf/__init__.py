"""Hugging Face models with their own processors, and folders and names of such."""

from actstore.adapters.for_hf.adapter import HfAdapter

__all__ = ["HfAdapter"]
