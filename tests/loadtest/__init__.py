"""The load test, put to the test: against a service that is honest, and against one that lies on purpose."""
