"""What all nodes of the service have to agree on, such as the fingerprint of the secret that signs tokens.

The table is empty at first. Code of an older version ignores it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "service",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_service"),
    )


def downgrade() -> None:
    """Drops it. The next node that starts decides again."""
    op.drop_table("service")
