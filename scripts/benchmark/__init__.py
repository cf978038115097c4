"""What `scripts/bench` measures, and against what: the rivals, the load, the sums and the table."""
