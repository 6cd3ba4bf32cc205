"""The SQL that accepts a batch of purchase requests durably."""

import time
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import msgspec
import psycopg2
from psycopg2.errors import ForeignKeyViolation, LockNotAvailable
from sqlalchemy import Engine

from gateway.purchases.accept import (
    Accepted,
    Holds,
    LineRefusal,
    PurchaseRequest,
    Replayed,
    Verdict,
    problem_of,
    problem_of_request,
)
from gateway.purchases.read import QUEUE, position_beyond
from shared.database.confirmed_commit import WRITES_TO_LOG
from shared.database.engine import DATABASE_UNAVAILABLE, TRY_AGAIN, statement
from shared.database.prepared_statement import Prepared, array_literal, plain_array
from shared.errors import Problem, ServerError, Unavailable
from shared.observability.logging import get_logger
from shared.purchases import HAS_END, StoredItem, as_time

SEQ_MAX = 2**63 - 1

# What a line needs to be accepted, each looked up by its key (OFFSET 0): a plan that reads a whole
# table would do while the table is small.
LOOK_UP = """
    LEFT JOIN LATERAL (SELECT * FROM ticket_types WHERE id = {ticket_type} OFFSET 0) t ON true
    LEFT JOIN LATERAL (SELECT end_time, currency, max_per_user, owner_id FROM events
                       WHERE id = t.event_id OFFSET 0) e ON true
    LEFT JOIN LATERAL (SELECT issued - held - sold AS remaining, held FROM counters
                       WHERE event_id = t.event_id AND ticket_type_id = t.id OFFSET 0) c ON true
"""
REFUSAL = """
    CASE WHEN t.id IS NULL THEN 'unknown_ticket_type'
         WHEN {quantity} > t.max_per_purchase THEN 'over_purchase_limit'
         WHEN least(t.sales_end, e.end_time) <= now() THEN 'sale_closed'
         WHEN t.sales_start > now() THEN 'sale_not_open'
         WHEN t.paused_at IS NOT NULL THEN 'sale_paused'
         WHEN c.remaining = 0 THEN 'not_enough_tickets' END
"""
# The `CheckedLine` of a line.
CHECKED = """
    jsonb_build_object('ticket_type', {ticket_type}, 'quantity', {quantity}, 'event', t.event_id,
                       'refusal', {refusal}, 'max_per_purchase', t.max_per_purchase,
                       'sales_start', t.sales_start, 'left', c.remaining, 'held', c.held)
"""
NOT_REFUSED = "v.refusal IS NULL AND v.earlier_id IS NULL"
# Not for the event's owner.
OF_ANOTHER = "(v.user_id <> v.owner_id OR v.buyer IS NOT NULL)"
# Of those that would be held: when the last of the holds that their buyer may let expire in an hour
# expired, if so many have. Columns are compared one by one: of a comparison of rows, the planner
# would take any index that begins with the user, and read all that this user ever asked for. The
# age is looked at afterwards: a search for young ones would read all the old. What is of the future
# expired by a clock that was ahead.
LAPSED = f"""
    SELECT v.nth, last.at
    FROM verdict v
    CROSS JOIN LATERAL (
        SELECT created_at AS at FROM requests x
        WHERE kind = 'expire'
            AND user_id = v.user_id AND buyer = coalesce(v.buyer, '') AND event_id = v.event_id
            AND EXISTS (SELECT FROM ledger WHERE event_id = x.event_id AND command_id = x.id
                            AND kind = 'expired' OFFSET 0)
        ORDER BY seq DESC
        LIMIT 1 OFFSET %(expired_holds_max)s - 1
    ) last
    WHERE last.at > now() - interval '1 hour' AND last.at <= now()
        AND v.hold_seconds IS NOT NULL AND {NOT_REFUSED} AND {OF_ANOTHER}
"""
# Of those with a limit for each user: whose buyer has as many requests of the event as the limit,
# and this many more. What a buyer owns is read from all his requests while the lane is locked
# (`READ_OWNED`), those that came to nothing as well: so there is an end to them, of 0.1 s, also
# where the limit is larger. An owner's own requests are also what confirms, cancels and issues: he
# may have as many, whatever the limit. Rows are compared so that no other index will do, whatever
# was known of the tables when the plan was made: one alone begins with the event.
VAIN_MAX = 500
LIMIT_READ_MAX = 10_000
EXHAUSTED = f"""
    SELECT v.nth
    FROM verdict v
    CROSS JOIN LATERAL (
        SELECT greatest(v.user_limit, v.event_user_limit, CASE WHEN v.items IS NOT NULL THEN (
            SELECT max((item->>'user_limit')::int) FROM jsonb_array_elements(v.items) item) END)
        OFFSET 0
    ) most (tickets)
    CROSS JOIN LATERAL (
        SELECT FROM requests
        WHERE (event_id, user_id, buyer, seq) > (v.event_id, v.user_id, coalesce(v.buyer, ''), 0)
            AND (event_id, user_id, buyer, seq)
                < (v.event_id, v.user_id, coalesce(v.buyer, ''), {SEQ_MAX})
        ORDER BY event_id, user_id, buyer, seq
        LIMIT 1 OFFSET {VAIN_MAX} - 1 + CASE WHEN {OF_ANOTHER}
            THEN least(most.tickets, {LIMIT_READ_MAX}) ELSE {LIMIT_READ_MAX} END
    ) last
    WHERE most.tickets IS NOT NULL AND {NOT_REFUSED}
"""
# Whether a request that is no command has the key (shared/database/once.py).
KEY_TAKEN = "(SELECT true FROM idempotency_keys WHERE user_id = {user_id} AND key = {key})"
ONE = {"ticket_type": "r.ticket_type_id", "quantity": "r.quantity"}
EACH = {"ticket_type": "(item->>0)::bigint", "quantity": "(item->>1)::int"}

# Each request as it is accepted or refused; of a cart, what is not of its lines.
LOOKED_UP = f"""
    SELECT r.*, earlier.id AS earlier_id, coalesce(earlier.event_id, t.event_id) AS event_id,
        t.price, t.max_per_user AS user_limit, e.max_per_user AS event_user_limit, e.currency,
        CASE
            WHEN earlier.fingerprint <> r.fingerprint THEN 'key_reused'
            WHEN earlier.id IS NOT NULL THEN NULL
            WHEN {KEY_TAKEN.format(user_id="r.user_id", key="r.idempotency_key")} THEN 'key_reused'
            WHEN u.id IS NULL THEN 'unknown_user'
            WHEN r.cart IS NULL AND r.buyer IS NOT NULL AND e.owner_id <> r.user_id
            THEN 'not_your_event'
            WHEN r.cart IS NULL THEN {REFUSAL.format(**ONE)}
        END AS refusal,
        NULL::jsonb AS items, NULL::jsonb AS checked, t.max_per_purchase, t.sales_start,
        c.remaining, pg_current_xact_id() AS xid, t.hold_seconds, c.held, e.owner_id
    FROM request r
    LEFT JOIN LATERAL (SELECT id FROM users WHERE id = r.user_id AND erased_at IS NULL OFFSET 0
                      ) u ON true
    {LOOK_UP.format(**ONE)}
    LEFT JOIN LATERAL (SELECT id, event_id, fingerprint FROM requests
                       WHERE user_id = r.user_id AND idempotency_key = r.idempotency_key
                       OFFSET 0) earlier ON true
"""
WITH_CARTS = f"""
    SELECT * FROM looked_up WHERE cart IS NULL OR earlier_id IS NOT NULL OR refusal IS NOT NULL
    UNION ALL
    SELECT l.id, l.user_id, NULL, NULL, NULL, l.idempotency_key, l.fingerprint, l.request_id,
        l.traceparent, l.buyer, l.nth, NULL, cart.event_id, NULL, NULL, cart.event_user_limit,
        cart.currency, coalesce(
            CASE WHEN l.buyer IS NOT NULL AND cart.owner_id <> l.user_id
                 THEN 'not_your_event' END,
            cart.refusal),
        cart.items, cart.checked, NULL, NULL, NULL, l.xid, cart.hold_seconds, cart.held,
        cart.owner_id
    FROM looked_up l
    CROSS JOIN LATERAL (
        SELECT min(t.event_id) AS event_id, min(e.max_per_user) AS event_user_limit,
            min(e.currency) AS currency, min(e.owner_id) AS owner_id,
            min(t.hold_seconds) AS hold_seconds, max(c.held) AS held, jsonb_agg(jsonb_build_object(
                'ticket_type', t.id, 'quantity', {EACH["quantity"]}, 'unit_price', t.price::text,
                'user_limit', t.max_per_user) ORDER BY line) AS items,
            CASE WHEN min(t.event_id) <> max(t.event_id) OR count({REFUSAL.format(**EACH)}) > 0
                 THEN 'cart' END AS refusal,
            jsonb_agg({CHECKED.format(**EACH, refusal=REFUSAL.format(**EACH))} ORDER BY line)
                AS checked
        FROM jsonb_array_elements(l.cart) WITH ORDINALITY AS i (item, line)
        {LOOK_UP.format(**EACH)}
    ) cart
    WHERE l.cart IS NOT NULL AND l.earlier_id IS NULL AND l.refusal IS NULL
"""


def accept_statement(verdict: str) -> str:
    """One statement for a whole batch: its verdicts, its rows and its view of the sale are of one
    moment.

    An earlier purchase with the same key outranks every refusal: it is answered as it stands. The
    tables come in the order in which a migration locks them, so that neither waits for what the
    other holds. A trigger adds the requests to the work list (migration 0012). The transaction has
    its id before a purchase has its seq: so none is accepted below a lane's `done_seq`
    (docs/decisions/0021). A line of a cart is `[ticket type, quantity]` here.

    Args:
        verdict: the common table expression `verdict`, with those that it needs.
    """
    return f"""
WITH request AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(user_ids)s::bigint[], %(ticket_type_ids)s::bigint[],
        %(quantities)s::int[], %(carts)s::jsonb[], %(keys)s::text[], %(fingerprints)s::bytea[],
        %(request_ids)s::text[], %(traceparents)s::text[], %(buyers)s::text[])
    WITH ORDINALITY AS r (id, user_id, ticket_type_id, quantity, cart, idempotency_key,
                          fingerprint, request_id, traceparent, buyer, nth)
), {verdict}, lapsed AS MATERIALIZED ({LAPSED}), exhausted AS MATERIALIZED ({EXHAUSTED}), ahead AS (
    SELECT wanted.event_id, head.queued, head.last_seq
    FROM (SELECT DISTINCT event_id FROM verdict) wanted
    CROSS JOIN LATERAL (
        SELECT count(*) AS queued, max(seq) AS last_seq
        FROM ({QUEUE.format(event_id="wanted.event_id", rows="%(position_max_rows)s")}) oldest
    ) head
), accepted AS (
    INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, user_limit,
                          event_user_limit, unit_price, currency, items, idempotency_key,
                          fingerprint, request_id, traceparent, accepted_xid, hold_seconds, buyer)
    SELECT id, event_id, user_id, ticket_type_id, quantity, user_limit, event_user_limit, price,
           currency, items, idempotency_key, fingerprint, request_id, traceparent, xid,
           hold_seconds, coalesce(buyer, '')
    FROM verdict
    WHERE refusal IS NULL AND earlier_id IS NULL
        AND nth NOT IN (SELECT nth FROM lapsed UNION ALL SELECT nth FROM exhausted)
    ORDER BY nth
    ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, seq
)
SELECT coalesce(v.refusal, CASE WHEN lapsed.at IS NOT NULL THEN 'too_many_expired_holds'
                               WHEN exhausted.nth IS NOT NULL THEN 'over_user_limit' END),
       v.earlier_id::text, v.event_id, v.price::text, v.items::text, v.currency,
       (SELECT {as_time("now()")}), a.seq, ahead.queued, ahead.last_seq,
       CASE WHEN v.refusal = 'cart' THEN v.checked::text END,
       v.max_per_purchase, v.sales_start, v.remaining, v.held,
       CASE WHEN v.refusal IS NOT NULL AND v.held > 0 THEN (
           SELECT extract(epoch FROM ends_at - now())::float8 + (
               SELECT extended_seconds FROM lanes WHERE event_id = v.event_id)
           FROM holds WHERE event_id = v.event_id AND {HAS_END} ORDER BY ends_at LIMIT 1) END,
       extract(epoch FROM lapsed.at + interval '1 hour' - now())::float8
FROM verdict v
LEFT JOIN accepted a ON a.id = v.id
LEFT JOIN lapsed ON lapsed.nth = v.nth
LEFT JOIN exhausted ON exhausted.nth = v.nth
LEFT JOIN ahead ON ahead.event_id = v.event_id
WHERE v.earlier_id IS NULL OR {WRITES_TO_LOG}
ORDER BY v.nth
"""


ACCEPT = Prepared("accept", accept_statement(f"verdict AS MATERIALIZED ({LOOKED_UP})"))
# Of a batch with a cart; one without pays nothing for them.
ACCEPT_CARTS = Prepared(
    "accept_carts",
    accept_statement(
        f"looked_up AS MATERIALIZED ({LOOKED_UP}), verdict AS MATERIALIZED ({WITH_CARTS})"
    ),
)

# Refusals that no line is the cause of.
OF_REQUEST = (
    *("unknown_user", "key_reused", "not_your_event"),
    *("too_many_expired_holds", "over_user_limit"),
)


class CheckedLine(msgspec.Struct, frozen=True):
    """A line of a cart as the statement checked it. `refusal`: why it is not accepted."""

    ticket_type: int
    quantity: int
    event: int | None
    refusal: str | None
    max_per_purchase: int | None
    sales_start: datetime | None
    left: int | None
    held: int | None


class SaleColumns(NamedTuple):
    """The last columns of the accept statement: the sale of a request that was refused.

    The first four are those of a single line.
    """

    max_per_purchase: int | None
    sales_start: datetime | None
    left: int | None
    held: int | None
    hold_ends_in_seconds: float | None
    lapse_ends_in_seconds: float | None


# One row of the accept statement's answer.
Row = tuple[Any, ...]
Item = TypeVar("Item")
# A key that two statements insert at the same moment is visible to the next snapshot.
ACCEPT_ATTEMPTS = 3
# Before a ticket type that was locked is tried again: a pause locks it for a moment.
LOCKED_SECONDS = 0.02

_checked = msgspec.json.Decoder(list[CheckedLine])
_items = msgspec.json.Decoder(list[StoredItem])
logger = get_logger(__name__)


class Again(Enum):
    """Why a request is to be tried again."""

    SAME_KEY = "another statement inserts its key"
    LOCKED = "its ticket type is being deleted, moved or paused"


# Whether it is a cart, and a ticket type.
Kind = tuple[bool, int]


class Limits(msgspec.Struct, frozen=True):
    """Of the settings: up to which positions are exact, and how many holds may expire."""

    position_max_rows: int
    expired_holds_max: int


def accept(engine: Engine, requests: Sequence[PurchaseRequest], limits: Limits) -> list[Verdict]:
    """Store the requests durably and in order, or why not, for each; commits before it returns.

    `Unavailable`: the database is unavailable, or whether it committed is unknown. A retry with the
    same key finds out.
    """
    verdicts: dict[str, Verdict] = {}
    pending, locked = list(requests), False
    for _attempt in range(ACCEPT_ATTEMPTS):
        if locked:
            time.sleep(LOCKED_SECONDS)
        found = _insert(engine, pending, limits, set())
        for request, verdict in zip(pending, found, strict=True):
            if not isinstance(verdict, Again):
                verdicts[request.id] = verdict
        pending = [request for request in pending if request.id not in verdicts]
        if not pending:
            break
        locked = Again.LOCKED in found
    if locked:
        logger.warning("accept_locked", rows=len(pending))
    return [verdicts.get(request.id, Unavailable()) for request in requests]


def parameters_of(requests: Sequence[PurchaseRequest], limits: Limits) -> dict[str, Any]:
    """One array for each column."""
    lines = [r.lines[0] if len(r.lines) == 1 else None for r in requests]
    return {
        "ids": plain_array([r.id for r in requests]),
        "user_ids": plain_array([r.user_id for r in requests]),
        "ticket_type_ids": plain_array([i.ticket_type if i else "NULL" for i in lines]),
        "quantities": plain_array([i.quantity if i else "NULL" for i in lines]),
        "carts": _literal_or_empty(
            [
                None if len(r.lines) == 1 else str([[i.ticket_type, i.quantity] for i in r.lines])
                for r in requests
            ]
        ),
        "keys": array_literal([r.idempotency_key for r in requests]),
        "fingerprints": array_literal([r.fingerprint for r in requests]),
        "request_ids": array_literal([r.request_id for r in requests]),
        "traceparents": _literal_or_empty([r.traceparent for r in requests]),
        "buyers": _literal_or_empty([r.buyer or None for r in requests]),
        "position_max_rows": limits.position_max_rows,
        "expired_holds_max": limits.expired_holds_max,
    }


def _literal_or_empty(values: Sequence[str | None]) -> str:
    """An array that is too short is extended by nulls: so without carts, traces or buyers they cost
    nothing."""
    return array_literal(values) if any(values) else "{}"


def _insert(
    engine: Engine,
    requests: Sequence[PurchaseRequest],
    limits: Limits,
    locked: set[Kind],
) -> list[Verdict | Again]:
    """Run the statement: a verdict for each request.

    `locked`: what was found locked. Requests of these kinds are left out, and those that are found
    are added.
    """
    left_out = [not locked.isdisjoint(kinds_of(one)) for one in requests] if locked else []
    if any(left_out):
        free = [one for one, is_left_out in zip(requests, left_out, strict=True) if not is_left_out]
        found = iter(_insert(engine, free, limits, locked) if free else [])
        return [Again.LOCKED if is_left_out else next(found) for is_left_out in left_out]
    for _attempt in range(ACCEPT_ATTEMPTS):
        try:
            with statement(engine) as cursor:
                has_cart = any(len(request.lines) > 1 for request in requests)
                accept_batch = ACCEPT_CARTS if has_cart else ACCEPT
                accept_batch.run(cursor, parameters_of(requests, limits))
                rows = cursor.fetchall()
        except (*TRY_AGAIN, ForeignKeyViolation) as error:
            if _is_locked(error):
                kinds, *others = set(map(kinds_of, requests))
                if others:
                    return _insert_halves(engine, requests, limits, locked)
                locked |= kinds
                return [Again.LOCKED for _ in requests]
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
            return _insert_halves(engine, requests, limits, locked)
        else:
            return _verdicts(requests, rows, limits.position_max_rows)
    return [Unavailable() for _ in requests]


def _insert_halves(
    engine: Engine,
    requests: Sequence[PurchaseRequest],
    limits: Limits,
    locked: set[Kind],
) -> list[Verdict | Again]:
    return [
        verdict for half in halves(requests) for verdict in _insert(engine, half, limits, locked)
    ]


def kinds_of(request: PurchaseRequest) -> frozenset[Kind]:
    """Any ticket type of a cart may be the locked one, so other carts with one of them are left out
    as well; purchases of one ticket type are not.
    """
    is_cart = len(request.lines) > 1
    return frozenset((is_cart, line.ticket_type) for line in request.lines)


def _is_locked(error: psycopg2.Error) -> bool:
    """Whether a row was locked and not waited for; a wait that took too long has the same code."""
    return isinstance(error, LockNotAvailable) and error.diag.source_function != "ProcessInterrupts"


def halves(batch: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    """Of a batch that failed, so that one bad row costs two statements for each halving."""
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]


def _verdicts(
    requests: Sequence[PurchaseRequest], rows: Sequence[Row], position_max_rows: int
) -> list[Verdict | Again]:
    accepted: dict[int, int] = {}
    return [
        _verdict(request, row, accepted, position_max_rows)
        for request, row in zip(requests, rows, strict=True)
    ]


def _verdict(
    request: PurchaseRequest, row: Row, accepted: dict[int, int], position_max_rows: int
) -> Verdict | Again:
    """The verdict of a row.

    `accepted`: the requests of this statement so far, by event.
    """
    (refusal, earlier_id, event_id, price, items, currency, created_at, seq, queued, last_seq) = (
        row[:10]
    )
    if refusal is not None:
        sale = SaleColumns(*row[11:])
        return _problem(request, refusal, datetime.fromisoformat(created_at), row[10], sale)
    if earlier_id is not None:
        return Replayed(earlier_id, event_id)
    if seq is None:
        return Again.SAME_KEY
    ahead_in_batch = accepted.get(event_id, 0)
    accepted[event_id] = ahead_in_batch + 1
    if queued < position_max_rows:
        position = queued + ahead_in_batch
    else:
        position = position_beyond(queued, last_seq, seq)
    prices = (price,) if items is None else _unit_prices(items)
    return Accepted(event_id, prices, currency, created_at, position)


def _problem(
    request: PurchaseRequest, refusal: str, now: datetime, checked: str | None, sale: SaleColumns
) -> Problem:
    if refusal in OF_REQUEST:
        return problem_of_request(refusal, sale.lapse_ends_in_seconds)
    if checked is not None:
        lines = _checked.decode(checked)
    else:
        (wanted,) = request.lines
        lines = [CheckedLine(wanted.ticket_type, wanted.quantity, None, refusal, *sale[:4])]
    would_fit = all(line.quantity <= (line.left or 0) + (line.held or 0) for line in lines)
    return problem_of(
        _refusals(lines),
        now,
        as_items=checked is not None or request.as_items,
        holds=Holds(would_fit, sale.hold_ends_in_seconds),
    )


def _refusals(lines: Sequence[CheckedLine]) -> list[LineRefusal]:
    """Of a cart: also the lines of another event than the first line whose event is known, and all
    that do not fit what is left."""
    event = next((line.event for line in lines if line.event is not None), None)
    return [
        LineRefusal(
            nth,
            code,
            line.ticket_type,
            line.quantity,
            line.max_per_purchase,
            line.sales_start,
            line.left,
        )
        for nth, line in enumerate(lines)
        for code in (
            "other_event" if line.event not in (event, None) else None,
            line.refusal or ("not_enough_tickets" if line.quantity > (line.left or 0) else None),
        )
        if code is not None
    ]


def _unit_prices(items: str) -> tuple[str, ...]:
    return tuple(item.unit_price for item in _items.decode(items))
