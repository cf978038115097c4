"""Requests made out of the OpenAPI document, right, wrong and hostile; every answer is held to the document."""
