"""The proof of a fit: a bound on how far its loss is from the optimum."""
