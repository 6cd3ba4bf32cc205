"""Drops the indexes that PostgreSQL took instead of the right ones (0029).

By itself: it locks the tables for a moment, and in one transaction with 0029 a purchase and the
migration could wait for each other. It may run while sales run: only the code of the former version
needs them, for its lists and its next ends of holds, which are slower until it is replaced.

Revision ID: 0030
"""

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.execute("DROP INDEX requests_by_user")
    op.execute("DROP INDEX holds_by_end")


def downgrade() -> None:
    op.execute("CREATE INDEX requests_by_user ON requests (user_id, seq)")
    op.execute("CREATE INDEX holds_by_end ON holds (event_id, ends_at)")
