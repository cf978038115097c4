"""`booking loadtest`: a flash sale against a running service, and a verdict on what became of it."""
