"""Crashes, made and undone: what a dump promised is there after each, and resuming ends as if nothing had happened."""
