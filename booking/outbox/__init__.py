"""The outbox: one process that tells others of what the ledger has. It never touches a sale."""
