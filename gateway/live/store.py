"""The SQL of live figures: each statement reads a bounded number of rows, by an index."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from gateway.audits.store import read_last
from gateway.event_owner import check_owner
from gateway.live.figures import Figures, LiveTicketType, Webhooks
from gateway.live.past import CAPACITY, MARKS_MAX, Entries, Mark, Past, Refusals
from gateway.live.refusal_store import read_refusals, read_totals
from gateway.purchases.read import QUEUE
from shared.database.engine import statement
from shared.database.prepared_statement import Prepared, plain_array
from shared.errors import NotFound

# Of an event: its oldest.
TICKET_TYPES_MAX: Final = 200
# Counted exactly up to here; a gateway accepts nothing beyond.
QUEUED_MAX: Final = 200_000
# Looked at one by one.
QUEUED_BY_TYPE_MAX: Final = 1_000
# Of the newest batches, each by some of its entries.
LATEST_BATCHES: Final = 20
LATEST_OF_BATCH: Final = 50
LATEST_SECONDS: Final = 60
# Entries in one statement, and up to how many new ones the acceptance of each is looked up; of
# more only a part of them, which counts for all.
PART_ROWS: Final = 20_000
EXACT_ROWS: Final = 100_000
SAMPLED_EVERY: Final = 100

READ_FIGURES = Prepared(
    "live_figures",
    f"""
SELECT json_build_object(
    'now', extract(epoch FROM clock_timestamp()), 'owner_id', e.owner_id, 'end_time', e.end_time,
    'number', l.number, 'issued', total.issued, 'held', total.held, 'sold', total.sold,
    'queued', waiting.queued,
    'oldest_queued_seconds', coalesce(greatest(0, round(extract(
        epoch FROM clock_timestamp() - oldest.created_at), 3)), 0),
    'ticket_types', sold.types)::text
FROM (SELECT * FROM events WHERE id = %(event_id)s OFFSET 0) e
CROSS JOIN LATERAL (SELECT * FROM lanes WHERE event_id = e.id OFFSET 0) l
CROSS JOIN LATERAL (
    SELECT coalesce(sum(issued), 0)::bigint AS issued, coalesce(sum(held), 0)::bigint AS held,
           coalesce(sum(sold), 0)::bigint AS sold
    FROM counters WHERE event_id = e.id) total
CROSS JOIN LATERAL (
    SELECT count(*) AS queued FROM ({QUEUE.format(event_id="e.id", rows=QUEUED_MAX + 1)}) q
) waiting
LEFT JOIN LATERAL (
    SELECT r.created_at FROM (
        SELECT command_id FROM work_list WHERE event_id = e.id AND class = 1
            AND seq > l.done_seq ORDER BY seq LIMIT 1) w
    CROSS JOIN LATERAL (SELECT created_at FROM requests WHERE id = w.command_id OFFSET 0) r
) oldest ON true
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(
        json_build_object(
            'id', t.id, 'name', t.name, 'price', t.price::text, 'sales_start', t.sales_start,
            'sales_end', t.sales_end, 'max_per_purchase', t.max_per_purchase,
            'max_per_user', t.max_per_user, 'hold_seconds', t.hold_seconds,
            'paused', t.paused_at IS NOT NULL, 'left', c.issued - c.held - c.sold,
            'issued', c.issued, 'held', c.held, 'sold', c.sold)
        ORDER BY t.id), '[]') AS types
    FROM (SELECT * FROM ticket_types WHERE event_id = e.id
          ORDER BY event_id, id LIMIT {TICKET_TYPES_MAX}) t
    CROSS JOIN LATERAL (SELECT * FROM counters
                        WHERE event_id = t.event_id AND ticket_type_id = t.id OFFSET 0) c
) sold
""",
)

# A cart counts for each of its ticket types.
READ_QUEUED = Prepared(
    "live_queued",
    f"""
SELECT line.ticket_type_id, count(*),
       greatest(0, round(extract(epoch FROM clock_timestamp() - min(r.created_at)), 3))::float8
FROM (SELECT command_id FROM work_list WHERE event_id = %(event_id)s AND class = 1
          AND seq > (SELECT done_seq FROM lanes WHERE event_id = %(event_id)s)
      ORDER BY seq LIMIT {QUEUED_BY_TYPE_MAX}) w
CROSS JOIN LATERAL (SELECT ticket_type_id, items, created_at FROM requests
                    WHERE id = w.command_id OFFSET 0) r
CROSS JOIN LATERAL (
    SELECT r.ticket_type_id WHERE r.items IS NULL
    UNION ALL
    SELECT (item->>'ticket_type')::bigint FROM jsonb_array_elements(r.items) item) line
GROUP BY 1
""",
)

# From acceptance to decision, of some of what was decided last.
READ_LATEST = Prepared(
    "live_latest",
    f"""
SELECT percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (
    ORDER BY round(extract(epoch FROM b.at - r.created_at), 3)::float8)
FROM (SELECT first_number, last_number, at FROM batches WHERE event_id = %(event_id)s
      ORDER BY first_number DESC LIMIT {LATEST_BATCHES}) b
CROSS JOIN LATERAL generate_series(
    b.first_number, b.last_number,
    greatest(1, (b.last_number - b.first_number + 1) / {LATEST_OF_BATCH})) n
CROSS JOIN LATERAL (SELECT command_id FROM ledger
                    WHERE event_id = %(event_id)s AND number = n OFFSET 0) e
CROSS JOIN LATERAL (SELECT kind, created_at FROM requests WHERE id = e.command_id OFFSET 0) r
WHERE b.at > clock_timestamp() - make_interval(secs => {LATEST_SECONDS}) AND r.kind = 'buy'
""",
)

READ_WEBHOOKS = Prepared(
    "live_webhooks",
    """
SELECT json_build_object(
    'count', count(*), 'failing', count(*) FILTER (WHERE c.failures > 0),
    'behind_entries', coalesce(max(l.number - coalesce(c.number, 0)), 0),
    'behind_seconds', coalesce(max(round(extract(epoch FROM clock_timestamp() - unsent.at), 3)), 0)
    )::text
FROM (SELECT id FROM webhooks WHERE user_id = %(owner_id)s AND disabled_at IS NULL
          AND (event_id IS NULL OR event_id = %(event_id)s)) w
CROSS JOIN (SELECT number FROM lanes WHERE event_id = %(event_id)s) l
LEFT JOIN LATERAL (SELECT number, failures FROM webhook_cursors
                   WHERE webhook_id = w.id AND event_id = %(event_id)s OFFSET 0) c ON true
LEFT JOIN LATERAL (
    SELECT at FROM batches
    WHERE event_id = %(event_id)s AND first_number <= coalesce(c.number, 0) + 1
        AND l.number > coalesce(c.number, 0)
    ORDER BY first_number DESC LIMIT 1) unsent ON true
""",
)

# The batches that begin in this part of the ledger.
PART = """
    SELECT first_number, last_number, floor(extract(epoch FROM at))::bigint AS second FROM batches
    WHERE event_id = %(event_id)s AND first_number > %(after)s
        AND first_number <= %(after)s + %(rows)s AND last_number <= %(last)s OFFSET 0
"""
# One that changes the capacity, or sells the last ticket of a type, stands alone.
READ_PART = Prepared(
    "live_part",
    f"""
SELECT b.second, e.kind::text, e.reason::text, e.of_purchase, count(*),
       coalesce(sum(e.quantity), 0)::bigint, coalesce(sum(e.change), 0)::bigint, e.marked,
       max(b.last_number)
FROM ({PART}) b
CROSS JOIN LATERAL (
    SELECT kind, reason, purchase_id IS NOT NULL AS of_purchase,
           CASE WHEN items IS NULL THEN -change ELSE (
               SELECT sum(coalesce((item->>'quantity')::int, -(item->>'change')::int))
               FROM jsonb_array_elements(items) item) END AS quantity,
           CASE WHEN items IS NULL THEN change ELSE (
               SELECT sum((item->>'change')::int) FROM jsonb_array_elements(items) item
           ) END AS change,
           CASE WHEN kind IN ('issued', 'withdrawn') OR (change < 0 AND left_after = 0)
                    OR items @? '$[*] ? (@.change < 0 && @.left_after == 0)'
                THEN number END AS marked
    FROM ledger WHERE event_id = %(event_id)s
        AND number BETWEEN b.first_number AND b.last_number OFFSET 0) e
GROUP BY b.second, e.kind, e.reason, e.of_purchase, e.marked
""",
)
READ_ACCEPTED = Prepared(
    "live_accepted",
    f"""
SELECT floor(extract(epoch FROM r.created_at))::bigint, count(*)
FROM ({PART}) b
CROSS JOIN LATERAL (
    SELECT command_id FROM ledger WHERE event_id = %(event_id)s
        AND number BETWEEN b.first_number AND b.last_number AND purchase_id IS NULL
        AND kind IN ('held', 'confirmed', 'rejected') AND number %% %(every)s = 0 OFFSET 0) e
CROSS JOIN LATERAL (SELECT created_at FROM requests WHERE id = e.command_id OFFSET 0) r
GROUP BY 1
""",
)
READ_MARKED = Prepared(
    "live_marked",
    """
SELECT e.number, e.kind::text, line.ticket_type_id, line.change,
       (SELECT extract(epoch FROM at)::float8 FROM batches
        WHERE event_id = e.event_id AND first_number <= e.number
        ORDER BY first_number DESC LIMIT 1)
FROM unnest(%(numbers)s::bigint[]) n
CROSS JOIN LATERAL (SELECT * FROM ledger
                    WHERE event_id = %(event_id)s AND number = n OFFSET 0) e
CROSS JOIN LATERAL (
    SELECT e.ticket_type_id, e.change, e.left_after WHERE e.items IS NULL
    UNION ALL
    SELECT (item->>'ticket_type')::bigint, (item->>'change')::int, (item->>'left_after')::int
    FROM jsonb_array_elements(e.items) item) line
WHERE e.kind IN ('issued', 'withdrawn') OR (line.change < 0 AND line.left_after = 0)
""",
)
READ_PAUSES = Prepared(
    "live_pauses",
    f"""
SELECT p.ticket_type_id, extract(epoch FROM p.at)::float8, p.paused
FROM (SELECT id FROM ticket_types WHERE event_id = %(event_id)s
      ORDER BY event_id, id LIMIT {TICKET_TYPES_MAX}) t
CROSS JOIN LATERAL (SELECT * FROM sale_pauses WHERE ticket_type_id = t.id
                    ORDER BY ticket_type_id, at DESC LIMIT {MARKS_MAX}) p
ORDER BY p.at DESC LIMIT {MARKS_MAX}
""",
)
# By bisection: batches are in the order of their times.
READ_NUMBER_AT = Prepared(
    "live_number_at",
    """
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, number FROM lanes WHERE event_id = %(event_id)s
    UNION ALL
    SELECT CASE WHEN b.is_before THEN b.last_number ELSE s.low END,
           CASE WHEN b.is_before THEN s.high ELSE b.first_number - 1 END
    FROM search s CROSS JOIN LATERAL (
        SELECT first_number, last_number, at < to_timestamp(%(at)s::float8) AS is_before
        FROM batches
        WHERE event_id = %(event_id)s AND first_number <= (s.low + s.high + 1) / 2
        ORDER BY first_number DESC LIMIT 1) b
    WHERE s.low < s.high
)
SELECT low FROM search WHERE low >= high
""",
)
READ_LAST = Prepared("live_last", "SELECT number FROM lanes WHERE event_id = %(event_id)s")
READ_WINDOWS = Prepared(
    "live_windows",
    f"""
SELECT id, extract(epoch FROM sales_start)::float8, extract(epoch FROM sales_end)::float8
FROM ticket_types WHERE event_id = %(event_id)s
ORDER BY event_id, id LIMIT {TICKET_TYPES_MAX}
""",
)

_figures = msgspec.json.Decoder(Figures)
_webhooks = msgspec.json.Decoder(Webhooks)


def check_event(engine: Engine, user_id: int, event_id: int) -> None:
    """Raises NotFound, PermissionDenied, and psycopg2.Error."""
    with statement(engine) as cursor:
        check_owner(cursor, user_id, event_id)


def read_figures(engine: Engine, event_id: int) -> Figures:
    """Raises NotFound: there is no such event; psycopg2.Error: it is not known."""
    event = {"event_id": event_id}
    with statement(engine) as cursor:
        READ_FIGURES.run(cursor, event)
        figures = _figures.decode(_text(cursor))
        READ_LATEST.run(cursor, event)
        ((latest,),) = cursor.fetchall()
        READ_WEBHOOKS.run(cursor, event | {"owner_id": figures.owner_id})
        webhooks = _webhooks.decode(_text(cursor))
        return replace(
            figures,
            queued=figures.queued if (figures.queued or 0) <= QUEUED_MAX else None,
            ticket_types=_with_queued(cursor, event_id, figures),
            seconds_to_decision=latest and tuple(latest),
            webhooks=webhooks if webhooks.count else None,
            refusals=read_totals(cursor, event_id),
            audit=read_last(cursor, event_id),
        )


def read_on(engine: Engine, event_id: int, past: Past, last: int) -> bool:
    """Add the next entries up to `last`, which ends a batch; returns whether there were any.

    Raises psycopg2.Error: nothing was added.
    """
    every = 1 if last - past.number <= EXACT_ROWS else SAMPLED_EVERY
    part = {"event_id": event_id, "after": past.number, "rows": PART_ROWS, "last": last}
    with statement(engine) as cursor:
        READ_PART.run(cursor, part)
        rows = cursor.fetchall()
        if not rows:
            return False
        number = max(row[-1] for row in rows)
        entries = [Entries(*row[:-1]) for row in rows]
        READ_ACCEPTED.run(cursor, part | {"every": every})
        accepted = cursor.fetchall()
        marks = _marks(cursor, event_id, entries)
    past.number = number
    past.is_exact = past.is_exact and every == 1
    past.add(entries)
    for second, count in accepted:
        past.add_accepted(second, count * every)
    for mark in marks:
        past.add_mark(mark)
    return True


def read_others(engine: Engine, event_id: int) -> tuple[list[Mark], list[Refusals]]:
    """Of a history what is not in the ledger. Raises psycopg2.Error."""
    event = {"event_id": event_id}
    with statement(engine) as cursor:
        READ_WINDOWS.run(cursor, event)
        marks = []
        for id_, start, end in cursor.fetchall():
            marks += [Mark(start, "opening", id_)] if start is not None else []
            marks += [Mark(end, "closing", id_)] if end is not None else []
        READ_PAUSES.run(cursor, event)
        for id_, at, paused in cursor.fetchall():
            marks.append(Mark(at, "paused" if paused else "resumed", id_))
        return marks, read_refusals(cursor, event_id)


def number_at(engine: Engine, event_id: int, at: float) -> int:
    """Of the last entry before a moment, seconds since 1970. Raises psycopg2.Error."""
    with statement(engine) as cursor:
        READ_NUMBER_AT.run(cursor, {"event_id": event_id, "at": at})
        number: int = cursor.fetchall()[0][0]
        return number


def last_number(engine: Engine, event_id: int) -> int:
    """Of the newest entry. Raises psycopg2.Error."""
    with statement(engine) as cursor:
        READ_LAST.run(cursor, {"event_id": event_id})
        number: int = cursor.fetchall()[0][0]
        return number


def _with_queued(cursor: cursor, event_id: int, figures: Figures) -> tuple[LiveTicketType, ...]:
    if not figures.queued:
        return figures.ticket_types
    if figures.queued > QUEUED_BY_TYPE_MAX:
        return tuple(
            replace(one, queued=None, oldest_queued_seconds=None) for one in figures.ticket_types
        )
    READ_QUEUED.run(cursor, {"event_id": event_id})
    queued = {id_: (count, seconds) for id_, count, seconds in cursor.fetchall()}
    return tuple(
        replace(one, queued=queued[one.id][0], oldest_queued_seconds=queued[one.id][1])
        if one.id in queued
        else one
        for one in figures.ticket_types
    )


def _marks(cursor: cursor, event_id: int, entries: Sequence[Entries]) -> list[Mark]:
    marked = [each.number for each in entries if each.number is not None]
    if not marked:
        return []
    READ_MARKED.run(cursor, {"event_id": event_id, "numbers": plain_array(marked)})
    return [
        Mark(at, "capacity", ticket_type, change)
        if kind in CAPACITY
        else Mark(at, "sold_out", ticket_type)
        for _number, kind, ticket_type, change, at in sorted(cursor.fetchall())
    ]


def _text(cursor: cursor) -> Any:
    row = cursor.fetchone()
    if row is None:
        raise NotFound
    return row[0]
