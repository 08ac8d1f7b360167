"""Fit one layer for every target: choose C, score every split, take down predictions."""
