"""From probes to scores: the rows that tables, figures and comparisons read."""
