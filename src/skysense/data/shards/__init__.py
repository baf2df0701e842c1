"""Places in shards: what is streamed while a model learns; the layout is docs/shards.md."""
