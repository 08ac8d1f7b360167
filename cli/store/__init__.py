"""Commands of the program ``actstore``, one a file."""
