"""Explains one purchase from its rows: what was requested, how it was decided and why.

`read_facts` reads the rows as of one moment; `explanation` turns them into sentences and is pure.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
from sqlalchemy import Engine, text

from purchase_worker.decision import ALL_HELD, EXTENDED, NOT_ENOUGH_TICKETS, OVER_USER_LIMIT
from shared.database.session_settings import WITHOUT_TRANSACTION_TIMEOUT
from shared.purchases import CANCELLED, CONFIRMED, EXPIRED, HELD, QUEUED, RELEASED

# A healthy system decides within this; the sweeper needs about a second for a lost wake-up.
USUAL_WAIT = timedelta(seconds=2)
# The names of their sessions in pg_stat_activity, which any login may see.
DECIDERS = ["eventify-worker", "eventify-sweeper"]

# Changes of capacity are entries of the ledger, but no decisions.
READ_FACTS = text("""
SELECT r.id, coalesce(e.kind::text, 'queued') AS decision, e.reason::text, r.user_id, r.buyer,
       r.event_id, v.title AS event, r.currency, r.event_user_limit, r.hold_seconds, r.created_at,
       r.request_id, h.ends_at + make_interval(secs => l.extended_seconds) AS held_until,
       e.number, b.first_number, b.last_number, b.at AS decided_at, b.decided_by, now() AS read_at,
       (SELECT count(*) FROM requests WHERE event_id = r.event_id AND kind = 'buy'
           AND seq < r.seq) AS accepted_before,
       (SELECT count(*) FROM work_list WHERE event_id = r.event_id
           AND (class = 0 OR seq < r.seq)) AS queued_before,
       (SELECT at FROM batches WHERE event_id = r.event_id AND first_number <= (
           SELECT number FROM ledger
           WHERE event_id = r.event_id AND kind IN ('confirmed', 'held', 'rejected')
             AND purchase_id IS NULL
           ORDER BY number DESC LIMIT 1)
        ORDER BY first_number DESC LIMIT 1) AS last_decided_at,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
           AND application_name = ANY(:deciders)) AS deciders
FROM requests r
LEFT JOIN events v ON v.id = r.event_id
LEFT JOIN lanes l ON l.event_id = r.event_id
LEFT JOIN holds h ON h.event_id = r.event_id AND h.purchase_id = r.id
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
), owned AS (
    SELECT line.ticket_type_id, sum(line.quantity)::bigint AS quantity
    FROM request
    JOIN requests r ON r.event_id = request.event_id AND r.user_id = request.user_id
         AND r.buyer = request.buyer AND r.kind = 'buy'
    JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id
         AND e.kind IN ('confirmed', 'held')
         AND (request.number IS NULL OR e.number < request.number)
    CROSS JOIN LATERAL (
        SELECT r.ticket_type_id, r.quantity WHERE r.items IS NULL
        UNION ALL
        SELECT (item->>'ticket_type')::bigint, (item->>'quantity')::int
        FROM jsonb_array_elements(r.items) item
        UNION ALL
        SELECT (item->>'ticket_type')::bigint, -(item->>'quantity')::int
        FROM ledger back, jsonb_array_elements(back.items) item
        WHERE back.event_id = r.event_id AND back.purchase_id = r.id AND back.kind <> 'confirmed'
          AND (request.number IS NULL OR back.number < request.number)) line
    GROUP BY line.ticket_type_id
)
SELECT line.ticket_type_id, t.name AS ticket_type, line.quantity, line.unit_price, line.user_limit,
       line.change, line.left_after, coalesce(owned.quantity, 0) AS owned_before,
       (SELECT coalesce(sum(quantity), 0)::bigint FROM owned) AS owned_of_event,
       t.sales_start, t.sales_end, t.paused_at, c.issued - c.held - c.sold AS left_now
FROM line
LEFT JOIN ticket_types t ON t.id = line.ticket_type_id
LEFT JOIN counters c ON c.ticket_type_id = line.ticket_type_id AND c.event_id = t.event_id
LEFT JOIN owned ON owned.ticket_type_id = line.ticket_type_id
ORDER BY line.nth
""")
# Its own entries, and the extensions that its hold had.
READ_LATER = text("""
WITH purchase AS (
    SELECT r.id, r.event_id, answer.number, answer.kind FROM requests r
    JOIN ledger answer ON answer.event_id = r.event_id AND answer.command_id = r.id
    WHERE r.id = :id
), own AS (
    SELECT e.number, e.command_id, e.kind, e.items FROM purchase p
    JOIN ledger e ON e.event_id = p.event_id AND e.purchase_id = p.id
), extension AS (
    SELECT e.number, e.command_id, e.kind, e.items FROM purchase p
    JOIN ledger e ON e.event_id = p.event_id AND e.number > p.number AND e.kind = 'extended'
    WHERE p.kind = 'held' AND NOT EXISTS (SELECT FROM own WHERE number < e.number)
)
SELECT e.number, e.kind::text, b.at, c.payment_reference, c.restock, c.note,
       CASE WHEN c.kind <> 'expire' THEN c.user_id END AS asked_by, c.request_id,
       c.hold_seconds AS extended_seconds,
       ARRAY(SELECT ARRAY[(item->>'ticket_type')::bigint, (item->>'quantity')::bigint]
             FROM jsonb_array_elements(e.items) item) AS lines
FROM (SELECT * FROM own UNION ALL SELECT * FROM extension) e
LEFT JOIN requests c ON c.id = e.command_id
LEFT JOIN batches b ON b.event_id = (SELECT event_id FROM purchase)
                   AND e.number BETWEEN b.first_number AND b.last_number
ORDER BY e.number
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
    # Tickets that the buyer had before the decision, held or confirmed, of this type and of all
    # types of the event; if queued, now.
    owned_before: int
    owned_of_event: int
    sales_start: datetime | None
    sales_end: datetime | None
    paused_at: datetime | None
    left_now: int | None

    @property
    def left_before(self) -> int:
        """Tickets left just before the decision."""
        assert self.left_after is not None, "only what is decided has it"
        return self.left_after - (self.change or 0)


class LaterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a purchase, or of its hold, after its decision.

    `at` is None if no batch is recorded. `lines`: ticket types and quantities.
    """

    number: int
    kind: str
    at: datetime | None
    payment_reference: str | None
    restock: bool | None
    note: str | None
    # None: nobody asked, the hold was due.
    asked_by: int | None
    request_id: str | None
    extended_seconds: int | None
    lines: list[tuple[int, int]]

    @property
    def tickets(self) -> int:
        return sum(quantity for _id, quantity in self.lines)


class PurchaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows say about a purchase.

    `decision`: the kind of its first entry, whose number is None while the purchase is queued; the
    batch's are None also if none is recorded. `held_until`: of an open hold.
    """

    id: UUID
    decision: str
    reason: str | None
    user_id: int
    username: str | None
    buyer: str
    event_id: int
    event: str | None
    currency: str
    event_user_limit: int | None
    hold_seconds: int | None
    held_until: datetime | None
    lines: list[LineFacts]
    later: list[LaterEntry]
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

    @property
    def status(self) -> str:
        """Cancelled once nothing of it remains."""
        bought = sum(line.quantity for line in self.lines)
        if self.cancelled:
            return CANCELLED if self.cancelled == bought else CONFIRMED
        changes = [entry.kind for entry in self.later if entry.kind != EXTENDED]
        return changes[-1] if changes else self.decision

    @property
    def cancelled(self) -> int:
        return sum(entry.tickets for entry in self.later if entry.kind == CANCELLED)

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
        connection.execute(text(WITHOUT_TRANSACTION_TIMEOUT))
        row = connection.execute(READ_FACTS, {"id": id_, "deciders": DECIDERS}).mappings().first()
        if row is None:
            return None
        lines = [
            LineFacts(**line) for line in connection.execute(READ_LINES, {"id": id_}).mappings()
        ]
        username = None
        if connection.scalar(MAY_READ_USERNAME):
            username = connection.scalar(READ_USERNAME, {"id": row["user_id"]})
        later = [
            LaterEntry(**entry) for entry in connection.execute(READ_LATER, {"id": id_}).mappings()
        ]
        return PurchaseFacts(username=username, lines=lines, later=later, **row)


def explanation(facts: PurchaseFacts) -> list[str]:
    """Sentences for a person: the outcome and why, the request, its decision, the logs."""
    status = f"{facts.status} ({facts.reason})" if facts.reason else facts.status
    if facts.cancelled and facts.status == CONFIRMED:
        status += f", {facts.cancelled:,} of its tickets cancelled"
    if facts.decision == QUEUED:
        why, more = _why_queued(facts), _queue(facts)
    else:
        why, more = _why_decided(facts), _decision(facts) + _later(facts)
    return [f"Purchase {facts.id}: {status}.", why, *_request(facts), *more, _logs(facts)]


def _request(facts: PurchaseFacts) -> list[str]:
    wanted = " and ".join(
        f"{_tickets(line.quantity)} of ticket type {_named(line.ticket_type_id, line.ticket_type)}"
        for line in facts.lines
    )
    sentences = [
        (
            f"User {_named(facts.user_id, facts.username)}{_for(facts)} requested {wanted},"
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
    if facts.hold_seconds is not None:
        sentences.append(f"Held for its payment for {facts.hold_seconds:,} s from its decision.")
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
    return [decided, *left, *_owned(facts), by]


def _later(facts: PurchaseFacts) -> list[str]:
    sentences = [_happened(facts, entry) for entry in facts.later]
    if facts.held_until is not None:
        word = "is" if facts.held_until > facts.read_at else "was"
        sentences.append(
            f"It {word} held until {_time(facts.held_until)}; the hold ends by an entry: a payment"
            " that comes before its expiry is good."
        )
    return sentences


def _happened(facts: PurchaseFacts, entry: LaterEntry) -> str:
    when = "" if entry.at is None else f"At {_time(entry.at)}, "
    what = {
        CONFIRMED: f"it was paid with payment {entry.payment_reference}",
        RELEASED: "it was released",
        EXPIRED: "its hold had ended without a payment, and it expired",
        EXTENDED: f"all open holds of the event got {entry.extended_seconds:,} s more"
        if entry.extended_seconds is not None
        else "",
        CANCELLED: f"{_cancelled(facts, entry)} {_were(entry.tickets)} cancelled"
        + (", and put back on sale" if entry.restock else ", and taken off sale")
        + (f" ({entry.note})" if entry.note else ""),
    }.get(entry.kind, entry.kind)
    asked = "" if entry.asked_by is None else f" User {entry.asked_by} requested it"
    if asked:
        asked += f' with X-Request-ID "{entry.request_id}".' if entry.request_id else "."
    return f"{when}{what}, as entry {entry.number:,} of this event's ledger.{asked}"


def _cancelled(facts: PurchaseFacts, entry: LaterEntry) -> str:
    if len(facts.lines) == 1:
        return f"{_tickets(entry.tickets)} of it"
    return " and ".join(f"{_tickets(count)} of ticket type {id_}" for id_, count in entry.lines)


def _why_decided(facts: PurchaseFacts) -> str:
    if facts.decision in (CONFIRMED, HELD):
        word = facts.decision.capitalize()
        return f"{word}: enough tickets were left, and the buyer stayed within the limits."
    if facts.reason in (NOT_ENOUGH_TICKETS, ALL_HELD):
        short = " and ".join(
            f"{_tickets(line.quantity)}{facts.of(line)} with {line.left_before:,} left"
            for line in facts.lines
            if line.quantity > line.left_before
        )
        held = " and enough others held for their payment" if facts.reason == ALL_HELD else ""
        return (
            f"Rejected because it requested {short}{held}; a request is confirmed whole or not at"
            " all."
        )
    if facts.reason == OVER_USER_LIMIT:
        return f"Rejected because {_over_limit(facts)}."
    return f"Rejected for a reason that this version does not know: {facts.reason}."


def _over_limit(facts: PurchaseFacts) -> str:
    for line in facts.lines:
        if line.user_limit is not None and line.owned_before + line.quantity > line.user_limit:
            return _too_many(line.owned_before, line.quantity, facts.of(line), line.user_limit)
    wanted = sum(line.quantity for line in facts.lines)
    of = " of all ticket types of this event"
    return _too_many(facts.lines[0].owned_of_event, wanted, of, facts.event_user_limit)


def _too_many(owned: int, wanted: int, of: str, limit: int | None) -> str:
    return (
        f"{owned:,} bought before and {wanted:,} requested make {owned + wanted:,}{of}, more than"
        f" {limit} per user"
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
        " commit waits for a standby: see docs/operations.md, `A sale stands still`. If neither is"
        " so, `eventify audit` finds out whether the request is in the queue at all."
    )


def _queue(facts: PurchaseFacts) -> list[str]:
    waited = (facts.read_at - facts.created_at).total_seconds()
    sentences = [
        f"Queued for {waited:.1f} s; requests ahead of it in the queue: {facts.queued_before:,}.",
        *_owned(facts),
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


def _owned(facts: PurchaseFacts) -> list[str]:
    """What the buyer had, where it counts: of each ticket type, and of the event if that limits."""
    has, when = ("has", "") if facts.decision == QUEUED else ("had", " before the decision")
    owned = [(line.owned_before, facts.of(line) or " of this type") for line in facts.lines]
    if facts.event_user_limit is not None:
        owned.append((facts.lines[0].owned_of_event, " of all types of this event"))
    return [f"The buyer {has} {_tickets(count)}{of}{when}." for count, of in owned]


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


def _for(facts: PurchaseFacts) -> str:
    return f", for buyer {facts.buyer}," if facts.buyer else ""


def _named(id_: int | None, name: str | None) -> str:
    return f"{id_}" if name is None else f"{id_} ({name})"


def _tickets(count: int) -> str:
    return f"{count:,} ticket" if count == 1 else f"{count:,} tickets"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
