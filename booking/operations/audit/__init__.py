"""The audit: compares every event in Redis with the same event in SQL, and checks each for impossible states."""
