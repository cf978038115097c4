"""Restores from the database what Redis has lost."""
