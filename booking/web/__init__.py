"""HTTP: endpoints, credentials, payloads and problems, as the contract has them."""
