"""The SQL of purchases that were refused before they were queued."""

from collections.abc import Mapping
from typing import Final

from psycopg2.extensions import cursor
from sqlalchemy import Engine

from gateway.live.past import Refusals
from shared.database.engine import cursor_transaction
from shared.database.prepared_statement import Prepared, array_literal, plain_array

# Of a step, at first; after some hours they are added up to an hour.
NARROW_SECONDS: Final = 2
NARROW_KEPT: Final = "6 hours"
WIDE_SECONDS: Final = 3_600
WIDE_KEPT: Final = "1 year"
COMPACT_ROWS: Final = 5_000

# Of ticket types that there are. In one order, so that gateways wait for each other in no circle.
ADD = Prepared(
    "edge_refusals_add",
    f"""
INSERT INTO edge_refusals (event_id, at, step_seconds, code, count)
SELECT t.event_id,
       to_timestamp(floor(extract(epoch FROM clock_timestamp()) / {NARROW_SECONDS} - 0.5)
                    * {NARROW_SECONDS}),
       {NARROW_SECONDS}, r.code, sum(r.count)
FROM unnest(%(ticket_types)s::bigint[], %(codes)s::text[], %(counts)s::bigint[])
    AS r (ticket_type, code, count)
CROSS JOIN LATERAL (SELECT event_id FROM ticket_types WHERE id = r.ticket_type OFFSET 0) t
GROUP BY 1, 2, 4 ORDER BY 1, 2, 4
ON CONFLICT (event_id, at, step_seconds, code)
    DO UPDATE SET count = edge_refusals.count + excluded.count
""",
)
MERGE = f"""
WITH narrow AS (
    DELETE FROM edge_refusals WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM edge_refusals
        WHERE step_seconds = {NARROW_SECONDS} AND at < now() - interval '{NARROW_KEPT}'
        ORDER BY step_seconds, at LIMIT {COMPACT_ROWS} FOR UPDATE SKIP LOCKED))
    RETURNING event_id, at, code, count
), wide AS (
    INSERT INTO edge_refusals (event_id, at, step_seconds, code, count)
    SELECT event_id, date_trunc('hour', at), {WIDE_SECONDS}, code, sum(count) FROM narrow
    GROUP BY 1, 2, 4 ORDER BY 1, 2, 4
    ON CONFLICT (event_id, at, step_seconds, code)
        DO UPDATE SET count = edge_refusals.count + excluded.count
)
SELECT count(*) FROM narrow
"""
FORGET = f"""
DELETE FROM edge_refusals WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM edge_refusals
    WHERE step_seconds = {WIDE_SECONDS} AND at < now() - interval '{WIDE_KEPT}'
    ORDER BY step_seconds, at LIMIT {COMPACT_ROWS} FOR UPDATE SKIP LOCKED))
"""
READ_TOTALS = Prepared(
    "edge_refusals_totals",
    "SELECT code, sum(count)::bigint FROM edge_refusals WHERE event_id = %(event_id)s GROUP BY 1",
)
# They are added until a second after their step.
READ = Prepared(
    "edge_refusals",
    """
SELECT extract(epoch FROM at)::bigint, code, count, step_seconds + 1 FROM edge_refusals
WHERE event_id = %(event_id)s
""",
)


def add(engine: Engine, counts: Mapping[tuple[int, str], int]) -> None:
    """Add refusals by ticket type and code. Raises psycopg2.Error: nothing was added."""
    with cursor_transaction(engine, synchronous=False) as cursor:
        ADD.run(
            cursor,
            {
                "ticket_types": plain_array(ticket_type for ticket_type, _code in counts),
                "codes": array_literal(code for _ticket_type, code in counts),
                "counts": plain_array(counts.values()),
            },
        )


def compact(engine: Engine) -> bool:
    """Returns whether there is more. Raises psycopg2.Error: the next call goes on."""
    with cursor_transaction(engine, synchronous=False) as cursor:
        cursor.execute(MERGE)
        merged: int = cursor.fetchall()[0][0]
        cursor.execute(FORGET)
        return max(merged, cursor.rowcount) >= COMPACT_ROWS


def read_totals(cursor: cursor, event_id: int) -> dict[str, int]:
    READ_TOTALS.run(cursor, {"event_id": event_id})
    return dict(cursor.fetchall())


def read_refusals(cursor: cursor, event_id: int) -> list[Refusals]:
    READ.run(cursor, {"event_id": event_id})
    return [Refusals(*row) for row in cursor.fetchall()]
