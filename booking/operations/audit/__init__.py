"""Whether Redis and SQL say the same of every event, and each of them nothing that cannot be."""
