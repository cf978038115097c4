"""Runs migrations on the connection that `booking.ledger.migrate` hands over, inside its transaction."""

from alembic import context

from booking.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
