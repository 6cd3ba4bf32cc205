"""The rules that the database itself holds for the ledger; the former tables go.

Rules are checked once for each statement, over all its rows (transition tables). Each row looks up
what belongs to it (OFFSET 0), and no plan reads a whole table, whatever was known of the table when
it was made. A data-modifying statement runs its triggers at its end, so a trigger sees everything
that the statement wrote.

Revision ID: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"

FORMER_TABLES = """
DROP TABLE inventory_changes, ticket_inventory, decision_batches, ticket_purchases;
DROP TRIGGER ticket_types_counted ON ticket_types;
DROP TRIGGER ticket_types_stays_with_its_event ON ticket_types;
DROP TRIGGER ticket_purchases_ticket_type_id_fkey ON ticket_types;
DROP TRIGGER ticket_purchases_user_id_fkey ON users;
DROP FUNCTION eventify_check_ticket_type_counted, eventify_check_ticket_types_of_purchases,
    eventify_check_users_of_purchases, eventify_keep_ticket_type_with_purchases,
    eventify_keep_user_with_purchases, eventify_record_inventory_change,
    eventify_check_counter_moves, eventify_check_batch_counted;
"""

FAIL = """
CREATE FUNCTION eventify_fail(code text, rule text, message text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', message USING ERRCODE = code, CONSTRAINT = rule;
END $$;
"""  # noqa: E501

INSERT_ONLY = "".join(
    f"""
CREATE TRIGGER {table}_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_refuse(
        '{table}_insert_only', '{what} never changes');
"""
    for table, what in (
        ("requests", "what was accepted"),
        ("ledger", "the ledger"),
        ("batches", "the record of a batch"),
    )
)

# A statement that began before a pause sees the sale as it was; what it locks here it sees as it is
# now. Ticket types are locked in one order, and users not at all: see below.
REQUEST_GUARDS = """
CREATE FUNCTION eventify_check_requests() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
DECLARE
    wanted record;
    standing record;
BEGIN
    FOR wanted IN
        SELECT DISTINCT event_id, ticket_type_id, kind = 'buy' AS is_buy FROM (
            SELECT event_id, ticket_type_id, kind FROM fresh WHERE items IS NULL
            UNION ALL
            SELECT event_id, (item->>'ticket_type')::bigint, kind
            FROM fresh, jsonb_array_elements(items) item WHERE items IS NOT NULL
        ) lines ORDER BY ticket_type_id
    LOOP
        -- Whoever is deleting it, or moving it to another event, is waited for.
        SELECT event_id, paused_at INTO standing FROM ticket_types
        WHERE id = wanted.ticket_type_id FOR KEY SHARE;
        IF standing.event_id IS DISTINCT FROM wanted.event_id THEN
            PERFORM eventify_fail('foreign_key_violation', 'requests_ticket_type_id_fkey',
                'a request is of a ticket type of its event');
        ELSIF standing.paused_at IS NOT NULL AND wanted.is_buy THEN
            PERFORM eventify_fail('serialization_failure', 'requests_not_while_paused',
                'nothing is accepted while the sale is paused');
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM fresh WHERE user_id IS NOT NULL
               AND NOT EXISTS (SELECT FROM users WHERE id = fresh.user_id OFFSET 0)) THEN
        PERFORM eventify_fail('foreign_key_violation', 'requests_user_id_fkey',
            'a request is of a user that there is');
    END IF;
    IF EXISTS (SELECT FROM fresh
               WHERE accepted_xid <> pg_current_xact_id() OR created_at <> now()) THEN
        PERFORM eventify_fail('check_violation', 'requests_accepted_now',
            'a request is accepted at the moment that it says');
    END IF;
    IF EXISTS (
        SELECT FROM fresh WHERE NOT EXISTS (
            SELECT FROM work_list w
            WHERE w.event_id = fresh.event_id AND w.seq = fresh.seq
              AND w.class = CASE fresh.kind WHEN 'buy' THEN 1 ELSE 0 END
              AND w.command_id = fresh.id OFFSET 0
        ) AND NOT EXISTS (
            SELECT FROM ledger e
            WHERE e.event_id = fresh.event_id AND e.command_id = fresh.id OFFSET 0
        )
    ) THEN
        PERFORM eventify_fail('check_violation', 'requests_listed',
            'a request waits in the work list, or is answered');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER requests_checked AFTER INSERT ON requests REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_check_requests();
CREATE TRIGGER requests_read_committed BEFORE INSERT ON requests
    FOR EACH STATEMENT
    WHEN (current_setting('transaction_isolation') IN ('repeatable read', 'serializable'))
    EXECUTE FUNCTION eventify_refuse(
        'requests_read_committed', 'requests are accepted under READ COMMITTED');
"""

# A row deleted by mistake would be a lost purchase.
WORK_LIST_GUARDS = """
CREATE FUNCTION eventify_check_work_done() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM gone WHERE NOT EXISTS (
            SELECT FROM ledger e
            WHERE e.event_id = gone.event_id AND e.command_id = gone.command_id OFFSET 0)
    ) THEN
        PERFORM eventify_fail('check_violation', 'work_list_answered',
            'a command leaves the work list when it is answered');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER work_list_answered AFTER DELETE ON work_list REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_check_work_done();
CREATE TRIGGER work_list_kept BEFORE UPDATE OR TRUNCATE ON work_list
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_refuse(
        'work_list_kept', 'a command leaves the work list when it is answered');
"""

# Entries, batch, lane and counters are written by one statement, and held against one another.
LEDGER_GUARDS = """
CREATE FUNCTION eventify_check_entries() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT event_id, min(number) AS first, max(number) AS last, count(*) AS entries
            FROM fresh GROUP BY event_id
        ) f WHERE entries <> last - first + 1
            OR NOT EXISTS (SELECT FROM lanes WHERE event_id = f.event_id AND number = last OFFSET 0)
            OR NOT EXISTS (SELECT FROM batches WHERE event_id = f.event_id
                           AND first_number = first AND last_number = last OFFSET 0)
    ) THEN
        PERFORM eventify_fail('check_violation', 'ledger_numbered',
            'entries are numbered without a gap, as their batch and lane');
    END IF;
    IF EXISTS (
        SELECT FROM fresh e
        LEFT JOIN LATERAL (SELECT * FROM requests WHERE id = e.command_id OFFSET 0) r ON true
        WHERE (e.event_id = r.event_id AND CASE
            WHEN e.items IS NOT NULL THEN r.kind = 'buy' AND e.kind IN ('confirmed', 'rejected')
                AND eventify_answers_cart(e.kind, e.reason, e.items, r.items, r.event_user_limit)
            WHEN e.ticket_type_id <> r.ticket_type_id THEN false
            WHEN r.kind <> 'buy' THEN CASE e.kind
                WHEN 'issued' THEN r.kind = 'issue' AND e.change = r.quantity
                WHEN 'withdrawn' THEN r.kind = 'withdraw' AND e.change = -r.quantity
                WHEN 'refused' THEN r.kind = 'issue' OR r.quantity > e.left_after END
            WHEN e.kind = 'confirmed' THEN e.change = -r.quantity
                AND r.quantity <= least(r.user_limit, r.event_user_limit, r.quantity)
            WHEN e.reason = 'not_enough_tickets' THEN
                e.kind = 'rejected' AND r.quantity > e.left_after
            WHEN e.reason = 'over_user_limit' THEN
                e.kind = 'rejected' AND r.quantity <= e.left_after
                AND num_nonnulls(r.user_limit, r.event_user_limit) > 0
        END) IS NOT TRUE
    ) THEN
        PERFORM eventify_fail('check_violation', 'ledger_answers',
            'an entry answers its command, with a reason that its figures bear out');
    END IF;
    IF EXISTS (
        SELECT FROM (
            SELECT DISTINCT ON (event_id, ticket_type_id) event_id, ticket_type_id, left_after
            FROM (
                SELECT event_id, number, ticket_type_id, left_after FROM fresh WHERE items IS NULL
                UNION ALL
                SELECT event_id, number, (item->>'ticket_type')::bigint,
                       (item->>'left_after')::int
                FROM fresh, jsonb_array_elements(items) item WHERE items IS NOT NULL
            ) lines ORDER BY event_id, ticket_type_id, number DESC
        ) latest WHERE NOT EXISTS (
            SELECT FROM counters c
            WHERE c.event_id = latest.event_id AND c.ticket_type_id = latest.ticket_type_id
              AND c.issued - c.sold = latest.left_after OFFSET 0)
    ) THEN
        PERFORM eventify_fail('check_violation', 'ledger_counted',
            'what an entry leaves is what its counter says');
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION eventify_answers_cart(
    kind entry_kind, reason rejection_reason, entry jsonb, request jsonb, event_user_limit integer
) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT bool_and(e->'ticket_type' = r->'ticket_type' AND (e->>'left_after')::int >= 0
                    AND (e->>'change')::int
                        = CASE kind WHEN 'confirmed' THEN -(r->>'quantity')::int ELSE 0 END)
       AND CASE WHEN reason IS NULL THEN
                bool_and((r->>'quantity')::int <= coalesce((r->>'user_limit')::int, 2147483647))
                AND sum((r->>'quantity')::int) <= coalesce(event_user_limit, 2147483647)
           WHEN reason = 'not_enough_tickets' THEN
                bool_or((r->>'quantity')::int > (e->>'left_after')::int)
           ELSE bool_and((r->>'quantity')::int <= (e->>'left_after')::int)
                AND (event_user_limit IS NOT NULL OR count(r->>'user_limit') > 0) END
    FROM ROWS FROM (jsonb_array_elements(entry), jsonb_array_elements(request)) AS pair (e, r)
$$;
CREATE TRIGGER ledger_checked AFTER INSERT ON ledger REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_check_entries();

CREATE FUNCTION eventify_check_batches() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM fresh f WHERE NOT EXISTS (
            SELECT FROM ledger WHERE event_id = f.event_id AND number = f.last_number OFFSET 0
        ) OR NOT EXISTS (
            SELECT FROM lanes WHERE event_id = f.event_id AND number = f.last_number
                AND at = f.at OFFSET 0
        ) OR f.first_number <> 1 + coalesce((
            SELECT last_number FROM batches
            WHERE event_id = f.event_id AND first_number < f.first_number
            ORDER BY first_number DESC LIMIT 1), 0)
    ) THEN
        PERFORM eventify_fail('check_violation', 'batches_follow',
            'a batch is recorded with its entries, after the batch before it');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER batches_checked AFTER INSERT ON batches REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_check_batches();
"""

# A lane moves by a batch, and a counter by what the newest batch changed, from what it had left.
LANE_GUARDS = """
CREATE FUNCTION eventify_check_lanes() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM before b JOIN after a USING (event_id)
        WHERE (a.number, a.at) <> (b.number, b.at) AND (a.at < b.at OR NOT EXISTS (
            SELECT FROM batches WHERE event_id = a.event_id AND at = a.at
                AND first_number = b.number + 1 AND last_number = a.number OFFSET 0))
    ) OR (SELECT count(*) FROM before) <> (
        SELECT count(*) FROM before b JOIN after a USING (event_id)
    ) THEN
        PERFORM eventify_fail('check_violation', 'lanes_move_by_batches',
            'a lane moves by a batch, and never back');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER lanes_checked AFTER UPDATE ON lanes
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_check_lanes();
CREATE TRIGGER lanes_kept BEFORE DELETE OR TRUNCATE ON lanes
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_refuse('lanes_kept', 'a lane stays for ever');
CREATE TRIGGER lanes_born_empty BEFORE INSERT ON lanes
    FOR EACH ROW WHEN (NEW.number <> 0)
    EXECUTE FUNCTION eventify_refuse('lanes_born_empty', 'a lane has no entries at first');

CREATE FUNCTION eventify_check_counters() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        WITH newest AS (
            SELECT event_id, first_number, last_number
            FROM (SELECT DISTINCT event_id FROM after) moving CROSS JOIN LATERAL (
                SELECT first_number, last_number FROM batches
                WHERE event_id = moving.event_id ORDER BY first_number DESC LIMIT 1) batch
        ), entries AS (
            SELECT e.* FROM newest n CROSS JOIN LATERAL (
                SELECT * FROM ledger WHERE event_id = n.event_id
                    AND number BETWEEN n.first_number AND n.last_number OFFSET 0) e
        ), moved AS (
            SELECT event_id, ticket_type_id,
                   coalesce(sum(-change) FILTER (WHERE kind = 'confirmed'), 0) AS sold,
                   coalesce(sum(change) FILTER (WHERE kind <> 'confirmed'), 0) AS issued,
                   (array_agg(left_after ORDER BY number DESC))[1] AS remaining
            FROM (
                SELECT event_id, number, kind, ticket_type_id, change, left_after
                FROM entries WHERE items IS NULL
                UNION ALL
                SELECT event_id, number, kind, (item->>'ticket_type')::bigint,
                       (item->>'change')::int, (item->>'left_after')::int
                FROM entries, jsonb_array_elements(items) item WHERE items IS NOT NULL
            ) lines GROUP BY event_id, ticket_type_id
        )
        SELECT FROM after a
        LEFT JOIN before b USING (event_id, ticket_type_id)
        LEFT JOIN moved m USING (event_id, ticket_type_id)
        WHERE (a.issued, a.sold) <> (coalesce(b.issued, 0), coalesce(b.sold, 0))
          AND (a.issued - b.issued, a.sold - b.sold, a.issued - a.sold)
              IS DISTINCT FROM (m.issued, m.sold, m.remaining)
    ) THEN
        PERFORM eventify_fail('check_violation', 'counters_move_by_entries',
            'a counter moves by what its lane decided, and by nothing else');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER counters_checked AFTER UPDATE ON counters
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_check_counters();
CREATE TRIGGER counters_born_empty BEFORE INSERT ON counters
    FOR EACH ROW WHEN (NEW.issued <> 0 OR NEW.sold <> 0)
    EXECUTE FUNCTION eventify_refuse('counters_born_empty', 'nothing is issued or sold at first');
CREATE TRIGGER counters_kept BEFORE DELETE ON counters
    FOR EACH ROW EXECUTE FUNCTION eventify_keep_with_ticket_type(
        'counters_kept', 'a counter stands as long as its ticket type');
CREATE TRIGGER counters_never_truncated BEFORE TRUNCATE ON counters
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_refuse(
        'counters_never_truncated', 'a counter stands as long as its ticket type');
"""

# The one way to issue and withdraw tickets: under the lane's lock, as an entry of the ledger. The
# user is the setting `eventify.user_id` of the transaction.
ISSUE = """
CREATE FUNCTION eventify_issue(wanted bigint, difference integer) RETURNS void
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
    SELECT issued - sold + difference AS remaining INTO stock FROM counters
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
    ), batch AS (
        INSERT INTO batches (event_id, first_number, last_number, at, seen, decided_by)
        VALUES (lane.event_id, lane.number, lane.number, lane.at, pg_current_snapshot(),
                current_setting('application_name'))
    ), moved AS (
        UPDATE lanes SET number = lane.number, at = lane.at WHERE event_id = lane.event_id
    )
    UPDATE counters SET issued = issued + difference
    WHERE event_id = lane.event_id AND ticket_type_id = wanted;
END $$;
"""

# Each event has a lane, each ticket type a counter. What is deleted or moved is withdrawn first.
CATALOG_GUARDS = """
CREATE FUNCTION eventify_open_lane() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO lanes (event_id) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER events_open_lane AFTER INSERT ON events
    FOR EACH ROW EXECUTE FUNCTION eventify_open_lane();
CREATE FUNCTION eventify_open_counter() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO counters (event_id, ticket_type_id) VALUES (NEW.event_id, NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER ticket_types_open_counter AFTER INSERT ON ticket_types
    FOR EACH ROW EXECUTE FUNCTION eventify_open_counter();

CREATE FUNCTION eventify_withdraw_all() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
BEGIN
    -- Lanes before ticket types, in the order of their ids: nobody waits in a circle.
    PERFORM FROM lanes WHERE event_id IN (OLD.event_id, coalesce(NEW.event_id, OLD.event_id))
    ORDER BY event_id FOR NO KEY UPDATE;
    -- A purchase that is just being accepted holds a lock on this row, and is waited for.
    PERFORM FROM ticket_types WHERE id = OLD.id FOR UPDATE;
    IF EXISTS (
        SELECT FROM requests WHERE event_id = OLD.event_id AND kind = 'buy' AND (
            ticket_type_id = OLD.id
            OR items @> jsonb_build_array(jsonb_build_object('ticket_type', OLD.id)))
    ) THEN
        PERFORM eventify_fail(TG_ARGV[0], TG_NAME, TG_ARGV[1]);
    END IF;
    PERFORM eventify_issue(OLD.id, -issued) FROM counters
    WHERE event_id = OLD.event_id AND ticket_type_id = OLD.id;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER ticket_types_with_purchases_stay BEFORE UPDATE OF event_id ON ticket_types
    FOR EACH ROW WHEN (OLD.event_id <> NEW.event_id)
    EXECUTE FUNCTION eventify_withdraw_all(
        'check_violation', 'a ticket type with purchases stays with its event');
CREATE FUNCTION eventify_issue_moved() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM eventify_issue(NEW.id, -change)
    FROM lanes l JOIN ledger e USING (event_id, number) JOIN requests r ON r.id = e.command_id
    WHERE l.event_id = OLD.event_id AND e.kind = 'withdrawn' AND e.ticket_type_id = NEW.id
      AND r.accepted_xid = pg_current_xact_id();
    RETURN NULL;
END $$;
-- Its name is after that of the foreign key's trigger, which moves the counter.
CREATE TRIGGER ticket_types_issue_moved AFTER UPDATE OF event_id ON ticket_types
    FOR EACH ROW WHEN (OLD.event_id <> NEW.event_id)
    EXECUTE FUNCTION eventify_issue_moved();
CREATE TRIGGER ticket_types_with_purchases_kept BEFORE DELETE ON ticket_types
    FOR EACH ROW EXECUTE FUNCTION eventify_withdraw_all(
        'foreign_key_violation', 'a ticket type with purchases is not deleted');
"""

# A purchase locks no user. Instead, the deletion of a user waits for the purchases under way and
# holds new ones up until its transaction ends: a rare act of the operator's, to be committed at
# once. The limit is there because everyone queues behind it while it waits itself.
USER_GUARDS = """
CREATE FUNCTION eventify_keep_user_with_requests() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off SET lock_timeout = '2s' AS $$
BEGIN
    LOCK TABLE requests IN SHARE MODE;
    IF EXISTS (SELECT FROM requests WHERE user_id = OLD.id) THEN
        PERFORM eventify_fail('foreign_key_violation', TG_NAME,
            'a user with purchases is not deleted');
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER users_with_requests_kept BEFORE DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION eventify_keep_user_with_requests();
"""

# Otherwise a service could show a guard a temporary table of the same name (0009).
IN_THIS_SCHEMA = r"""
DO $$
DECLARE
    guard regprocedure;
BEGIN
    FOR guard IN SELECT oid FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'eventify\_%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', guard, current_schema());
    END LOOP;
END $$
"""


def upgrade() -> None:
    for statements in (
        FORMER_TABLES,
        FAIL,
        INSERT_ONLY,
        REQUEST_GUARDS,
        WORK_LIST_GUARDS,
        LEDGER_GUARDS,
        LANE_GUARDS,
        ISSUE,
        CATALOG_GUARDS,
        USER_GUARDS,
        IN_THIS_SCHEMA,
    ):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("a guard is taken away by hand, and with care")
