"""A waiting list's limit may be any integer that JSON represents exactly; four bytes were too few."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widens the column. It changes nothing in SQLite, whose integers already have eight bytes."""
    with op.batch_alter_table("events") as events:
        events.alter_column("waitlist_limit", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=True)
