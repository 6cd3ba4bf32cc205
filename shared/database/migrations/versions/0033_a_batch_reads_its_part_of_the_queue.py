"""A batch takes its commands from the queue by a range, too.

Before PostgreSQL 17, an array of keys may be compared with each row that the rest of the condition
finds: of the whole queue, for each batch, where PostgreSQL expected a short one. It may run while
sales run.

Revision ID: 0033
"""

from alembic import op

revision = "0033"
down_revision = "0032"

# The function of 0023, with its settings.
IN_RANGE = r"""
DO $$
DECLARE
    former text := pg_get_functiondef('eventify_apply()'::regprocedure);
    changed text := regexp_replace(former, 'AND seq = ANY\((applied\.\w+)\);', 'AND seq = ANY(\1)
            AND seq BETWEEN (SELECT min(taken) FROM unnest(\1) taken)
                AND (SELECT max(taken) FROM unnest(\1) taken);', 'g');
BEGIN
    IF changed NOT LIKE '%min(taken)%min(taken)%' THEN
        RAISE EXCEPTION 'eventify_apply is not that of revision 0032';
    END IF;
    EXECUTE changed;
END $$
"""


def upgrade() -> None:
    op.execute(IN_RANGE)


def downgrade() -> None:
    raise NotImplementedError("batches would read the whole queue")
