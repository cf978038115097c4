"""The persister: it consumes the change streams in Redis and writes them into SQL."""
