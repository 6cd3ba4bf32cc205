"""What comes back on sale is never too much.

At most 1,000,000,000 tickets of a type are left when some are issued. A CHECK of the counter held
it at every change: where so many were left and more were held or sold, a hold could not end, and
its event stood still. Now it is held where tickets are issued. An index finds the audits of the
last hour. It may run while sales run.

Revision ID: 0025
"""

from alembic import op

revision = "0025"
down_revision = "0024"

# As in 0020, but for the bound.
ISSUE = """
CREATE OR REPLACE FUNCTION eventify_issue(wanted bigint, difference integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    lane record;
    stock record;
BEGIN
    IF difference = 0 THEN
        RETURN;
    END IF;
    SELECT l.event_id, number + 1 AS number, greatest(at, now()) AS at INTO lane
    FROM ticket_types t JOIN lanes l ON l.event_id = t.event_id
    WHERE t.id = wanted FOR NO KEY UPDATE OF l;
    SELECT issued - held - sold + difference AS remaining INTO stock FROM counters
    WHERE event_id = lane.event_id AND ticket_type_id = wanted;
    IF stock.remaining < 0 THEN
        PERFORM eventify_fail('check_violation', 'counters_never_oversold',
            'more tickets are withdrawn than are left');
    ELSIF difference > 0 AND stock.remaining > 1000000000 THEN
        PERFORM eventify_fail('check_violation', 'counters_left_bounded',
            'at most 1,000,000,000 tickets are left when some are issued');
    END IF;
    WITH command AS (
        INSERT INTO requests (id, event_id, user_id, kind, ticket_type_id, quantity)
        VALUES (gen_random_uuid(), lane.event_id,
                nullif(current_setting('eventify.user_id', true), '')::bigint,
                CASE WHEN difference > 0 THEN 'issue' ELSE 'withdraw' END::request_kind,
                wanted, abs(difference))
        RETURNING id
    ), entry AS (
        INSERT INTO ledger (event_id, number, command_id, ticket_type_id, kind, change, left_after)
        SELECT lane.event_id, lane.number, id, wanted,
               CASE WHEN difference > 0 THEN 'issued' ELSE 'withdrawn' END::entry_kind,
               difference, stock.remaining
        FROM command
    )
    INSERT INTO batches (event_id, first_number, last_number, at, seen, decided_by)
    VALUES (lane.event_id, lane.number, lane.number, lane.at, pg_current_snapshot(),
            current_setting('application_name'));
    IF pg_trigger_depth() = 0 THEN
        UPDATE ticket_types SET updated_at = clock_timestamp() WHERE id = wanted;
    END IF;
END $$;
"""

# Otherwise a service could show it a temporary table of the same name (0009).
IN_THIS_SCHEMA = """
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION eventify_issue(bigint, integer) SET search_path = %I, pg_temp',
                   current_schema());
END $$
"""

AUDITS_BY_END = "CREATE INDEX audits_by_end ON audits (finished_at)"

# Last, because sales wait for its lock until the commit.
WITHOUT_BOUND = "ALTER TABLE counters DROP CONSTRAINT counters_left_bounded"


def upgrade() -> None:
    for statements in (ISSUE, IN_THIS_SCHEMA, AUDITS_BY_END, WITHOUT_BOUND):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("more may be left since than the CHECK allowed")
