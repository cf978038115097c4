"""Accounts have user ids of their own, `account:<id>`; before, theirs was the bare decimal text of the id.

Nothing is renamed here: Redis names the buyers, too, and only the start of the service can write both sides. The column
says of each shard whether that was done; those that are there have it before them. The start carries what is left of a
shard's stream, renames in SQL, and writes the shard into Redis again under a new epoch (naming.py of the
restore package).

The rule: with accounts in the database, a user id that is the decimal text of an account's id is that account's. An
outside provider's user with the same id may have made some of these bookings; the two were one buyer to the service.
Every node of the older version has to be stopped before: it would go on selling to accounts under their bare ids.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; a shard that is founded from now on has nothing to rename."""
    op.add_column("shards", sa.Column("accounts_named", sa.Boolean(), server_default=sa.false(), nullable=False))
