"""What is drawn inside a plot: curves, maps and dots."""
