"""The epoch of all numbers of ledgers.

It may run while sales run: the table is new.

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
    since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT ledger_epoch_one CHECK (id),
    CONSTRAINT ledger_epoch_form CHECK (epoch ~ '^[0-9a-f]{12}$')
)
"""


def upgrade() -> None:
    op.execute(EPOCH)


def downgrade() -> None:
    raise NotImplementedError("readers could not tell a restored sale from the one that they know")
