"""Who works on the rows: the threads of this process."""
