"""The guards of ledger and batches check all events of a statement at once.

A batch was checked by a call of its own at COMMIT, and what was answered left the work list by a
statement for each event. A batch and its entries have to be in one statement now, as all versions
write them. It may run while sales run.

Revision ID: 0023
"""

from importlib import import_module

from alembic import op

revision = "0023"
down_revision = "0022"

guards = import_module("shared.database.migrations.versions.0012_ledger_guards")

# As in 0012, in one pass over the entries for all that does not need an array of keys.
APPLY = f"""
CREATE OR REPLACE FUNCTION eventify_apply() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    applied record;
    resolved record;
BEGIN
    WITH answered AS MATERIALIZED (
        SELECT e.event_id, e.number, e.kind, e.ticket_type_id, e.change, e.left_after, e.items,
               r.seq, r.created_at, r.kind = 'buy' AS is_buy, r.hold_seconds, e.purchase_id,
               ({guards.FITS}) IS TRUE AS fits
        FROM fresh e
        LEFT JOIN LATERAL (SELECT * FROM requests WHERE id = e.command_id OFFSET 0) r ON true
    ), head AS (
        SELECT event_id, min(number) AS first, max(number) AS last, count(*) AS entries,
               max(seq) FILTER (WHERE is_buy) AS last_seq, max(created_at) AS accepted_at,
               coalesce(sum(hold_seconds) FILTER (WHERE kind = 'extended'), 0) AS extended
        FROM answered GROUP BY event_id
    ), taken AS (
        DELETE FROM work_list w USING answered a CROSS JOIN LATERAL (
            SELECT ctid AS row_ctid FROM work_list
            WHERE event_id = a.event_id AND class = a.is_buy::int AND seq = a.seq OFFSET 0) found
        WHERE w.ctid = found.row_ctid AND (SELECT count(*) FROM head) > 1
    ), lane AS (
        UPDATE lanes l SET number = h.last, at = b.at,
            extended_seconds = l.extended_seconds + h.extended,
            done_seq = CASE WHEN {guards.MARK_MOVES}
                THEN greatest(l.done_seq, least(l.next_done_seq, h.last_seq)) ELSE l.done_seq END,
            next_done_seq = CASE WHEN {guards.MARK_MOVES} THEN h.last_seq ELSE l.next_done_seq END,
            next_done_xid = CASE
                WHEN {guards.MARK_MOVES} THEN {guards.OPEN}
                WHEN l.next_done_xid = {guards.OPEN} AND b.locked_lanes = 1
                    THEN pg_current_xact_id()
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
        SELECT m.*, c.row_ctid, c.remaining + m.issued - m.held - m.sold AS remaining_after
        FROM (
            SELECT event_id, ticket_type_id,
                   coalesce(sum(CASE kind WHEN 'confirmed' THEN quantity
                                          WHEN 'cancelled' THEN -quantity END), 0) AS sold,
                   coalesce(sum(CASE WHEN kind = 'held' THEN quantity
                                     WHEN is_resolved AND kind <> 'cancelled' THEN -quantity END),
                            0) AS held,
                   coalesce(sum(CASE WHEN kind IN ('issued', 'withdrawn') THEN change
                                     WHEN kind = 'cancelled' THEN change - quantity END), 0)
                       AS issued,
                   (max(ARRAY[number, left_after]))[2] AS left_after
            FROM (
                SELECT event_id, number, kind, false AS is_resolved, ticket_type_id, change,
                       -change AS quantity, left_after
                FROM answered WHERE items IS NULL
                UNION ALL
                SELECT event_id, number, kind, purchase_id IS NOT NULL,
                       (item->>'ticket_type')::bigint, (item->>'change')::int,
                       coalesce((item->>'quantity')::int, -(item->>'change')::int),
                       (item->>'left_after')::int
                FROM answered, jsonb_array_elements(items) item WHERE items IS NOT NULL
            ) lines GROUP BY event_id, ticket_type_id
        ) m LEFT JOIN LATERAL (
            SELECT ctid AS row_ctid, issued - held - sold AS remaining FROM counters
            WHERE event_id = m.event_id AND ticket_type_id = m.ticket_type_id OFFSET 0) c ON true
    ), counted AS (
        UPDATE counters c SET issued = c.issued + m.issued, held = c.held + m.held,
            sold = c.sold + m.sold
        FROM moved m
        WHERE c.ctid = m.row_ctid AND (m.issued <> 0 OR m.held <> 0 OR m.sold <> 0)
    )
    SELECT (SELECT bool_or(purchase_id IS NOT NULL OR kind = 'held') FROM answered) AS has_holds,
           (SELECT bool_and(fits) FROM answered) AS fit,
           (SELECT CASE WHEN count(*) = 1 THEN min(event_id) END FROM head) AS only_event,
           (SELECT array_agg(seq) FROM answered WHERE is_buy) AS purchases,
           (SELECT array_agg(seq) FROM answered WHERE NOT is_buy) AS resolutions,
           (SELECT count(*) FROM lane) = (SELECT count(*) FROM head) AS follow,
           NOT EXISTS (SELECT FROM moved WHERE (remaining_after = left_after) IS NOT TRUE) AS counts
    INTO applied;
    -- An array of keys costs less than a look-up for each row, but a statement for each lane.
    IF applied.only_event IS NOT NULL THEN
        DELETE FROM work_list
        WHERE event_id = applied.only_event AND class = 1 AND seq = ANY(applied.purchases);
        IF applied.resolutions IS NOT NULL THEN
            DELETE FROM work_list
            WHERE event_id = applied.only_event AND class = 0 AND seq = ANY(applied.resolutions);
        END IF;
    END IF;
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
        {guards.RESOLVED}
    END IF;
    RETURN NULL;
END $$;
"""

# Entries have their batch (above); here a batch has its entries, which are of the same statement.
FOLLOW = """
DROP TRIGGER batches_follow ON batches;
-- Some commits that called themselves 0.2.0 made the new one in 0012.
DROP FUNCTION IF EXISTS eventify_check_batch();
CREATE OR REPLACE FUNCTION eventify_check_batches() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET enable_seqscan = off SET enable_sort = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM fresh b
        LEFT JOIN LATERAL (
            SELECT last_number FROM batches
            WHERE event_id = b.event_id AND first_number < b.first_number
            ORDER BY first_number DESC LIMIT 1) former ON true
        LEFT JOIN LATERAL (
            SELECT number FROM ledger WHERE event_id = b.event_id AND number <= b.last_number
            ORDER BY number DESC LIMIT 1) last_entry ON true
        WHERE b.ticket_type_id IS NOT NULL OR last_entry.number IS DISTINCT FROM b.last_number
            OR b.first_number <> 1 + coalesce(former.last_number, 0)
    ) THEN
        PERFORM eventify_fail('check_violation', 'batches_follow',
            'a batch is recorded with its entries, after the batch before it');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER batches_follow AFTER INSERT ON batches REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION eventify_check_batches();
"""

# Otherwise a service could show them a temporary table of the same name (0009).
IN_THIS_SCHEMA = """
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION eventify_apply() SET search_path = %I, pg_temp',
                   current_schema());
    EXECUTE format('ALTER FUNCTION eventify_check_batches() SET search_path = %I, pg_temp',
                   current_schema());
END $$
"""


def upgrade() -> None:
    for statements in (APPLY, FOLLOW, IN_THIS_SCHEMA):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("what the guards checked before is what they check now")
