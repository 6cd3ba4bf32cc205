"""Explains one purchase from its rows: what was requested, how it was decided and why.

`read_facts` reads the rows as of one moment; `explanation` turns them into sentences and is pure.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
from sqlalchemy import Engine, text

from purchase_worker.decision import NOT_ENOUGH_TICKETS, OVER_USER_LIMIT
from shared.purchases import CONFIRMED, QUEUED

# A healthy system decides within this; the sweeper needs about a second for a lost wake-up.
USUAL_WAIT = timedelta(seconds=2)
# The names of their sessions in pg_stat_activity, which any login may see.
DECIDERS = ["eventify-worker", "eventify-sweeper"]

# Changes of capacity are entries of the ledger, but no decisions.
READ_FACTS = text("""
SELECT r.id, coalesce(e.kind::text, 'queued') AS status, e.reason::text, r.user_id, r.event_id,
       v.title AS event, r.currency, r.event_user_limit, r.created_at, r.request_id,
       e.number, b.first_number, b.last_number, b.at AS decided_at, b.decided_by, now() AS read_at,
       (SELECT count(*) FROM requests WHERE event_id = r.event_id AND kind = 'buy'
           AND seq < r.seq) AS accepted_before,
       (SELECT count(*) FROM work_list WHERE event_id = r.event_id
           AND (class = 0 OR seq < r.seq)) AS queued_before,
       (SELECT at FROM batches WHERE event_id = r.event_id AND first_number <= (
           SELECT number FROM ledger
           WHERE event_id = r.event_id AND kind IN ('confirmed', 'rejected')
           ORDER BY number DESC LIMIT 1)
        ORDER BY first_number DESC LIMIT 1) AS last_decided_at,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
           AND application_name = ANY(:deciders)) AS deciders
FROM requests r
LEFT JOIN events v ON v.id = r.event_id
LEFT JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id
LEFT JOIN batches b ON b.event_id = r.event_id AND e.number BETWEEN b.first_number AND b.last_number
WHERE r.id = :id AND r.kind = 'buy'
""")
READ_LINES = text("""
WITH request AS (
    SELECT r.*, e.number, e.change, e.left_after, e.items AS changes
    FROM requests r LEFT JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id
    WHERE r.id = :id
), line AS (
    SELECT 1 AS nth, ticket_type_id, quantity, unit_price, user_limit, change, left_after
    FROM request WHERE items IS NULL
    UNION ALL
    SELECT nth, (item->>'ticket_type')::bigint, (item->>'quantity')::int,
           (item->>'unit_price')::numeric, (item->>'user_limit')::int,
           (changes->(nth::int - 1)->>'change')::int, (changes->(nth::int - 1)->>'left_after')::int
    FROM request, jsonb_array_elements(items) WITH ORDINALITY AS i (item, nth)
), held AS (
    SELECT coalesce((item->>'ticket_type')::bigint, r.ticket_type_id) AS ticket_type_id,
           sum(coalesce((item->>'quantity')::int, r.quantity))::bigint AS quantity
    FROM request
    JOIN requests r ON r.event_id = request.event_id AND r.user_id = request.user_id
    JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id AND e.kind = 'confirmed'
         AND (request.number IS NULL OR e.number < request.number)
    LEFT JOIN jsonb_array_elements(r.items) item ON true
    GROUP BY 1
)
SELECT line.ticket_type_id, t.name AS ticket_type, line.quantity, line.unit_price, line.user_limit,
       line.change, line.left_after, coalesce(held.quantity, 0) AS held_before,
       (SELECT coalesce(sum(quantity), 0)::bigint FROM held) AS held_of_event,
       t.sales_start, t.sales_end, t.paused_at, c.issued - c.sold AS left_now
FROM line
LEFT JOIN ticket_types t ON t.id = line.ticket_type_id
LEFT JOIN counters c ON c.ticket_type_id = line.ticket_type_id AND c.event_id = t.event_id
LEFT JOIN held ON held.ticket_type_id = line.ticket_type_id
ORDER BY line.nth
""")
# The worker's login, which `eventify` has inside a worker's container, may not read names.
READ_USERNAME = text("SELECT username FROM users WHERE id = :id")
MAY_READ_USERNAME = text("SELECT has_column_privilege('users', 'username', 'SELECT')")


class LineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a purchase.

    Names and figures of the ticket type are those of now; None where its row is missing. `change`
    and `left_after` are None while the purchase is queued.
    """

    ticket_type_id: int
    ticket_type: str | None
    quantity: int
    unit_price: Decimal
    user_limit: int | None
    change: int | None
    left_after: int | None
    # Confirmed tickets that the buyer held before the decision, of this type and of all types of
    # the event; if queued, now.
    held_before: int
    held_of_event: int
    sales_start: datetime | None
    sales_end: datetime | None
    paused_at: datetime | None
    left_now: int | None

    @property
    def left_before(self) -> int:
        """Tickets left just before the decision."""
        assert self.left_after is not None, "only what is decided has it"
        return self.left_after - (self.change or 0)


class PurchaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows say about a purchase.

    The entry's number is None while the purchase is queued; the batch's are None also if none is
    recorded.
    """

    id: UUID
    status: str
    reason: str | None
    user_id: int
    username: str | None
    event_id: int
    event: str | None
    currency: str
    event_user_limit: int | None
    lines: list[LineFacts]
    created_at: datetime
    request_id: str | None
    number: int | None
    first_number: int | None
    last_number: int | None
    decided_at: datetime | None
    decided_by: str | None
    read_at: datetime
    accepted_before: int
    queued_before: int
    last_decided_at: datetime | None
    deciders: int

    def of(self, line: LineFacts) -> str:
        """Names the line's ticket type where there are several."""
        return "" if len(self.lines) == 1 else f" of ticket type {line.ticket_type_id}"


def read_facts(engine: Engine, id_: UUID) -> PurchaseFacts | None:
    """Read a purchase and what belongs to it; None if there is no such purchase.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is unavailable, or may not be read.
    """
    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with reading.connect() as connection:
        # Counting what was accepted before may take a while where millions of rows are stored.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        row = connection.execute(READ_FACTS, {"id": id_, "deciders": DECIDERS}).mappings().first()
        if row is None:
            return None
        lines = [
            LineFacts(**line) for line in connection.execute(READ_LINES, {"id": id_}).mappings()
        ]
        username = None
        if connection.scalar(MAY_READ_USERNAME):
            username = connection.scalar(READ_USERNAME, {"id": row["user_id"]})
        return PurchaseFacts(username=username, lines=lines, **row)


def explanation(facts: PurchaseFacts) -> list[str]:
    """Sentences for a person: the outcome and why, the request, its decision, the logs."""
    status = f"{facts.status} ({facts.reason})" if facts.reason else facts.status
    if facts.status == QUEUED:
        why, more = _why_queued(facts), _queue(facts)
    else:
        why, more = _why_decided(facts), _decision(facts)
    return [f"Purchase {facts.id}: {status}.", why, *_request(facts), *more, _logs(facts)]


def _request(facts: PurchaseFacts) -> list[str]:
    wanted = " and ".join(
        f"{_tickets(line.quantity)} of ticket type {_named(line.ticket_type_id, line.ticket_type)}"
        for line in facts.lines
    )
    sentences = [
        (
            f"User {_named(facts.user_id, facts.username)} requested {wanted},"
            f" event {_named(facts.event_id, facts.event)}."
        )
    ]
    for line in facts.lines:
        limit = "no limit per user" if line.user_limit is None else f"{line.user_limit} per user"
        sentences.append(
            f"Terms at acceptance{facts.of(line)}: {line.unit_price} each,"
            f" {line.unit_price * line.quantity} {facts.currency} in total; {limit}."
        )
    if facts.event_user_limit is not None:
        sentences.append(
            f"Of all ticket types of the event together: {facts.event_user_limit} per user."
        )
    sentences.append(
        f"Accepted at {_time(facts.created_at)} as request {facts.accepted_before + 1:,} of"
        f" this event ({facts.accepted_before:,} before it)."
    )
    for line in facts.lines:
        window = " ".join(
            f"{word} {_time(moment)}"
            for word, moment in (("from", line.sales_start), ("until", line.sales_end))
            if moment is not None
        )
        sentences.append(
            f"Sale window now{facts.of(line)}, which is checked at acceptance only:"
            f" {window or 'no limits'}."
        )
    return sentences


def _decision(facts: PurchaseFacts) -> list[str]:
    assert facts.number is not None
    place = f"as entry {facts.number:,} of this event's ledger ({facts.number - 1:,} before it)"
    if facts.decided_at is None:
        decided = f"Decided {place}."
        by = "No batch is recorded for this decision, which breaks a promise: run `eventify audit`."
    else:
        delay = (facts.decided_at - facts.created_at).total_seconds()
        at = _time(facts.decided_at)
        decided = f"Decided at {at}, {delay:.3f} s after it was accepted, {place}."
        by = (
            f"Decided by process {facts.decided_by} (host:pid), in the batch of entries"
            f" {facts.first_number:,} to {facts.last_number:,}."
        )
    left = (
        f"{_tickets(line.left_before)}{facts.of(line)} left before the decision,"
        f" {line.left_after:,} after it."
        for line in facts.lines
    )
    return [decided, *left, *_held(facts), by]


def _why_decided(facts: PurchaseFacts) -> str:
    if facts.status == CONFIRMED:
        return "Confirmed: enough tickets were left, and the buyer stayed within the limits."
    if facts.reason == NOT_ENOUGH_TICKETS:
        short = " and ".join(
            f"{_tickets(line.quantity)}{facts.of(line)} with {line.left_before:,} left"
            for line in facts.lines
            if line.quantity > line.left_before
        )
        return f"Rejected because it requested {short}; a request is confirmed whole or not at all."
    if facts.reason == OVER_USER_LIMIT:
        return f"Rejected because {_over_limit(facts)}."
    return f"Rejected for a reason that this version does not know: {facts.reason}."


def _over_limit(facts: PurchaseFacts) -> str:
    for line in facts.lines:
        if line.user_limit is not None and line.held_before + line.quantity > line.user_limit:
            return _too_many(line.held_before, line.quantity, facts.of(line), line.user_limit)
    wanted = sum(line.quantity for line in facts.lines)
    of = " of all ticket types of this event"
    return _too_many(facts.lines[0].held_of_event, wanted, of, facts.event_user_limit)


def _too_many(held: int, wanted: int, of: str, limit: int | None) -> str:
    return (
        f"{held:,} held and {wanted:,} requested make {held + wanted:,}{of}, more than {limit} per"
        " user"
    )


def _why_queued(facts: PurchaseFacts) -> str:
    if facts.deciders == 0:
        return "No worker and no sweeper is connected to the database: start one."
    if facts.read_at - facts.created_at <= USUAL_WAIT:
        return "This is a usual wait: run the command again in a few seconds."
    if facts.last_decided_at is not None and facts.read_at - facts.last_decided_at <= USUAL_WAIT:
        return "The queue is moving: the requests ahead of this one explain the wait."
    return (
        "The queue is not moving. Another session may hold the lock of the event's lane, or a"
        " commit waits for a standby: see docs/operations.md, `A sale stands still`."
    )


def _queue(facts: PurchaseFacts) -> list[str]:
    waited = (facts.read_at - facts.created_at).total_seconds()
    sentences = [
        f"Queued for {waited:.1f} s; requests ahead of it in the queue: {facts.queued_before:,}.",
        *_held(facts),
    ]
    for line in facts.lines:
        if line.left_now is not None:
            sentences.append(f"{_tickets(line.left_now)}{facts.of(line)} left now.")
        if line.paused_at is not None:
            sentences.append(
                f"The sale{facts.of(line)} is paused since {_time(line.paused_at)}. A pause stops"
                " new requests only: this one is decided all the same."
            )
    if facts.last_decided_at is None:
        sentences.append("Nothing of this event has been decided yet.")
    else:
        ago = (facts.read_at - facts.last_decided_at).total_seconds()
        sentences.append(f"The last decision of this event was {ago:.1f} s ago.")
    return sentences


def _held(facts: PurchaseFacts) -> list[str]:
    """What the buyer had, where it counts: of each ticket type, and of the event if that limits."""
    holds, when = ("holds", "") if facts.status == QUEUED else ("held", " before the decision")
    held = [(line.held_before, facts.of(line) or " of this type") for line in facts.lines]
    if facts.event_user_limit is not None:
        held.append((facts.lines[0].held_of_event, " of all types of this event"))
    return [f"The buyer {holds} {_tickets(count)}{of}{when}." for count, of in held]


def _logs(facts: PurchaseFacts) -> str:
    """The fields are those of docs/logs.md."""
    request = (
        f'"{facts.request_id}" (its X-Request-ID)'
        if facts.request_id is not None
        else "nothing by request id: the row has none"
    )
    if facts.first_number is None:
        return f"In the logs, search for {request}."
    return (
        f"In the logs, search for {request}; the line of its batch is `batch_decided` with"
        f" event {facts.event_id} in `events` and [{facts.first_number}, {facts.last_number}] in"
        " `numbers`."
    )


def _named(id_: int | None, name: str | None) -> str:
    return f"{id_}" if name is None else f"{id_} ({name})"


def _tickets(count: int) -> str:
    return f"{count:,} ticket" if count == 1 else f"{count:,} tickets"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
