"""The HTTP API of the contract: endpoints, authentication, request and response schemas, problems."""
