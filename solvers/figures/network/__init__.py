"""A network drawn as boxes: which row each stands in, where its edges run."""
