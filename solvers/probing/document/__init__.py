"""What a probe file says: its header and the names of its arrays, whatever holds them."""
