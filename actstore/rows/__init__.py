"""Rows as a person names them: their ids, their labels, and the choice among them."""
