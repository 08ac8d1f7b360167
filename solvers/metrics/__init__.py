"""Metrics: one function of predictions a file; docs/metrics.md."""
