"""A ticket booking service for flash sales."""
