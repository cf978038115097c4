"""Who caused a change, and the reason of an organizer who cancelled a booking.

Both are null in the rows that exist already. Code of an older version ignores these columns, and writes null.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("changes", sa.Column("actor", sa.Text()))
    op.add_column("changes", sa.Column("reason", sa.Text()))


def downgrade() -> None:
    """Removes them, and what they say."""
    op.drop_column("changes", "reason")
    op.drop_column("changes", "actor")
