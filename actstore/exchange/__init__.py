"""Activations that others wrote, into a store: .npy, .npz, .safetensors and HDF5, checked and streamed."""

from __future__ import annotations

from actstore.exchange.run import ImportSettings, import_files

__all__ = ["ImportSettings", "import_files"]
