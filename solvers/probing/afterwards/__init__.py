"""What is asked of fitted probes afterwards: other rows, comparisons on them, directions."""
