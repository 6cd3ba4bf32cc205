"""Keeps the proof of the order whole in a database that was restored from a dump.

Rows store transaction ids (docs/decisions/0002), and those of a new cluster begin low again. What
is decided there would seem to have been decided before what stands in the dump, for ever. So the
new cluster's ids are moved past the stored ones first. A physical copy keeps its ids.
"""

from sqlalchemy import Engine, text

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
# Each turn takes an id and writes no row: 100,000 in 0.4 s. It waits for no disk and no standby...
PASS_OVER = """
DO $$ BEGIN
    FOR turn IN 1..{ids} LOOP
        PERFORM set_config('synchronous_commit', 'off', true), pg_current_xact_id();
        COMMIT;
    END LOOP;
END $$
"""
# ... but for the last, which takes all before it along.
MAKE_DURABLE = text("SELECT pg_logical_emit_message(true, 'eventify', 'transaction ids')")
# A statement of so many stays far below the longest that one may take.
IDS_AT_A_TIME = 50_000


def pass_stored_transaction_ids(engine: Engine) -> int:
    """Use transaction ids up until those that rows store are past; returns how many.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is away. Begun again, it goes on.
    """
    # No setting of a session is changed: behind a pooler it would stay with others.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        ahead: int = connection.execute(READ_AHEAD).scalar_one()
        if ahead <= 0:
            return 0
        for passed in range(0, ahead, IDS_AT_A_TIME):
            some = min(IDS_AT_A_TIME, ahead - passed)
            connection.execute(text(PASS_OVER.format(ids=some)))
        connection.execute(MAKE_DURABLE)
        return ahead
