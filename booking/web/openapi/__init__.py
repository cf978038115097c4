"""The OpenAPI document, made from what validates the requests and types the answers, and the page that shows it."""
