"""`probe decode` and `probe explain`: from a layer back to the input."""
