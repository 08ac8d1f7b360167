"""Every call to the file system: syncs, locks, held files, the one file that calls HDF5, names of outputs."""
