"""Places on disk, shards, loading, and the simulated Earth."""
