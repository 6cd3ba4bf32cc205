"""PostgreSQL expects up to a hundred entries of an event, and as many requests of a user.

Where the table has one for most, a look-up by a second column may take the index of a third for as
good, and read all entries of a sale: by their number instead of their command, or the reverse. A
generic plan knows the average alone, so an average of one is wrong for every sale that matters. It
may run while sales run.

Revision ID: 0032
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"

# Distinct values, as a share of the rows.
ONE_IN_A_HUNDRED = -0.01


def upgrade() -> None:
    for table, column in ("ledger", "event_id"), ("requests", "user_id"):
        op.execute(
            f"ALTER TABLE {table} ALTER COLUMN {column} SET (n_distinct = {ONE_IN_A_HUNDRED})"
        )
        # Of an empty table PostgreSQL expects fewer rows than of one that was never analysed.
        if op.get_bind().scalar(sa.text(f"SELECT EXISTS (SELECT FROM {table})")):
            op.execute(f"ANALYZE {table} ({column})")


def downgrade() -> None:
    for table, column in ("ledger", "event_id"), ("requests", "user_id"):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} RESET (n_distinct)")
