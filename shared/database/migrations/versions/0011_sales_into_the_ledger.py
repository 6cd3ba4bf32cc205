"""Copies the sales of the former tables into the ledger.

Before it, each ticket type had an order and numbers of its own. The batches of an event's ticket
types are merged in the order of their time, as far as it never goes back within a ticket type; and
each change of capacity stands as a batch of its own where it stood between the decisions. So the
order within a ticket type stays, and with it the former number: the n-th purchase of a ticket type
in the ledger is its former decision n. Batches keep their snapshots, purchases their sequence
numbers and transaction ids: so each batch is proved within its ticket type, which it names.

What was issued and withdrawn had neither sequence number nor transaction id. It gets the numbers
after all purchases', and id 2, which every snapshot sees (FrozenTransactionId); its batch has the
snapshot of the batch before it.

The first transaction plans all of it, and copies everything but the purchases. These follow in
pieces, each of which leaves `former_blocks` in the transaction that copies it; so a migration that
was interrupted goes on where it was. The last transaction counts.

Revision ID: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

# Purchases in a transaction, about.
PIECE_ROWS = 5_000
STARTED = sa.text("SELECT to_regclass('former_blocks') IS NOT NULL")

# A block is a batch (numbers), a change of capacity (change_id > 0), or a part of a queue (sequence
# numbers), which has no place in the ledger.
PLAN = f"""
CREATE TABLE former_blocks AS
WITH block AS (
    SELECT ticket_type_id, first_number AS former_first, last_number AS former_last,
           last_number AS place, 0 AS change_id, NULL::integer AS change, decided_by, seen,
           greatest(decided_at, (
               SELECT max(created_at) FROM former_purchases p
               WHERE p.ticket_type_id = b.ticket_type_id
                 AND decision_number BETWEEN first_number AND last_number)) AS at
    FROM former_batches b
    UNION ALL
    SELECT ticket_type_id, 1, 1, after_decision, id, change, 'unknown', coalesce((
               SELECT seen FROM former_batches b
               WHERE b.ticket_type_id = c.ticket_type_id AND first_number <= after_decision
               ORDER BY first_number DESC LIMIT 1), '3:3:'), changed_at
    FROM former_changes c WHERE change <> 0
), in_time AS (
    SELECT event_id, block.*,
           max(at) OVER (PARTITION BY ticket_type_id ORDER BY place, change_id) AS never_back
    FROM block JOIN ticket_types t ON t.id = ticket_type_id
), planned AS (
    SELECT event_id, ticket_type_id, former_first, former_last, place, change_id, change,
           decided_by, seen, never_back AS at, former_last - former_first + 1 AS size,
           sum(former_last - former_first + 1) OVER (
               PARTITION BY event_id ORDER BY never_back, ticket_type_id, place, change_id
           )::bigint AS last_number
    FROM in_time
    UNION ALL
    SELECT event_id, ticket_type_id, min(seq), max(seq), NULL, 0, NULL, NULL, NULL, NULL, count(*),
           NULL
    FROM (SELECT ticket_type_id, seq,
                 row_number() OVER (PARTITION BY ticket_type_id ORDER BY seq) / {PIECE_ROWS} AS part
          FROM former_purchases WHERE status = 'queued') queued
    JOIN ticket_types t ON t.id = ticket_type_id GROUP BY event_id, ticket_type_id, part
)
SELECT *, last_number - size + 1 AS first_number,
       (sum(size) OVER (ORDER BY event_id, last_number, former_first) / {PIECE_ROWS})::int AS piece
FROM planned;

INSERT INTO batches (event_id, first_number, last_number, at, seen, decided_by, ticket_type_id)
SELECT event_id, first_number, last_number, at, seen, decided_by, ticket_type_id
FROM former_blocks WHERE last_number IS NOT NULL ORDER BY event_id, first_number;
INSERT INTO lanes (event_id, number, at)
SELECT id, coalesce(max(last_number), 0), coalesce(max(at), now())
FROM events LEFT JOIN batches ON event_id = id GROUP BY id;
INSERT INTO counters (event_id, ticket_type_id, issued, sold)
SELECT event_id, id, issued, sold FROM ticket_types JOIN former_inventory ON ticket_type_id = id;

WITH changed AS MATERIALIZED (
    SELECT b.*, gen_random_uuid() AS id, changed_by, changed_at,
           sum(b.change) OVER (PARTITION BY b.ticket_type_id, place ORDER BY change_id)
             + coalesce((SELECT left_after FROM former_purchases p
                         WHERE p.ticket_type_id = b.ticket_type_id AND decision_number = place),
                        0) AS left_after
    FROM former_blocks b JOIN former_changes c ON c.id = change_id
), request AS (
    INSERT INTO requests (id, event_id, seq, user_id, ticket_type_id, created_at, accepted_xid,
                          kind, quantity)
    OVERRIDING SYSTEM VALUE
    SELECT id, event_id, (SELECT coalesce(max(seq), 0) FROM former_purchases)
             + row_number() OVER (ORDER BY change_id),
           changed_by, ticket_type_id, changed_at, '2',
           CASE WHEN change > 0 THEN 'issue' ELSE 'withdraw' END::request_kind, abs(change)
    FROM changed
)
INSERT INTO ledger (event_id, number, command_id, ticket_type_id, kind, change, left_after)
SELECT event_id, first_number, id, ticket_type_id,
       CASE WHEN change > 0 THEN 'issued' ELSE 'withdrawn' END::entry_kind, change, left_after
FROM changed;
SELECT setval(pg_get_serial_sequence('requests', 'seq'), greatest(
    (SELECT max(seq) FROM requests), (SELECT max(seq) FROM former_purchases)));

DELETE FROM former_blocks WHERE change_id > 0;
CREATE INDEX ON former_blocks (piece);
ANALYZE former_blocks;
"""
NEXT_PIECE = sa.text("SELECT min(piece) FROM former_blocks")
# In a transaction of its own. OFFSET 0 has each block look up its rows by index.
COPY = sa.text("""
SELECT set_config('statement_timeout', '0', true), set_config('enable_seqscan', 'off', true);
WITH block AS MATERIALIZED (
    DELETE FROM former_blocks WHERE piece = :piece RETURNING *
), former AS MATERIALIZED (
    SELECT b.event_id, b.first_number + p.decision_number - b.former_first AS number, p.*
    FROM block b CROSS JOIN LATERAL (
        SELECT * FROM former_purchases WHERE ticket_type_id = b.ticket_type_id
            AND decision_number BETWEEN b.former_first AND b.former_last OFFSET 0) p
    WHERE b.first_number IS NOT NULL
    UNION ALL
    SELECT b.event_id, NULL, p.*
    FROM block b CROSS JOIN LATERAL (
        SELECT * FROM former_purchases WHERE ticket_type_id = b.ticket_type_id
            AND status = 'queued' AND seq BETWEEN b.former_first AND b.former_last OFFSET 0) p
    WHERE b.first_number IS NULL
), request AS (
    INSERT INTO requests (id, event_id, seq, user_id, ticket_type_id, created_at, accepted_xid,
                          quantity, user_limit, unit_price, currency, idempotency_key, fingerprint,
                          request_id, traceparent)
    OVERRIDING SYSTEM VALUE
    SELECT f.id, event_id, seq, user_id, ticket_type_id, f.created_at, accepted_xid,
           quantity, user_limit, unit_price, currency, idempotency_key, fingerprint,
           request_id, traceparent
    FROM former f JOIN events e ON e.id = event_id ORDER BY seq
), waiting AS (
    INSERT INTO work_list (event_id, class, seq, command_id)
    SELECT event_id, 1, seq, id FROM former WHERE number IS NULL
)
INSERT INTO ledger (event_id, number, command_id, ticket_type_id, kind, reason, change, left_after)
SELECT event_id, number, id, ticket_type_id, status::entry_kind, reason::rejection_reason,
       CASE status WHEN 'confirmed' THEN -quantity ELSE 0 END, left_after
FROM former WHERE number IS NOT NULL ORDER BY event_id, number
""")
# What stands in no batch, or of no ticket type, was changed past the former guards.
COUNT = """
DO $$ BEGIN
    IF (SELECT (count(*), count(*) FILTER (WHERE status = 'queued')) FROM former_purchases)
       IS DISTINCT FROM (SELECT ((SELECT count(*) FROM requests WHERE kind = 'buy'),
                                 (SELECT count(*) FROM work_list)))
       OR (SELECT count(*) FROM ledger) <> (SELECT sum(number) FROM lanes) THEN
        RAISE EXCEPTION 'purchases do not add up: restore the backup and ask its audit why';
    END IF;
END $$;
DROP TABLE former_blocks;
ANALYZE requests, ledger, batches, work_list;
"""


def upgrade() -> None:
    connection = op.get_bind()
    if not connection.scalar(STARTED):
        connection.exec_driver_sql(PLAN)
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        while (piece := connection.scalar(NEXT_PIECE)) is not None:
            connection.execute(COPY, {"piece": piece})
    op.execute(COUNT)


def downgrade() -> None:
    raise NotImplementedError("a ledger is never rewritten: restore a backup")
