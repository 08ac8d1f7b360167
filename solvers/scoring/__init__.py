"""How well a probe does on rows."""
