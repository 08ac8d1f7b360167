"""What the commands on fitted probes share: rows of a store or of files, tables, files to write."""
