"""Labels as values: one plain type, and marks that mean "no label"."""
