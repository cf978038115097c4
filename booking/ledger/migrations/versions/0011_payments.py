"""Payments: which booking each belongs to, and what it came to. Changes tell how many tickets a part gave back.

Bookings and changes that exist already have no payment. Code of an older version ignores the columns. It cannot read
the new kinds of changes, and applies nothing more of a shard that has one, so the persisters are upgraded first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns, and creates the table."""
    op.add_column("bookings", sa.Column("payment_id", sa.Text()))
    op.add_column("changes", sa.Column("payment_id", sa.Text()))
    op.add_column("changes", sa.Column("given_back", sa.SmallInteger()))
    op.create_table(
        "payments",
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("outcome_seq", sa.BigInteger()),
        sa.Column("outcome_at_ms", sa.BigInteger()),
        sa.Column("done_at_ms", sa.BigInteger()),
        sa.Column("done_by", sa.Text()),
        sa.PrimaryKeyConstraint("event_id", "payment_id", name="pk_payments"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_payments_event_id", "payments", ["event_id", "user_id", "seq"])
    op.create_index("ix_payments_outcome", "payments", ["event_id", "outcome", "outcome_seq"])


def downgrade() -> None:
    """Removes them. It forgets which payments are to be refunded."""
    op.drop_index("ix_payments_outcome", "payments")
    op.drop_index("ix_payments_event_id", "payments")
    op.drop_table("payments")
    op.drop_column("changes", "given_back")
    op.drop_column("changes", "payment_id")
    op.drop_column("bookings", "payment_id")
