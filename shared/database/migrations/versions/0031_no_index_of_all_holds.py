"""Drops an index that PostgreSQL took instead of the right one (0029).

It may run while sales run. Gateways and sweepers of the former version need it to find the next
end of a hold; without it they read all holds of an event, until they are replaced.

Revision ID: 0031
"""

from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.execute("DROP INDEX holds_by_end")


def downgrade() -> None:
    op.execute("CREATE INDEX holds_by_end ON holds (event_id, ends_at)")
