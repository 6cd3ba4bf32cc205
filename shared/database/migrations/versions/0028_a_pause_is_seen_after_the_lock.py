"""A purchase looks for a pause after it has locked its ticket type.

It looked in the statement that takes the lock. FOR KEY SHARE does not wait for a pause, and gives
the row as the statement's snapshot has it, also if the pause was committed and answered between
that snapshot and the lock: a moment, in which a purchase was still accepted. A statement that
begins under the lock sees every pause that has been answered; one that has not waits for the lock.
It may run while sales run.

Revision ID: 0028
"""

from alembic import op

revision = "0028"
down_revision = "0027"

# The function of 0012 and 0027, with its settings.
AFTER_THE_LOCK = """
DO $$
DECLARE
    former text := pg_get_functiondef('eventify_accept()'::regprocedure);
    changed text := replace(replace(replace(former,
        'bool_or(t.paused_at IS NOT NULL AND wanted.is_buy) AS paused',
        'array_agg(wanted.ticket_type_id) FILTER (WHERE wanted.is_buy) AS bought'),
        'SELECT event_id, paused_at FROM ticket_types', 'SELECT event_id FROM ticket_types'),
        'ELSIF standing.paused THEN', 'ELSIF EXISTS (
        SELECT FROM unnest(standing.bought) AS bought (id) CROSS JOIN LATERAL (
            SELECT FROM ticket_types WHERE id = bought.id AND paused_at IS NOT NULL OFFSET 0) paused
    ) THEN');
BEGIN
    IF changed NOT LIKE '%AS bought%unnest(standing.bought)%'
        OR changed LIKE '%paused_at FROM%' THEN
        RAISE EXCEPTION 'eventify_accept is not that of revision 0027';
    END IF;
    EXECUTE changed;
END $$
"""


def upgrade() -> None:
    op.execute(AFTER_THE_LOCK)


def downgrade() -> None:
    raise NotImplementedError("purchases would be accepted in the moment of a pause")
