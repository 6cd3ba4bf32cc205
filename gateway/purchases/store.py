"""The gateway's SQL on purchases: accept a batch durably, read purchases back."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import psycopg2
from psycopg2.errors import ForeignKeyViolation
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from gateway.purchases.accept import Accepted, PurchaseRequest, Replayed, Verdict, refusal
from shared.database.engine import DATABASE_UNAVAILABLE, TRY_AGAIN, statement
from shared.database.oldest_queued import OLDEST_QUEUED
from shared.database.prepared_statement import Prepared, array_literal
from shared.errors import Problem, ServerError, Unavailable
from shared.observability.logging import get_logger
from shared.purchases import QUEUED, Purchase, as_time
from shared.web.pagination import LIST_MAX_ROWS

# Writes a message of a few bytes into the log, once for a statement. A row may be seen that this
# server has alone: its commit's wait for the standby was cancelled, or the server crashed then. Who
# tells of it commits something after it, and waits. A transaction id alone would not do: PostgreSQL
# waits at the commit of whoever wrote to the log, and of nobody else.
COMMITS_ANEW = "(SELECT pg_logical_emit_message(true, 'eventify', '')) IS NOT NULL"

# One statement for a whole batch. Its verdicts, its rows and its view of the sale are of one
# moment. An earlier purchase with the same key outranks every refusal: it is answered as it stands.
# The tables come in the order in which a migration and the drain lock them, so that neither waits
# for what the other holds. OFFSET 0 has each row look up what belongs to it: a plan that reads a
# whole table would do while the table is small.
ACCEPT = Prepared(
    "accept",
    f"""
WITH request AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(user_ids)s::bigint[], %(ticket_type_ids)s::bigint[],
        %(quantities)s::int[], %(keys)s::text[], %(fingerprints)s::bytea[],
        %(request_ids)s::text[], %(traceparents)s::text[])
    WITH ORDINALITY AS r (id, user_id, ticket_type_id, quantity, idempotency_key, fingerprint,
                          request_id, traceparent, nth)
), verdict AS MATERIALIZED (
    SELECT r.*, t.event_id, t.price, t.max_per_user, t.max_per_purchase, t.sales_start,
        earlier.id AS earlier_id,
        CASE
            WHEN earlier.fingerprint <> r.fingerprint THEN 'key_reused'
            WHEN earlier.id IS NOT NULL THEN NULL
            WHEN u.id IS NULL THEN 'unknown_user'
            WHEN t.id IS NULL THEN 'unknown_ticket_type'
            WHEN r.quantity > t.max_per_purchase THEN 'over_purchase_limit'
            WHEN least(t.sales_end, e.end_time) <= now() THEN 'sale_closed'
            WHEN t.sales_start > now() THEN 'sale_not_open'
            WHEN t.paused_at IS NOT NULL THEN 'sale_paused'
            WHEN i.sold >= i.issued THEN 'not_enough_tickets'
        END AS refusal
    FROM request r
    LEFT JOIN LATERAL (SELECT id FROM users WHERE id = r.user_id OFFSET 0) u ON true
    LEFT JOIN LATERAL (SELECT sold, issued FROM ticket_inventory
                       WHERE ticket_type_id = r.ticket_type_id OFFSET 0) i ON true
    LEFT JOIN LATERAL (SELECT * FROM ticket_types WHERE id = r.ticket_type_id OFFSET 0) t ON true
    LEFT JOIN LATERAL (SELECT id, fingerprint FROM ticket_purchases
                       WHERE user_id = r.user_id AND idempotency_key = r.idempotency_key
                       OFFSET 0) earlier ON true
    LEFT JOIN LATERAL (SELECT end_time FROM events WHERE id = t.event_id OFFSET 0) e ON true
), ahead AS (
    SELECT wanted.ticket_type_id, head.queued, head.last_seq
    FROM (SELECT DISTINCT ticket_type_id FROM verdict) wanted
    CROSS JOIN LATERAL (
        SELECT count(*) AS queued, max(oldest.seq) AS last_seq FROM (
            SELECT q.seq FROM ticket_purchases q
            WHERE q.ticket_type_id = wanted.ticket_type_id AND q.status = 'queued'
            ORDER BY q.seq LIMIT %(position_max_rows)s) oldest) head
), accepted AS (
    INSERT INTO ticket_purchases (id, user_id, ticket_type_id, quantity, unit_price, user_limit,
                                  idempotency_key, fingerprint, request_id, traceparent)
    SELECT id, user_id, ticket_type_id, quantity, price, max_per_user,
           idempotency_key, fingerprint, request_id, traceparent
    FROM verdict WHERE refusal IS NULL AND earlier_id IS NULL
    ORDER BY nth
    ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, seq
)
SELECT v.refusal, v.earlier_id::text, v.event_id, v.price::text, (v.price * v.quantity)::text,
       (SELECT {as_time("now()")}),
       a.seq, ahead.queued, ahead.last_seq, v.max_per_purchase, v.sales_start
FROM verdict v
LEFT JOIN accepted a ON a.id = v.id
LEFT JOIN ahead ON ahead.ticket_type_id = v.ticket_type_id
WHERE v.earlier_id IS NULL OR {COMMITS_ANEW}
ORDER BY v.nth
""",
)

# An outcome that was seen never changes: where there is a standby, it has it before any client.
KEPT_OUTCOMES = f"""
(p.status = 'queued' OR current_setting('synchronous_standby_names') = '' OR {COMMITS_ANEW})
"""

# What `_found` reads: prices and times as the body of a purchase has them.
FOUND = f"""
SELECT p.id::text, p.user_id, p.seq, p.ticket_type_id, t.event_id, p.quantity, p.unit_price::text,
       (p.unit_price * p.quantity)::text, p.status, p.reason, {as_time("p.created_at")},
       {as_time("p.decided_at")}
FROM ticket_types t JOIN ticket_purchases p ON p.ticket_type_id = t.id
"""

READ = Prepared("read", FOUND + "WHERE p.id = ANY(%(ids)s::uuid[]) AND" + KEPT_OUTCOMES)

OF_USER = """
WHERE p.user_id = %(user_id)s
  AND (%(status)s IS NULL OR p.status = %(status)s)
  AND (%(ticket_type_id)s IS NULL OR p.ticket_type_id = %(ticket_type_id)s)
"""

# `LIST_MAX_ROWS` at most: who bought a million times has a list like all others.
COUNT_OF_USER = f"""
SELECT count(*) FROM (SELECT FROM ticket_purchases p {OF_USER} LIMIT {LIST_MAX_ROWS}) counted
"""

LIST_OF_USER = f"""
{FOUND} {OF_USER} AND {KEPT_OUTCOMES} ORDER BY p.seq DESC LIMIT %(rows)s OFFSET %(offset)s
"""

HEAD_OF_QUEUE = Prepared(
    "head_of_queue",
    """
SELECT coalesce(array_agg(seq ORDER BY seq), '{}') FROM (
    SELECT seq FROM ticket_purchases
    WHERE ticket_type_id = %(ticket_type_id)s AND status = 'queued'
    ORDER BY seq LIMIT %(rows)s) oldest
""",
)

DECIDED_AMONG = """
SELECT id::text FROM ticket_purchases WHERE id = ANY(%(ids)s::uuid[]) AND status <> 'queued'
"""

QUEUED_NOW = f"""
WITH RECURSIVE {OLDEST_QUEUED}
SELECT count(*),
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
        FROM oldest)
FROM (SELECT FROM ticket_purchases WHERE status = 'queued' LIMIT %(rows)s) counted
"""

# One row of the accept statement's answer.
Row = tuple[Any, ...]
# A key that two statements insert at the same moment is seen by the next snapshot at the latest.
ACCEPT_ATTEMPTS = 3

logger = get_logger(__name__)


class Found(msgspec.Struct, frozen=True):
    """A purchase as stored. `position`: the requests ahead of it; None once it is decided."""

    user_id: int
    purchase: Purchase
    position: int | None


class Filter(msgspec.Struct, frozen=True):
    """Which purchases of a user; None: all."""

    user_id: int
    status: str | None
    ticket_type_id: int | None


def accept(
    engine: Engine, requests: Sequence[PurchaseRequest], *, position_max_rows: int
) -> list[Verdict]:
    """Store the requests durably and in order, or say of each why not; commits before it returns.

    `Unavailable` as a verdict: the database is away, or it is unknown whether it committed. The
    same key will tell.
    """
    verdicts: dict[str, Verdict] = {}
    undecided = list(requests)
    for _attempt in range(ACCEPT_ATTEMPTS):
        taken: dict[int, int] = {}
        for request, row in zip(
            undecided, _insert(engine, undecided, position_max_rows), strict=True
        ):
            verdict = (
                row
                if isinstance(row, Problem)
                else _verdict(request, row, taken, position_max_rows)
            )
            if verdict is not None:
                verdicts[request.id] = verdict
        undecided = [request for request in undecided if request.id not in verdicts]
        if not undecided:
            break
    return [verdicts.get(request.id, Unavailable()) for request in requests]


def parameters_of(requests: Sequence[PurchaseRequest], position_max_rows: int) -> dict[str, Any]:
    """The requests as the accept statement takes them: one array for each column."""
    return {
        "ids": array_literal(r.id for r in requests),
        "user_ids": array_literal(r.user_id for r in requests),
        "ticket_type_ids": array_literal(r.ticket_type_id for r in requests),
        "quantities": array_literal(r.quantity for r in requests),
        "keys": array_literal(r.idempotency_key for r in requests),
        "fingerprints": array_literal(r.fingerprint for r in requests),
        "request_ids": array_literal(r.request_id for r in requests),
        "traceparents": _traceparents(requests),
        "position_max_rows": position_max_rows,
    }


def _traceparents(requests: Sequence[PurchaseRequest]) -> str:
    """An array that is too short goes on with nulls: where nothing is traced, it costs nothing."""
    traceparents = [r.traceparent for r in requests]
    return array_literal(traceparents) if any(traceparents) else "{}"


def _insert(
    engine: Engine, requests: Sequence[PurchaseRequest], position_max_rows: int
) -> Sequence[Row | Problem]:
    """Run the statement: a row for each request, or the problem that it met."""
    for _attempt in range(ACCEPT_ATTEMPTS):
        try:
            with statement(engine) as cursor:
                ACCEPT.run(cursor, parameters_of(requests, position_max_rows))
                return cursor.fetchall()
        except (*TRY_AGAIN, ForeignKeyViolation) as error:
            # Rolled back whole, because of others: two retry storms that cross, a changed sale, a
            # ticket type that was deleted after we saw it and is unknown when we look again.
            logger.warning("accept_retried", rows=len(requests), error=str(error))
        except DATABASE_UNAVAILABLE as error:
            logger.warning("accept_unavailable", rows=len(requests), error=str(error))
            break
        except psycopg2.Error:
            # Rolled back whole. Whatever is wrong with one request must not fail its neighbours.
            if len(requests) == 1:
                logger.exception("accept_failed", purchase=requests[0].id)
                return [ServerError()]
            return [row for r in requests for row in _insert(engine, [r], position_max_rows)]
    return [Unavailable() for _ in requests]


def _verdict(
    request: PurchaseRequest, row: Row, taken: dict[int, int], position_max_rows: int
) -> Verdict | None:
    """What a row of the statement says; None when another statement holds the key just now."""
    code, earlier_id, event_id, price, total, created_at, seq, queued, last_seq, *sale = row
    if code is not None:
        max_per_purchase, sales_start = sale
        return refusal(
            code,
            ticket_type_id=request.ticket_type_id,
            max_per_purchase=max_per_purchase,
            sales_start=sales_start,
        )
    if earlier_id is not None:
        return Replayed(earlier_id)
    if seq is None:
        return None
    ahead_in_batch = taken.get(request.ticket_type_id, 0)
    taken[request.ticket_type_id] = ahead_in_batch + 1
    if queued < position_max_rows:
        position = queued + ahead_in_batch
    else:
        position = _position_beyond(queued, last_seq, seq)
    return Accepted(event_id, price, total, created_at, position)


def read(engine: Engine, ids: Sequence[str], *, position_max_rows: int) -> dict[str, Found]:
    """The purchases with these ids; positions are exact up to `position_max_rows`.

    Raises:
        DATABASE_UNAVAILABLE: nothing was read.
    """
    with statement(engine) as cursor:
        READ.run(cursor, {"ids": array_literal(ids)})
        found = _all_found(cursor, position_max_rows)
    return {row.purchase.id: row for row in found}


def list_of_user(
    engine: Engine,
    wanted: Filter,
    offset_of: Callable[[int], int],
    rows: int,
    *,
    position_max_rows: int,
) -> tuple[int, list[Found]]:
    """How many purchases of a user there are, and one page of them, newest first.

    Args:
        engine: connections to PostgreSQL.
        wanted: whose, and which.
        offset_of: gives, for the count, how many to leave out before the page.
        rows: the most of a page.
        position_max_rows: up to which positions are exact.

    Raises:
        DATABASE_UNAVAILABLE: nothing was read.
    """
    parameters = msgspec.structs.asdict(wanted)
    with statement(engine) as cursor:
        cursor.execute(COUNT_OF_USER, parameters)
        row = cursor.fetchone()
        count = int(row[0]) if row else 0
        cursor.execute(LIST_OF_USER, parameters | {"rows": rows, "offset": offset_of(count)})
        return count, _all_found(cursor, position_max_rows)


def _all_found(cursor: cursor, position_max_rows: int) -> list[Found]:
    rows = cursor.fetchall()
    queued_types = {row[3] for row in rows if row[8] == QUEUED}
    heads = _heads_of_queues(cursor, queued_types, position_max_rows)
    return [_found(row, heads) for row in rows]


def _heads_of_queues(
    cursor: cursor, ticket_type_ids: Iterable[int], rows: int
) -> dict[int, list[int]]:
    """The oldest sequence numbers of each queue: one short index scan serves a batch of polls."""
    heads = {}
    for ticket_type_id in ticket_type_ids:
        HEAD_OF_QUEUE.run(cursor, {"ticket_type_id": ticket_type_id, "rows": rows})
        (heads[ticket_type_id],) = cursor.fetchone() or ([],)
    return heads


def _found(row: Row, heads: dict[int, list[int]]) -> Found:
    id_, user_id, seq, ticket_type_id, event_id, quantity, price, total, status, *outcome = row
    reason, created_at, decided_at = outcome
    purchase = Purchase(
        id=id_,
        ticket_type=ticket_type_id,
        event=event_id,
        quantity=quantity,
        unit_price=price,
        total_price=total,
        status=status,
        reason=reason,
        created_at=created_at,
        decided_at=decided_at,
    )
    position = position_in(heads[ticket_type_id], seq) if status == QUEUED else None
    return Found(user_id, purchase, position)


def position_in(head: Sequence[int], seq: int) -> int:
    """Requests ahead of `seq`, given the oldest sequence numbers of its queue."""
    if not head or seq <= head[-1]:
        return bisect_left(head, seq)
    return _position_beyond(len(head), head[-1], seq)


def _position_beyond(head_rows: int, last_seq: int, seq: int) -> int:
    """An estimate from above: sequence numbers are shared by all queues, and some are skipped."""
    return head_rows + seq - last_seq - 1


def decided_among(engine: Engine, ids: Sequence[str]) -> list[str]:
    """Which of these purchases are decided by now."""
    with statement(engine) as cursor:
        cursor.execute(DECIDED_AMONG, {"ids": list(ids)})
        return [row[0] for row in cursor.fetchall()]


def queued_now(engine: Engine, at_most: int) -> tuple[int, float]:
    """How many purchases are queued in the whole system, counted up to a limit.

    And for how many seconds the oldest of them has been.
    """
    with statement(engine) as cursor:
        cursor.execute(QUEUED_NOW, {"rows": at_most})
        ((queued, oldest_seconds),) = cursor.fetchall()
    return queued, max(0.0, oldest_seconds)
