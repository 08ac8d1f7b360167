"""Commands of the program ``probe``, one a file."""
