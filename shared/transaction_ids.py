"""Keeps the proof of the order whole in a database that was restored from a dump.

Rows store transaction ids (docs/decisions/0002), and those of a new cluster begin low again. What
is decided there would seem to have been decided before what stands in the dump, for ever. So the
new cluster's ids are moved past the stored ones first. A physical copy keeps its ids.
"""

from sqlalchemy import Connection, text

# How far the stored ids are ahead. What a batch decided it saw, so the last batch of each ticket
# type has the highest id of all that was decided; and the queue is read whole.
READ_AHEAD = text("""
SELECT greatest(0,
    (SELECT max(pg_snapshot_xmax(last.seen)::text::bigint)
     FROM ticket_types t CROSS JOIN LATERAL (
        SELECT seen FROM decision_batches WHERE ticket_type_id = t.id
        ORDER BY first_number DESC LIMIT 1
     ) last),
    (SELECT max(accepted_xid::text::bigint) + 1 FROM ticket_purchases WHERE status = 'queued')
) - pg_snapshot_xmax(pg_current_snapshot())::text::bigint
""")
# Far below any statement timeout: 0.4 s.
IDS_AT_A_TIME = 100_000
# Each turn takes an id and writes no row, so it waits for no disk and no standby...
PASS_OVER = """
DO $$ BEGIN
    FOR turn IN 1..{ids} LOOP
        PERFORM pg_current_xact_id();
        COMMIT;
    END LOOP;
END $$
"""
# ... but for the last, which takes all before it along.
MAKE_DURABLE = text("SELECT pg_logical_emit_message(true, 'eventify', 'transaction ids')")


def pass_stored_transaction_ids(connection: Connection) -> int:
    """Use transaction ids up until those that rows store are past; returns how many.

    Args:
        connection: in no transaction, and not used afterwards.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is away. Begun again, it goes on.
    """
    connection.execution_options(isolation_level="AUTOCOMMIT")
    ahead: int = connection.execute(READ_AHEAD).scalar_one()
    if ahead <= 0:
        return 0
    for passed in range(0, ahead, IDS_AT_A_TIME):
        connection.execute(text(PASS_OVER.format(ids=min(IDS_AT_A_TIME, ahead - passed))))
    connection.execute(MAKE_DURABLE)
    return ahead
