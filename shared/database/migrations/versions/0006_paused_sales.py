"""A ticket type can be paused: the database then accepts no purchase of it.

It may run while sales run: its one lock is held for as long as this transaction takes, which reads
the ticket types once. Gateways of the former version answer 503 for what is paused.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"

# The column may have been added by hand before, at a quiet moment.
COLUMN = """
ALTER TABLE ticket_types
    ADD COLUMN IF NOT EXISTS paused_at timestamptz,
    ADD CONSTRAINT ticket_types_paused_at_writable CHECK (paused_at >= '0001-01-01 00:00:00+00' AND paused_at < '10000-01-01 00:00:00+00')
"""  # noqa: E501 - as the database would print it

# The accept statement saw the sale as it was when the statement began. What it locks here it sees
# as it is now: so a statement that began before a pause and comes here after it is rolled back, and
# looks again.
GUARD = """
CREATE OR REPLACE FUNCTION eventify_check_ticket_types_of_purchases() RETURNS trigger
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    wanted bigint;
    paused timestamptz;
BEGIN
    FOR wanted IN SELECT DISTINCT ticket_type_id FROM fresh ORDER BY ticket_type_id LOOP
        -- Whoever is deleting it, or moving it to another event, is waited for.
        SELECT paused_at INTO paused FROM ticket_types WHERE id = wanted FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a purchase is of a ticket type that there is'
                USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME,
                    TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
        END IF;
        IF paused IS NOT NULL THEN
            RAISE EXCEPTION 'nothing is accepted while the sale is paused'
                USING ERRCODE = 'serialization_failure',
                    CONSTRAINT = 'ticket_purchases_not_while_paused',
                    TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    for statements in (COLUMN, GUARD):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("a guard is taken away by hand, and with care")
