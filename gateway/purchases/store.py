"""The SQL that accepts a batch of purchase requests durably."""

from collections.abc import Sequence
from typing import Any

import psycopg2
from psycopg2.errors import ForeignKeyViolation
from sqlalchemy import Engine

from gateway.purchases.accept import Accepted, PurchaseRequest, Replayed, Verdict, problem_of
from gateway.purchases.read import WRITES_TO_LOG, position_beyond
from shared.database.engine import DATABASE_UNAVAILABLE, TRY_AGAIN, statement
from shared.database.prepared_statement import Prepared, array_literal
from shared.errors import Problem, ServerError, Unavailable
from shared.observability.logging import get_logger
from shared.purchases import as_time

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
WHERE v.earlier_id IS NULL OR {WRITES_TO_LOG}
ORDER BY v.nth
""",
)

# One row of the accept statement's answer.
Row = tuple[Any, ...]
# A key that two statements insert at the same moment is visible to the next snapshot.
ACCEPT_ATTEMPTS = 3

logger = get_logger(__name__)


def accept(
    engine: Engine, requests: Sequence[PurchaseRequest], *, position_max_rows: int
) -> list[Verdict]:
    """Store the requests durably and in order, or why not, for each; commits before it returns.

    `Unavailable`: the database is unavailable, or whether it committed is unknown. A retry with the
    same key finds out.
    """
    verdicts: dict[str, Verdict] = {}
    pending = list(requests)
    for _attempt in range(ACCEPT_ATTEMPTS):
        accepted: dict[int, int] = {}
        for request, row in zip(pending, _insert(engine, pending, position_max_rows), strict=True):
            verdict = (
                row
                if isinstance(row, Problem)
                else _verdict(request, row, accepted, position_max_rows)
            )
            if verdict is not None:
                verdicts[request.id] = verdict
        pending = [request for request in pending if request.id not in verdicts]
        if not pending:
            break
    return [verdicts.get(request.id, Unavailable()) for request in requests]


def parameters_of(requests: Sequence[PurchaseRequest], position_max_rows: int) -> dict[str, Any]:
    """One array for each column."""
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
    """An array that is too short is extended by nulls: so without traces it costs nothing."""
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
            # Rolled back, because of others: two retry storms that cross, a changed sale, a ticket
            # type that was deleted after the snapshot and is unknown in the next one.
            logger.warning("accept_retried", rows=len(requests), error=str(error))
        except DATABASE_UNAVAILABLE as error:
            logger.warning("accept_unavailable", rows=len(requests), error=str(error))
            break
        except psycopg2.Error:
            # Rolled back. What is wrong with one request must not fail the others.
            if len(requests) == 1:
                logger.exception("accept_failed", purchase=requests[0].id)
                return [ServerError()]
            return [row for r in requests for row in _insert(engine, [r], position_max_rows)]
    return [Unavailable() for _ in requests]


def _verdict(
    request: PurchaseRequest, row: Row, accepted: dict[int, int], position_max_rows: int
) -> Verdict | None:
    """The verdict of a row; None while another statement inserts the same key.

    `accepted`: the requests of this batch so far, by ticket type.
    """
    code, earlier_id, event_id, price, total, created_at, seq, queued, last_seq, *sale = row
    if code is not None:
        max_per_purchase, sales_start = sale
        return problem_of(
            code,
            ticket_type_id=request.ticket_type_id,
            max_per_purchase=max_per_purchase,
            sales_start=sales_start,
        )
    if earlier_id is not None:
        return Replayed(earlier_id)
    if seq is None:
        return None
    ahead_in_batch = accepted.get(request.ticket_type_id, 0)
    accepted[request.ticket_type_id] = ahead_in_batch + 1
    if queued < position_max_rows:
        position = queued + ahead_in_batch
    else:
        position = position_beyond(queued, last_seq, seq)
    return Accepted(event_id, price, total, created_at, position)
