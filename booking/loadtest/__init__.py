"""`booking loadtest`: plays a flash sale against a running service, and judges its result."""
