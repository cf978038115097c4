"""The OpenAPI document, made from the request and response schemas, and the page that shows it."""
