"""File formats of others, one a file: each knows bytes, not stores."""
