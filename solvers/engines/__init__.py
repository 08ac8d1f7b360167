"""Engines, one a file: a file that defines ``ENGINE`` is one; ``choice`` picks among them."""
