"""Read a store: steps, layers as row sources, blocks checked against their hashes, folders and single files."""
