"""A model of the store in plain dictionaries, and random sequences of everything that is done to one."""
