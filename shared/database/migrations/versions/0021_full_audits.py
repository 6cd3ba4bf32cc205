"""The results of audits of all sales, which `eventify audit --record` writes and alerts go by.

It may run while sales run: the table is new.

Revision ID: 0021
"""

from alembic import op

revision = "0021"
down_revision = "0020"

TABLE = """
CREATE TABLE full_audits (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    violations BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT full_audits_violations_not_negative CHECK (violations >= 0)
);
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    raise NotImplementedError("the results of audits would be forgotten")
