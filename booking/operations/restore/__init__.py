"""Brings what Redis has lost back out of the database."""
