"""Merge ranks and parts into one store, without copying activations."""
