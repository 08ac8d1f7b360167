"""Fit one layer: ``fit`` is the door, ``path`` solves every C, ``result`` is what comes back."""
