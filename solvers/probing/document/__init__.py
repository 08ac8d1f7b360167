"""What a probe file says: its header and the names of its arrays, and where each of them lies."""
