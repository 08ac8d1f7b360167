"""Verify a store: survey what is there, hash it again, report the damage."""
