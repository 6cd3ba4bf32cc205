"""A purchase carries the name of its trace from the door to the decision.

It may run while sales run: the column has no default, so no row is written and none is read, and
its lock is held for a moment. Code of the former version leaves the column null.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # It may have been added by hand before, at a quiet moment.
    op.execute("ALTER TABLE ticket_purchases ADD COLUMN IF NOT EXISTS traceparent text")


def downgrade() -> None:
    op.execute("ALTER TABLE ticket_purchases DROP COLUMN traceparent")
