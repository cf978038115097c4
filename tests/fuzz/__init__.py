"""Valid, invalid and hostile requests made from the OpenAPI document; every answer is compared with the document."""
