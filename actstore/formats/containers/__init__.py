"""Files of arrays and tables that others wrote: told by their first bytes, opened by one front (``front``)."""
