"""What a store says of itself: JSON documents, checksummed records, journals, shards and the row table."""
