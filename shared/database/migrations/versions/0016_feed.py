"""The feed: the epoch of all numbers, and an event's purchases in their order.

It may run while sales run: purchases wait while the index is built, a second for each million.

Revision ID: 0016
"""

from alembic import op

revision = "0016"
down_revision = "0015"

EPOCH = """
CREATE TABLE ledger_epoch (
    id BOOLEAN DEFAULT true NOT NULL,
    epoch TEXT NOT NULL,
    origin TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT ledger_epoch_one CHECK (id),
    CONSTRAINT ledger_epoch_form CHECK (epoch ~ '^[0-9a-f]{12}$')
)
"""
# `seq > 0` is always so. Only a statement that says it gets this index: not one that was planned
# while the tables were empty, and is better off with another.
INDEX = """
CREATE INDEX requests_by_event ON requests (event_id, seq) WHERE kind = 'buy' AND seq > 0
"""


def upgrade() -> None:
    op.execute(EPOCH)
    op.execute(INDEX)


def downgrade() -> None:
    raise NotImplementedError("readers could not tell a restored sale from the one that they know")
