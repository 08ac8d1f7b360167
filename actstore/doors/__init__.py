"""What Python users call: the words of the command line as keywords, what may be given as data, and progress."""
