"""The persister: it carries the streams of changes from Redis into SQL."""
