"""Keeps the proof of the order valid in a database that was restored from a dump.

Rows store transaction ids (docs/decisions/0002), and those of a new cluster start low again: later
decisions would seem to precede those of the dump. So the new cluster's ids are advanced past the
stored ones first. A physical copy keeps its ids.
"""

from sqlalchemy import Engine, text

# How far the stored ids are ahead. A batch has seen what it decided, but for a change of capacity,
# which is accepted and decided at once, by ids of its own; and the whole work list is read. Batches
# of before the ledger are not in the order of their snapshots: so all are read. A lane's mark waits
# until a snapshot is past its id; the greatest of all ids stands for none (0021).
READ_AHEAD = text("""
SELECT greatest(0,
    (SELECT max(pg_snapshot_xmax(seen)::text::bigint) FROM batches),
    (SELECT max(r.accepted_xid::text::bigint) + 1
     FROM batches b JOIN ledger e ON e.event_id = b.event_id AND e.number = b.first_number
     JOIN requests r ON r.id = e.command_id
     WHERE b.locked_lanes IS NULL AND b.ticket_type_id IS NULL),
    (SELECT max(r.accepted_xid::text::bigint) + 1
     FROM work_list w JOIN requests r ON r.id = w.command_id),
    (SELECT max(next_done_xid::text::bigint) + 1 FROM lanes
     WHERE next_done_xid <> '18446744073709551615')
) - pg_snapshot_xmax(pg_current_snapshot())::text::bigint
""")
# Each iteration takes an id and writes no row: 100,000 in 0.4 s, no wait for a disk or standby...
PASS_OVER = """
DO $$ BEGIN
    FOR turn IN 1..{ids} LOOP
        PERFORM set_config('synchronous_commit', 'off', true), pg_current_xact_id();
        COMMIT;
    END LOOP;
END $$
"""
# ... except for the last one, which makes all before it durable.
MAKE_DURABLE = text("SELECT pg_logical_emit_message(true, 'eventify', 'transaction ids')")
# Far below `statement_timeout_ms`.
IDS_AT_A_TIME = 50_000


def pass_stored_transaction_ids(engine: Engine) -> int:
    """Advance the transaction ids past the stored ones; returns by how many.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is unavailable. A new call continues.
    """
    # No setting of the session is changed: behind a pooler other clients would get it.
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # millions of batches are read
        ahead: int = connection.execute(READ_AHEAD).scalar_one()
    if ahead <= 0:
        return 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for passed in range(0, ahead, IDS_AT_A_TIME):
            some = min(IDS_AT_A_TIME, ahead - passed)
            connection.execute(text(PASS_OVER.format(ids=some)))
        connection.execute(MAKE_DURABLE)
        return ahead
