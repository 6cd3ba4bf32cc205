"""The rules that the database itself holds for the ledger; the former tables go.

Services insert requests, entries and batches. All that follows from these is done by triggers: a
request comes into the work list, its entry takes it off, moves its lane and the counters on, and
opens or ends a hold. So nobody can forget it, or do it otherwise: `work_list`, `lanes`, `counters`
and `holds` refuse any change that is not a trigger's (pg_trigger_depth).

Triggers run once for each statement, over all its rows (transition tables), when the whole
statement is done. Each row looks up what belongs to it (OFFSET 0), also what it changes, by its
ctid: so no plan reads a whole table, whatever was known of the table when it was made.

Revision ID: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"

FORMER_TABLES = """
DROP TABLE former_changes, former_inventory, former_batches, former_purchases;
DROP TRIGGER ticket_types_counted ON ticket_types;
DROP TRIGGER ticket_types_stays_with_its_event ON ticket_types;
DROP TRIGGER ticket_purchases_ticket_type_id_fkey ON ticket_types;
DROP TRIGGER ticket_purchases_user_id_fkey ON users;
DROP FUNCTION eventify_check_ticket_type_counted, eventify_check_ticket_types_of_purchases,
    eventify_check_users_of_purchases, eventify_keep_ticket_type_with_purchases,
    eventify_keep_user_with_purchases, eventify_record_inventory_change,
    eventify_check_counter_moves, eventify_check_batch_counted, eventify_keep_with_ticket_type;
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

# What is asked for a purchase that there is, by whom it may be asked, on its own terms.
LINES = """
    coalesce({purchase}.items, jsonb_build_array(jsonb_build_object(
        'ticket_type', {purchase}.ticket_type_id, 'quantity', {purchase}.quantity)))
"""
RESOLUTIONS = f"""
        IF NOT has_table_privilege(session_user, 'requests', 'DELETE') AND EXISTS (
            SELECT FROM fresh WHERE kind IN ('issue', 'withdraw') AND NOT EXISTS (
                SELECT FROM ledger
                WHERE event_id = fresh.event_id AND command_id = fresh.id OFFSET 0)
        ) THEN
            PERFORM eventify_fail('check_violation', 'requests_issue',
                'tickets are issued and withdrawn by eventify_issue');
        ELSIF EXISTS (
            SELECT FROM fresh
            LEFT JOIN LATERAL (
                SELECT owner_id FROM events WHERE id = fresh.event_id OFFSET 0) e ON true
            LEFT JOIN LATERAL (
                SELECT * FROM requests WHERE id = fresh.purchase_id OFFSET 0) p ON true
            WHERE fresh.kind NOT IN ('buy', 'issue', 'withdraw') AND (CASE
                WHEN fresh.kind <> 'extend'
                    AND (p.kind = 'buy' AND p.event_id = fresh.event_id) IS NOT TRUE THEN false
                WHEN fresh.kind = 'expire' THEN p.hold_seconds IS NOT NULL
                    AND (fresh.user_id, fresh.buyer) = (p.user_id, p.buyer)
                WHEN fresh.kind = 'release' THEN fresh.user_id IN (p.user_id, e.owner_id)
                WHEN fresh.user_id <> e.owner_id THEN false
                WHEN fresh.kind = 'confirm' THEN fresh.currency = p.currency AND fresh.amount = CASE
                    WHEN p.items IS NULL THEN p.quantity * p.unit_price
                    ELSE (SELECT sum((line->>'quantity')::int * (line->>'unit_price')::numeric)
                          FROM jsonb_array_elements(p.items) line) END
                WHEN fresh.kind = 'cancel' THEN (
                    SELECT count(DISTINCT item->'ticket_type') = count(*) AND bool_and(EXISTS (
                        SELECT FROM jsonb_array_elements({LINES.format(purchase="p")}) line
                        WHERE line->'ticket_type' = item->'ticket_type'
                          AND (item->>'quantity')::int BETWEEN 1 AND (line->>'quantity')::int))
                    FROM jsonb_array_elements(fresh.items) item)
                ELSE true END) IS NOT TRUE
        ) THEN
            PERFORM eventify_fail('check_violation', 'requests_resolution',
                'a purchase is confirmed, released or cancelled on its terms, by who may');
        END IF;
        -- One payment confirms one purchase: whoever accepts the same reference is waited for.
        PERFORM pg_advisory_xact_lock(key) FROM (
            SELECT DISTINCT hashtextextended(user_id || ':' || payment_reference, 0) AS key
            FROM fresh WHERE payment_reference IS NOT NULL ORDER BY key) locks;
        IF EXISTS (
            SELECT FROM fresh CROSS JOIN LATERAL (
                SELECT id, event_id FROM requests
                WHERE user_id = fresh.user_id AND payment_reference = fresh.payment_reference
                  AND purchase_id <> fresh.purchase_id OFFSET 0) other
            WHERE fresh.payment_reference IS NOT NULL AND NOT EXISTS (
                SELECT FROM ledger WHERE event_id = other.event_id AND command_id = other.id
                    AND kind = 'refused' OFFSET 0)
        ) THEN
            PERFORM eventify_fail('unique_violation', 'requests_payment_reference',
                'a payment confirms one purchase');
        END IF;
"""

# A statement that began before a pause sees the sale as it was; what it locks here it sees as it is
# now. Ticket types are locked in one order, and users not at all: see below.
ACCEPT = f"""
CREATE FUNCTION eventify_accept() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off AS $$
DECLARE
    standing record;
BEGIN
    -- Whoever is deleting a ticket type, or moving it to another event, is waited for.
    SELECT bool_and(t.event_id IS NOT DISTINCT FROM wanted.event_id) AS known,
           bool_or(t.paused_at IS NOT NULL AND wanted.is_buy) AS paused
    INTO standing
    FROM (
        SELECT DISTINCT event_id, ticket_type_id, kind = 'buy' AS is_buy FROM (
            SELECT event_id, ticket_type_id, kind FROM fresh WHERE ticket_type_id IS NOT NULL
            UNION ALL
            SELECT event_id, (item->>'ticket_type')::bigint, kind
            FROM fresh, jsonb_array_elements(items) item WHERE kind = 'buy' AND items IS NOT NULL
        ) lines ORDER BY ticket_type_id
    ) wanted
    LEFT JOIN LATERAL (
        SELECT event_id, paused_at FROM ticket_types
        WHERE id = wanted.ticket_type_id FOR KEY SHARE) t ON true;
    IF NOT standing.known THEN
        PERFORM eventify_fail('foreign_key_violation', 'requests_ticket_type_id_fkey',
            'a request is of a ticket type of its event');
    ELSIF standing.paused THEN
        PERFORM eventify_fail('serialization_failure', 'requests_not_while_paused',
            'nothing is accepted while the sale is paused');
    END IF;
    IF EXISTS (SELECT FROM fresh WHERE user_id IS NOT NULL AND kind <> 'expire'
               AND NOT EXISTS (SELECT FROM users WHERE id = fresh.user_id
                                   AND erased_at IS NULL OFFSET 0)) THEN
        PERFORM eventify_fail('foreign_key_violation', 'requests_user_id_fkey',
            'a request is of a user that there is');
    END IF;
    IF EXISTS (SELECT FROM fresh
               WHERE accepted_xid <> pg_current_xact_id() OR created_at <> now()) THEN
        PERFORM eventify_fail('check_violation', 'requests_accepted_now',
            'a request is accepted at the moment that it says');
    END IF;
    IF EXISTS (
        SELECT FROM fresh WHERE kind = 'buy' AND items IS NOT NULL AND (
            SELECT count(DISTINCT ticket_type) = count(*)
               AND bool_and((quantity BETWEEN 1 AND 1000000 AND unit_price >= 0
                             AND unit_price <> 'NaN'
                             AND coalesce(user_limit, 1) >= 1) IS TRUE)
            FROM jsonb_to_recordset(items) AS line (
                ticket_type bigint, quantity integer, unit_price numeric(12, 2), user_limit integer)
        ) IS NOT TRUE
    ) THEN
        PERFORM eventify_fail('check_violation', 'requests_items',
            'a cart has each ticket type once, on terms as a single line has them');
    END IF;
    IF EXISTS (SELECT FROM fresh WHERE kind <> 'buy') THEN
        {RESOLUTIONS}
    END IF;
    -- What `eventify_issue` wrote is answered already.
    INSERT INTO work_list (event_id, class, seq, command_id)
    SELECT event_id, CASE kind WHEN 'buy' THEN 1 ELSE 0 END, seq, id FROM fresh
    WHERE kind = 'buy' OR NOT EXISTS (
        SELECT FROM ledger WHERE event_id = fresh.event_id AND command_id = fresh.id OFFSET 0);
    RETURN NULL;
END $$;
CREATE TRIGGER requests_accept AFTER INSERT ON requests REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_accept();
CREATE TRIGGER requests_read_committed BEFORE INSERT ON requests
    FOR EACH STATEMENT
    WHEN (current_setting('transaction_isolation') IN ('repeatable read', 'serializable'))
    EXECUTE FUNCTION eventify_refuse(
        'requests_read_committed', 'requests are accepted under READ COMMITTED');
"""

# Whether an entry `e` fits its command `r`: the same lines, and a reason that its figures bear out.
SOLD = "(CASE WHEN r.hold_seconds IS NULL THEN 'confirmed' ELSE 'held' END)::entry_kind"
FITS = f"""
    CASE
        WHEN e.event_id IS DISTINCT FROM r.event_id
            OR e.purchase_id IS DISTINCT FROM
                CASE WHEN e.kind <> 'refused' THEN r.purchase_id END THEN false
        WHEN r.purchase_id IS NOT NULL THEN e.kind <> 'refused' OR e.items = '[]'  -- see RESOLVED
        WHEN r.kind = 'extend' THEN e.items = '[]' AND (
            e.kind = 'extended' OR e.kind = 'refused' AND e.reason = 'extension_limit')
        WHEN e.items IS NOT NULL THEN r.kind = 'buy' AND (
            SELECT bool_and((entry->'ticket_type' = line->'ticket_type'
                             AND (entry->>'left_after')::int >= 0
                             AND (entry->>'change')::int = CASE WHEN e.kind = {SOLD}
                                 THEN -(line->>'quantity')::int ELSE 0 END
                            ) IS TRUE)
               AND CASE
                   WHEN e.kind = {SOLD} THEN
                        bool_and((line->>'quantity')::int
                            <= coalesce((line->>'user_limit')::int, 2147483647))
                        AND sum((line->>'quantity')::int)
                            <= coalesce(r.event_user_limit, 2147483647)
                   WHEN e.kind <> 'rejected' THEN false
                   WHEN e.reason IN ('not_enough_tickets', 'all_held') THEN
                        bool_or((line->>'quantity')::int > (entry->>'left_after')::int)
                   ELSE e.reason = 'over_user_limit'
                        AND bool_and((line->>'quantity')::int <= (entry->>'left_after')::int)
                        AND (r.event_user_limit IS NOT NULL OR count(line->>'user_limit') > 0)
                   END
            FROM ROWS FROM (jsonb_array_elements(e.items), jsonb_array_elements(r.items))
                AS pair (entry, line))
        WHEN e.ticket_type_id IS DISTINCT FROM r.ticket_type_id THEN false
        WHEN r.kind <> 'buy' THEN CASE e.kind
            WHEN 'issued' THEN r.kind = 'issue' AND e.change = r.quantity
            WHEN 'withdrawn' THEN r.kind = 'withdraw' AND e.change = -r.quantity
            WHEN 'refused' THEN r.kind = 'withdraw' AND r.quantity > e.left_after
                AND e.reason = 'not_enough_tickets'
            ELSE false END
        WHEN e.kind = {SOLD} THEN e.change = -r.quantity
            AND r.quantity <= least(r.user_limit, r.event_user_limit, r.quantity)
        WHEN e.kind <> 'rejected' THEN false
        WHEN e.reason IN ('not_enough_tickets', 'all_held') THEN r.quantity > e.left_after
        ELSE e.reason = 'over_user_limit' AND r.quantity <= e.left_after
            AND num_nonnulls(r.user_limit, r.event_user_limit) > 0
    END
"""

# Whether an entry of an earlier purchase fits its command: what it took back, or keeps.
RESOLUTION_FITS = """
    command = (CASE kind WHEN 'confirmed' THEN 'confirm' WHEN 'released' THEN 'release'
               WHEN 'expired' THEN 'expire' WHEN 'cancelled' THEN 'cancel' END)::request_kind
    AND jsonb_array_length(items) = jsonb_array_length(lines)
    AND (SELECT bool_and((entry->'ticket_type' = line->'ticket_type'
                          AND entry->'quantity' = line->'quantity'
                          AND (entry->>'left_after')::int >= 0
                          AND (entry->>'change')::int = CASE
                              WHEN kind = 'confirmed' OR NOT coalesce(restock, true) THEN 0
                              ELSE (line->>'quantity')::int END) IS TRUE)
         FROM ROWS FROM (jsonb_array_elements(items), jsonb_array_elements(lines))
             AS pair (entry, line))
"""

# The marks of a lane (docs/decisions/0021). A batch that decided up to some seq leaves the xid
# open; the next batch, whose own xid is later than all that were running then, closes it. A batch
# of several lanes may have its xid from another lane's lock, so its own does not count.
OPEN = "xid8 '18446744073709551615'"
MARK_MOVES = "(h.last_seq IS NOT NULL AND pg_snapshot_xmin(b.seen) >= l.next_done_xid)"

# A held purchase opens a hold, and one entry ends it: paid, released or expired. What is cancelled
# was sold, and never more of it.
RESOLVED = f"""
        WITH resolved AS MATERIALIZED (
            SELECT e.event_id, e.number, e.kind, e.items, e.purchase_id, r.kind AS command,
                   r.restock, CASE r.kind WHEN 'cancel' THEN
                       {LINES.format(purchase="p")} END AS bought,
                   CASE r.kind WHEN 'cancel' THEN r.items
                       ELSE {LINES.format(purchase="p")} END AS lines
            FROM fresh e
            CROSS JOIN LATERAL (SELECT * FROM requests WHERE id = e.command_id OFFSET 0) r
            CROSS JOIN LATERAL (SELECT * FROM requests WHERE id = e.purchase_id OFFSET 0) p
            WHERE e.purchase_id IS NOT NULL
        ), opened AS (
            INSERT INTO holds (event_id, purchase_id, ends_at)
            SELECT e.event_id, e.command_id,
                   l.at + make_interval(secs => r.hold_seconds - l.extended_seconds)
            FROM fresh e
            CROSS JOIN LATERAL (SELECT * FROM requests WHERE id = e.command_id OFFSET 0) r
            CROSS JOIN LATERAL (SELECT * FROM lanes WHERE event_id = e.event_id OFFSET 0) l
            WHERE e.kind = 'held'
        ), ended AS (
            DELETE FROM holds h USING resolved e CROSS JOIN LATERAL (
                SELECT ctid AS row_ctid FROM holds
                WHERE event_id = e.event_id AND purchase_id = e.purchase_id OFFSET 0) found
            WHERE h.ctid = found.row_ctid AND e.kind IN ('confirmed', 'released', 'expired')
            RETURNING e.event_id, e.kind, h.ends_at
        )
        SELECT (SELECT coalesce(bool_and(({RESOLUTION_FITS}) IS TRUE), true) FROM resolved) AS fit,
               (SELECT count(*) FROM ended) = (
                   SELECT count(*) FROM resolved WHERE kind IN ('confirmed', 'released', 'expired')
               ) AS once,
               NOT EXISTS (
                   SELECT FROM (SELECT event_id, max(ends_at) AS ends_at FROM ended
                                WHERE kind = 'expired' GROUP BY event_id) e
                   CROSS JOIN LATERAL (SELECT * FROM lanes WHERE event_id = e.event_id OFFSET 0) l
                   CROSS JOIN LATERAL (
                       SELECT coalesce(sum(r.hold_seconds), 0) AS seconds
                       FROM (SELECT command_id FROM fresh
                             WHERE event_id = e.event_id AND kind = 'extended') f
                       CROSS JOIN LATERAL (
                           SELECT hold_seconds FROM requests WHERE id = f.command_id OFFSET 0) r
                   ) in_batch
                   WHERE e.ends_at > l.at
                       - make_interval(secs => l.extended_seconds - in_batch.seconds)
               ) AS due,
               NOT EXISTS (
                   SELECT FROM resolved r
                   CROSS JOIN LATERAL jsonb_array_elements(r.items) item
                   CROSS JOIN LATERAL (
                       SELECT bool_or(kind = 'confirmed') AS is_sold, sum((
                           SELECT (line->>'quantity')::int FROM jsonb_array_elements(items) line
                           WHERE line->'ticket_type' = item->'ticket_type'
                       )) FILTER (WHERE kind = 'cancelled') AS cancelled
                       FROM (
                           SELECT kind, items FROM ledger
                           WHERE event_id = r.event_id AND purchase_id = r.purchase_id
                             AND number <= r.number
                           UNION ALL
                           SELECT kind, NULL FROM ledger
                           WHERE event_id = r.event_id AND command_id = r.purchase_id
                       ) entries OFFSET 0) purchase
                   WHERE r.kind = 'cancelled' AND (
                       purchase.is_sold AND purchase.cancelled = (item->>'cancelled')::int
                       AND purchase.cancelled <= (
                           SELECT (line->>'quantity')::int FROM jsonb_array_elements(r.bought) line
                           WHERE line->'ticket_type' = item->'ticket_type')) IS NOT TRUE
               ) AS sold
        INTO resolved;
        IF NOT (resolved.fit AND resolved.once AND resolved.due AND resolved.sold) THEN
            PERFORM eventify_fail('check_violation', 'ledger_resolves',
                'a hold ends once, and what is cancelled was sold');
        END IF;
"""

# In one pass: each entry fits its command, which leaves the work list; the lane moves by this
# batch, and the counters by what it changed, to what its last entries left.
APPLY = f"""
CREATE FUNCTION eventify_apply() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    applied record;
    listed record;
    resolved record;
BEGIN
    -- An array of keys costs less than a look-up for each row.
    FOR listed IN
        SELECT r.event_id, (r.kind = 'buy')::int AS class, array_agg(r.seq) AS seqs
        FROM fresh e CROSS JOIN LATERAL (
            SELECT event_id, kind, seq FROM requests WHERE id = e.command_id OFFSET 0) r
        GROUP BY 1, 2
    LOOP
        DELETE FROM work_list
        WHERE event_id = listed.event_id AND class = listed.class AND seq = ANY(listed.seqs);
    END LOOP;
    WITH answered AS MATERIALIZED (
        SELECT e.event_id, e.number, e.kind, e.ticket_type_id, e.change, e.left_after, e.items,
               r.seq, r.created_at, r.kind = 'buy' AS is_buy, r.hold_seconds, e.purchase_id,
               ({FITS}) IS TRUE AS fits
        FROM fresh e
        LEFT JOIN LATERAL (SELECT * FROM requests WHERE id = e.command_id OFFSET 0) r ON true
    ), head AS (
        SELECT event_id, min(number) AS first, max(number) AS last, count(*) AS entries,
               max(seq) FILTER (WHERE is_buy) AS last_seq, max(created_at) AS accepted_at,
               coalesce(sum(hold_seconds) FILTER (WHERE kind = 'extended'), 0) AS extended
        FROM answered GROUP BY event_id
    ), lane AS (
        UPDATE lanes l SET number = h.last, at = b.at,
            extended_seconds = l.extended_seconds + h.extended,
            done_seq = CASE WHEN {MARK_MOVES}
                THEN greatest(l.done_seq, least(l.next_done_seq, h.last_seq)) ELSE l.done_seq END,
            next_done_seq = CASE WHEN {MARK_MOVES} THEN h.last_seq ELSE l.next_done_seq END,
            next_done_xid = CASE
                WHEN {MARK_MOVES} THEN {OPEN}
                WHEN l.next_done_xid = {OPEN} AND b.locked_lanes = 1 THEN pg_current_xact_id()
                ELSE l.next_done_xid END
        FROM head h CROSS JOIN LATERAL (
            SELECT * FROM batches WHERE event_id = h.event_id AND first_number = h.first OFFSET 0
        ) b CROSS JOIN LATERAL (
            SELECT ctid AS row_ctid FROM lanes WHERE event_id = h.event_id OFFSET 0) found
        WHERE l.ctid = found.row_ctid AND l.number = h.first - 1
          AND b.at >= greatest(l.at, h.accepted_at)
          AND b.last_number = h.last AND h.entries = h.last - h.first + 1
        RETURNING l.event_id
    ), moved AS MATERIALIZED (
        SELECT event_id, ticket_type_id,
               coalesce(sum(CASE kind WHEN 'confirmed' THEN quantity
                                      WHEN 'cancelled' THEN -quantity END), 0) AS sold,
               coalesce(sum(CASE WHEN kind = 'held' THEN quantity
                                 WHEN is_resolved AND kind <> 'cancelled' THEN -quantity END), 0)
                   AS held,
               coalesce(sum(CASE WHEN kind IN ('issued', 'withdrawn') THEN change
                                 WHEN kind = 'cancelled' THEN change - quantity END), 0) AS issued,
               (max(ARRAY[number, left_after]))[2] AS remaining
        FROM (
            SELECT event_id, number, kind, false AS is_resolved, ticket_type_id, change,
                   -change AS quantity, left_after
            FROM answered WHERE items IS NULL
            UNION ALL
            SELECT event_id, number, kind, purchase_id IS NOT NULL, (item->>'ticket_type')::bigint,
                   (item->>'change')::int,
                   coalesce((item->>'quantity')::int, -(item->>'change')::int),
                   (item->>'left_after')::int
            FROM answered, jsonb_array_elements(items) item WHERE items IS NOT NULL
        ) lines GROUP BY event_id, ticket_type_id
    ), counted AS (
        UPDATE counters c SET issued = c.issued + m.issued, held = c.held + m.held,
            sold = c.sold + m.sold
        FROM moved m CROSS JOIN LATERAL (
            SELECT ctid AS row_ctid FROM counters
            WHERE event_id = m.event_id AND ticket_type_id = m.ticket_type_id OFFSET 0) found
        WHERE c.ctid = found.row_ctid AND (m.issued <> 0 OR m.held <> 0 OR m.sold <> 0)
    )
    SELECT (SELECT bool_or(purchase_id IS NOT NULL OR kind = 'held') FROM answered) AS has_holds,
           (SELECT bool_and(fits) FROM answered) AS fit,
           (SELECT count(*) FROM lane) = (SELECT count(*) FROM head) AS follow,
           NOT EXISTS (
               SELECT FROM moved m LEFT JOIN LATERAL (
                   SELECT issued - held - sold AS remaining FROM counters
                   WHERE event_id = m.event_id AND ticket_type_id = m.ticket_type_id OFFSET 0
               ) c ON true
               WHERE (c.remaining + m.issued - m.held - m.sold = m.remaining) IS NOT TRUE
           ) AS counts
    INTO applied;
    IF NOT applied.fit THEN
        PERFORM eventify_fail('check_violation', 'ledger_answers',
            'an entry answers its command, with a reason that its figures bear out');
    ELSIF NOT applied.follow THEN
        PERFORM eventify_fail('check_violation', 'ledger_numbered',
            'entries follow those of their lane without a gap, as their batch says');
    ELSIF NOT applied.counts THEN
        PERFORM eventify_fail('check_violation', 'ledger_counted',
            'what an entry leaves is what its counter says');
    END IF;
    IF applied.has_holds THEN
        {RESOLVED}
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_apply AFTER INSERT ON ledger REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_apply();

CREATE FUNCTION eventify_check_batch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM lanes WHERE event_id = NEW.event_id AND number >= NEW.last_number
    ) OR NEW.ticket_type_id IS NOT NULL OR NEW.first_number <> 1 + coalesce((
        SELECT last_number FROM batches
        WHERE event_id = NEW.event_id AND first_number < NEW.first_number
        ORDER BY first_number DESC LIMIT 1), 0)
    THEN
        PERFORM eventify_fail('check_violation', 'batches_follow',
            'a batch is recorded with its entries, after the batch before it');
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER batches_follow AFTER INSERT ON batches
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION eventify_check_batch();
"""

# What the triggers above keep, nobody else changes. Who locks a lane has the right to change its
# `at`, and might do it by a trigger of his own on a temporary table, without the owner's rights.
KEPT = """
CREATE TRIGGER work_list_kept BEFORE INSERT OR UPDATE OR DELETE ON work_list
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION eventify_refuse(
        'work_list_kept', 'a command comes with its request and goes with its entry');
CREATE TRIGGER work_list_never_truncated BEFORE TRUNCATE ON work_list
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_refuse(
        'work_list_never_truncated', 'a command comes with its request and goes with its entry');
CREATE TRIGGER lanes_kept BEFORE INSERT OR UPDATE OR DELETE ON lanes
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0
        OR NOT has_table_privilege('lanes'::regclass, 'DELETE'))
    EXECUTE FUNCTION eventify_refuse('lanes_kept', 'a lane moves by its entries');
CREATE TRIGGER lanes_never_truncated BEFORE TRUNCATE ON lanes
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_refuse(
        'lanes_never_truncated', 'a lane stays for ever');
CREATE TRIGGER counters_kept BEFORE INSERT OR UPDATE OR DELETE ON counters
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION eventify_refuse('counters_kept', 'a counter moves by entries of the ledger');
CREATE TRIGGER holds_kept BEFORE INSERT OR UPDATE OR DELETE ON holds
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION eventify_refuse('holds_kept', 'a hold begins and ends by an entry');
CREATE TRIGGER holds_never_truncated BEFORE TRUNCATE ON holds
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_refuse(
        'holds_never_truncated', 'a hold begins and ends by an entry');
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
END $$;
"""

# Each event has a lane, each ticket type a counter. What is deleted or moved is withdrawn first.
CATALOG_GUARDS = """
CREATE FUNCTION eventify_open_lane() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO lanes (event_id) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER events_id_frozen BEFORE UPDATE ON events
    FOR EACH ROW WHEN (OLD.id <> NEW.id)
    EXECUTE FUNCTION eventify_refuse('events_id_frozen', 'an id never changes');
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
    PERFORM set_config('eventify.moved_' || OLD.id, issued::text, true),
            eventify_issue(OLD.id, -issued)
    FROM counters WHERE event_id = OLD.event_id AND ticket_type_id = OLD.id;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER ticket_types_with_purchases_stay BEFORE UPDATE OF event_id ON ticket_types
    FOR EACH ROW WHEN (OLD.event_id <> NEW.event_id)
    EXECUTE FUNCTION eventify_withdraw_all(
        'check_violation', 'a ticket type with purchases stays with its event');
CREATE FUNCTION eventify_issue_moved() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM eventify_issue(NEW.id, current_setting('eventify.moved_' || NEW.id)::integer);
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
        ACCEPT,
        APPLY,
        KEPT,
        ISSUE,
        CATALOG_GUARDS,
        USER_GUARDS,
        IN_THIS_SCHEMA,
    ):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("a guard is taken away by hand, and with care")
