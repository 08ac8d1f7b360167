"""Probes of many layers: tasks, held-out rows, fits of every layer, the probe file."""
