"""Dump a model: the loop over batches, resume, the self-check, row units and ids, and recording from Python."""
