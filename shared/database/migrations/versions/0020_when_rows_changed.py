"""Events and ticket types say when they were changed; an index for each order of events.

It may run while sales run: a column with a constant default is added without reading its table, and
the indexes are of the events alone. When a row was changed before is not known: it is said to be
now, so that nobody who reads what has changed misses a change. Whichever version of a service
writes, a trigger sets the time.

Revision ID: 0020
"""

from alembic import op

revision = "0020"
down_revision = "0019"

COLUMNS = """
ALTER TABLE events ADD COLUMN updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;
ALTER TABLE ticket_types ADD COLUMN updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;
"""

# Not the transaction's time, which may have waited for the lock; and later than the last one, even
# if the clock was set back.
UPDATED = """
CREATE FUNCTION eventify_set_updated_at() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    NEW.created_at := OLD.created_at;
    IF OLD.created_at <> now() THEN
        NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at + interval '1 microsecond');
    ELSE
        -- It is made in this transaction, and its first tickets are issued.
        NEW.updated_at := OLD.updated_at;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER events_set_updated_at BEFORE UPDATE ON events
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION eventify_set_updated_at();
CREATE TRIGGER ticket_types_set_updated_at BEFORE UPDATE ON ticket_types
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION eventify_set_updated_at();
"""

# As in 0012, and then the ticket type is changed. Not so within a trigger: that is of a change of
# its row, or of its deletion.
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

# Pages go on after a row, in the order of the list.
INDEXES = """
DROP INDEX events_by_owner;
DROP INDEX events_by_start_time;
CREATE INDEX events_by_owner ON events (owner_id, id);
CREATE INDEX events_by_start_time ON events (start_time, id);
CREATE INDEX events_by_end_time ON events (end_time, id);
CREATE INDEX events_by_title ON events (title, id);
"""

# Otherwise a service could show them a temporary table of the same name (0009).
IN_THIS_SCHEMA = """
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION eventify_set_updated_at() SET search_path = %I, pg_temp',
                   current_schema());
    EXECUTE format('ALTER FUNCTION eventify_issue(bigint, integer) SET search_path = %I, pg_temp',
                   current_schema());
END $$
"""


def upgrade() -> None:
    for statements in (COLUMNS, UPDATED, ISSUE, INDEXES, IN_THIS_SCHEMA):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("when rows were changed would be forgotten")
