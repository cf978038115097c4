"""A waiting list's limit may be any whole number that JSON carries; four bytes were too few for it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widens the column, where that makes a difference: SQLite's integers have eight bytes as they are."""
    with op.batch_alter_table("events") as events:
        events.alter_column("waitlist_limit", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=True)
