"""Which rows: their ids, and the choice among them."""
