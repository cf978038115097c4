"""The details of an event, as JSON: what people are told about it, and rules that only some commands read.

An event that exists already has none. Code of an older version ignores this column.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.add_column("events", sa.Column("details", sa.Text()))


def downgrade() -> None:
    """Removes it. It forgets the details that no later change of an event tells again."""
    op.drop_column("events", "details")
