"""HTTP/1.1 for an ASGI application: whole requests, one ASGI call for each, deadlines, and load shedding.

uvicorn runs it by its documented `http` setting. This package knows ASGI; it knows nothing of tickets.
"""
