"""Figures of probes. Altair is imported in ``chart`` alone; nothing here knows the command line."""
