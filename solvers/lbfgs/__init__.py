"""L-BFGS over many columns at once: the objective, the metric, the direction, the line search, the sweep."""
