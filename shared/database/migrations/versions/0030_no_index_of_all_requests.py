"""Drops an index that PostgreSQL took instead of the right one (0029).

By itself: it locks the table for a moment, and in one transaction with 0029, or with 0031, a
purchase or the sweeper and the migration could wait for each other. It may run while sales run.

Revision ID: 0030
"""

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.execute("DROP INDEX requests_by_user")


def downgrade() -> None:
    op.execute("CREATE INDEX requests_by_user ON requests (user_id, seq)")
