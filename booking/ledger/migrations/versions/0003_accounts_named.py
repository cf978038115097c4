"""The user id of an account is `account:<id>`; before this migration it was the id alone, in decimal digits.

This migration renames nothing, because Redis has the user ids, too, and only the start of the service can write both.
The column shows for each shard whether it was renamed; existing shards begin with false. The start applies what is left
of a shard's stream, renames in SQL, and writes the shard into Redis again under a new epoch (naming.py of the restore
package).

The rule: if a user id is the decimal id of an account in the database, it is that account's. A user of an outside
provider with the same id may have made some of these bookings; for the older version both were one buyer. Every node of
the older version has to be stopped first, because it would go on selling to accounts under their bare ids.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. Shards created later have nothing to rename, and are inserted with true."""
    op.add_column("shards", sa.Column("accounts_named", sa.Boolean(), server_default=sa.false(), nullable=False))
