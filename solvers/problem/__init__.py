"""The problem that is solved: rows, labels, weights of rows, and their moments."""
