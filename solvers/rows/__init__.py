"""Rows of activations: what a solver reads, small wrappers around it, and columns drawn at random."""

from solvers.rows.draws import at_full_width, draw_columns, draw_matrix
from solvers.rows.source import RowSource, as_layers, as_source, at_hand, blocks, flat_width, read, take
from solvers.rows.views import Columns, Concat, ConcatFeatures, ConcatRows, Project, Rows

__all__ = [
    "Columns",
    "Concat",
    "ConcatFeatures",
    "ConcatRows",
    "Project",
    "RowSource",
    "Rows",
    "as_layers",
    "as_source",
    "at_full_width",
    "at_hand",
    "blocks",
    "draw_columns",
    "draw_matrix",
    "flat_width",
    "read",
    "take",
]
