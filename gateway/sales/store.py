"""The SQL of published sales."""

from collections.abc import Collection

import msgspec
from sqlalchemy import Engine

from gateway.sales.rules import Sale
from shared.database.engine import statement
from shared.database.prepared_statement import Prepared, plain_array

# Of an event: its oldest. More of them would be a response that strangers could ask for at will.
TICKET_TYPES_MAX = 200
LIST_MAX = 200
# Of one owner in the list, before all other owners have as many.
LISTED_OF_OWNER = 20
# In the list, which is read within the same second as everything else: 10,000 take 0.2 s.
TICKET_TYPES_OF_LISTED_MAX = 50

SALES = """
SELECT json_build_object('now', extract(epoch FROM clock_timestamp()), 'sales', coalesce(json_agg(
    json_build_object(
        'event', e.id, 'title', e.title, 'description', {description},
        'start_time', e.start_time, 'end_time', e.end_time, 'currency', e.currency,
        'max_per_user', e.max_per_user, 'notice', e.notice, 'payment_url', e.payment_url,
        'show_left', e.show_left, 'ticket_types', sold.types)
    ORDER BY e.start_time, e.id), '[]'))::text
FROM {events} e
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(
        json_build_object(
            'id', t.id, 'name', t.name, 'price', t.price::text, 'sales_start', t.sales_start,
            'sales_end', t.sales_end, 'max_per_purchase', t.max_per_purchase,
            'max_per_user', t.max_per_user, 'hold_seconds', t.hold_seconds,
            'paused', t.paused_at IS NOT NULL, 'left', c.issued - c.held - c.sold,
            'held', c.held)
        ORDER BY t.id), '[]') AS types
    FROM (SELECT * FROM ticket_types WHERE event_id = e.id ORDER BY id LIMIT {types_max}) t
    CROSS JOIN LATERAL (SELECT * FROM counters
                        WHERE event_id = t.event_id AND ticket_type_id = t.id OFFSET 0) c
) sold
"""
OF_IDS = """(
    SELECT one.* FROM unnest(%(ids)s::bigint[]) AS wanted (id)
    CROSS JOIN LATERAL (SELECT * FROM events WHERE id = wanted.id AND published OFFSET 0) one
)"""
# One owner's events, which may never end, do not push those of others off the list.
NOT_ENDED = f"""(
    SELECT one.* FROM (
        SELECT id FROM (
            SELECT id, start_time,
                row_number() OVER (PARTITION BY owner_id ORDER BY start_time, id) AS nth
            FROM events WHERE published AND end_time > now()) of_owner
        ORDER BY nth > {LISTED_OF_OWNER}, start_time, id LIMIT {LIST_MAX}
    ) AS listed
    CROSS JOIN LATERAL (SELECT * FROM events WHERE id = listed.id OFFSET 0) one
)"""
READ_SALES = Prepared(
    "sales",
    SALES.format(description="e.description", events=OF_IDS, types_max=TICKET_TYPES_MAX),
)
READ_LIST = Prepared(
    "sales_not_ended",
    SALES.format(description="''", events=NOT_ENDED, types_max=TICKET_TYPES_OF_LISTED_MAX),
)


class SalesRead(msgspec.Struct, frozen=True):
    """`now`: when, in seconds since 1970 by the clock of the database."""

    now: float
    sales: list[Sale]


_decoder = msgspec.json.Decoder(SalesRead)


def read_sales(engine: Engine, event_ids: Collection[int]) -> SalesRead:
    """Those of these events that are published.

    Raises:
        psycopg2.Error: nothing was read.
    """
    return _read(engine, READ_SALES, {"ids": plain_array(event_ids)})


def read_list(engine: Engine) -> SalesRead:
    """Those of published events that have not ended, soonest first, without their descriptions.

    Raises:
        psycopg2.Error: nothing was read.
    """
    return _read(engine, READ_LIST, {})


def _read(engine: Engine, read: Prepared, parameters: dict[str, str]) -> SalesRead:
    with statement(engine) as cursor:
        read.run(cursor, parameters)
        ((text,),) = cursor.fetchall()
    return _decoder.decode(text)
