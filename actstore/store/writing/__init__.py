"""Write a store: batches are checked, gathered, sealed as shards, proven complete, packed."""
