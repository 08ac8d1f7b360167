"""Keras 3 on any backend."""

from actstore.adapters.for_keras.adapter import KerasAdapter

__all__ = ["KerasAdapter"]
