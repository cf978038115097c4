"""Who created an event; which accounts are administrators; since when an account's tokens are valid.

An event that exists already has no organizer, and belongs to the administrators. An existing account is no
administrator, and all of its tokens are valid. Code of an older version ignores these columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns, and the index by which a worker finds the accounts that were changed lately."""
    op.add_column("events", sa.Column("organizer_id", sa.Text()))
    op.add_column("users", sa.Column("admin", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("users", sa.Column("tokens_from", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("ix_users_tokens_from", "users", ["tokens_from"])


def downgrade() -> None:
    """Removes them. It forgets who created each event, and makes tokens valid again that were not."""
    op.drop_index("ix_users_tokens_from", "users")
    op.drop_column("users", "tokens_from")
    op.drop_column("users", "admin")
    op.drop_column("events", "organizer_id")
