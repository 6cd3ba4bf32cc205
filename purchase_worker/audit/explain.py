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

READ_FACTS = text("""
SELECT p.id, p.status, p.reason, p.quantity, p.unit_price, p.user_limit, p.user_id,
       p.ticket_type_id, t.name AS ticket_type, t.event_id, e.title AS event,
       t.sales_start, t.sales_end, t.paused_at, i.issued - i.sold AS left_now,
       p.created_at, p.request_id, p.decided_at, p.decision_number, p.left_after,
       b.first_number, b.last_number, b.decided_by, now() AS read_at,
       (SELECT count(*) FROM ticket_purchases WHERE ticket_type_id = p.ticket_type_id
           AND seq < p.seq) AS accepted_before,
       (SELECT count(*) FROM ticket_purchases WHERE ticket_type_id = p.ticket_type_id
           AND status = 'queued' AND seq < p.seq) AS queued_before,
       (SELECT coalesce(sum(quantity), 0) FROM ticket_purchases WHERE user_id = p.user_id
           AND ticket_type_id = p.ticket_type_id AND status = 'confirmed'
           AND (p.decision_number IS NULL OR decision_number < p.decision_number)) AS held_before,
       (SELECT max(decided_at) FROM decision_batches
           WHERE ticket_type_id = p.ticket_type_id) AS last_decided_at,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
           AND application_name = ANY(:deciders)) AS deciders
FROM ticket_purchases p
LEFT JOIN ticket_types t ON t.id = p.ticket_type_id
LEFT JOIN events e ON e.id = t.event_id
LEFT JOIN ticket_inventory i ON i.ticket_type_id = p.ticket_type_id
LEFT JOIN decision_batches b ON b.ticket_type_id = p.ticket_type_id
    AND p.decision_number BETWEEN b.first_number AND b.last_number
WHERE p.id = :id
""")
# The worker's login, which `eventify` has inside a worker's container, may not read names.
READ_USERNAME = text("SELECT username FROM users WHERE id = :id")
MAY_READ_USERNAME = text("SELECT has_column_privilege('users', 'username', 'SELECT')")


class PurchaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows say about a purchase.

    Names and figures of the ticket type are those of now; None where its row is missing. The
    decision's are None while the purchase is queued, the batch's also if none is recorded.
    """

    id: UUID
    status: str
    reason: str | None
    quantity: int
    unit_price: Decimal
    user_limit: int | None
    user_id: int
    username: str | None
    ticket_type_id: int
    ticket_type: str | None
    event_id: int | None
    event: str | None
    sales_start: datetime | None
    sales_end: datetime | None
    paused_at: datetime | None
    left_now: int | None
    created_at: datetime
    request_id: str | None
    decided_at: datetime | None
    decision_number: int | None
    left_after: int | None
    first_number: int | None
    last_number: int | None
    decided_by: str | None
    read_at: datetime
    accepted_before: int
    queued_before: int
    # Confirmed tickets of this type that the buyer held before this decision; if queued, now.
    held_before: int
    last_decided_at: datetime | None
    deciders: int

    @property
    def left_before(self) -> int:
        """Tickets left just before the decision."""
        assert self.left_after is not None, "only what is decided has it"
        return self.left_after + (self.quantity if self.status == CONFIRMED else 0)


def read_facts(engine: Engine, id_: UUID) -> PurchaseFacts | None:
    """Read a purchase and what belongs to it; None if there is no such purchase.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is unavailable, or may not be read.
    """
    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with reading.connect() as connection:
        # Counting what was accepted before may take a while where millions of rows are stored.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        parameters = {"id": id_, "deciders": DECIDERS}
        row = connection.execute(READ_FACTS, parameters).mappings().first()
        if row is None:
            return None
        username = None
        if connection.scalar(MAY_READ_USERNAME):
            username = connection.scalar(READ_USERNAME, {"id": row["user_id"]})
        return PurchaseFacts(username=username, **row)


def explanation(facts: PurchaseFacts) -> list[str]:
    """Sentences for a person: the outcome and why, the request, its decision, the logs."""
    status = f"{facts.status} ({facts.reason})" if facts.reason else facts.status
    if facts.status == QUEUED:
        why, more = _why_queued(facts), _queue(facts)
    else:
        why, more = _why_decided(facts), _decision(facts)
    return [f"Purchase {facts.id}: {status}.", why, *_request(facts), *more, _logs(facts)]


def _request(facts: PurchaseFacts) -> list[str]:
    total = facts.unit_price * facts.quantity
    limit = "no limit per user" if facts.user_limit is None else f"{facts.user_limit} per user"
    window = " ".join(
        f"{word} {_time(moment)}"
        for word, moment in (("from", facts.sales_start), ("until", facts.sales_end))
        if moment is not None
    )
    return [
        (
            f"User {_named(facts.user_id, facts.username)} requested {_tickets(facts.quantity)}"
            f" of ticket type {_named(facts.ticket_type_id, facts.ticket_type)},"
            f" event {_named(facts.event_id, facts.event)}."
        ),
        f"Terms at acceptance: {facts.unit_price} each, {total} in total; {limit}.",
        (
            f"Accepted at {_time(facts.created_at)} as request {facts.accepted_before + 1:,} of"
            f" this ticket type ({facts.accepted_before:,} before it)."
        ),
        f"Sale window now, which is checked at acceptance only: {window or 'no limits'}.",
    ]


def _decision(facts: PurchaseFacts) -> list[str]:
    assert facts.decided_at is not None
    assert facts.decision_number is not None
    delay = (facts.decided_at - facts.created_at).total_seconds()
    sentences = [
        (
            f"Decided at {_time(facts.decided_at)}, {delay:.3f} s after it was accepted, as"
            f" decision {facts.decision_number:,} of this ticket type"
            f" ({facts.decision_number - 1:,} before it)."
        ),
        f"{_tickets(facts.left_before)} left before the decision, {facts.left_after:,} after it.",
        _held(facts),
    ]
    if facts.decided_by is None:
        sentences.append(
            "No batch is recorded for this decision, which breaks a promise: run `eventify audit`."
        )
    else:
        sentences.append(
            f"Decided by process {facts.decided_by} (host:pid), in the batch of decisions"
            f" {facts.first_number:,} to {facts.last_number:,}."
        )
    return sentences


def _why_decided(facts: PurchaseFacts) -> str:
    if facts.status == CONFIRMED:
        return "Confirmed: enough tickets were left, and the buyer stayed within the limit."
    if facts.reason == NOT_ENOUGH_TICKETS:
        return (
            f"Rejected because it requested {_tickets(facts.quantity)} with {facts.left_before:,}"
            " left; a request is confirmed whole or not at all."
        )
    if facts.reason == OVER_USER_LIMIT:
        return (
            f"Rejected because {facts.held_before:,} held and {facts.quantity:,} requested make"
            f" {facts.held_before + facts.quantity:,}, more than {facts.user_limit} per user."
        )
    return f"Rejected for a reason that this version does not know: {facts.reason}."


def _why_queued(facts: PurchaseFacts) -> str:
    if facts.deciders == 0:
        return "No worker and no sweeper is connected to the database: start one."
    if facts.read_at - facts.created_at <= USUAL_WAIT:
        return "This is a usual wait: run the command again in a few seconds."
    if facts.last_decided_at is not None and facts.read_at - facts.last_decided_at <= USUAL_WAIT:
        return "The queue is moving: the requests ahead of this one explain the wait."
    return (
        "The queue is not moving. Another session may hold the ticket type's row, or a commit"
        " waits for a standby: see docs/operations.md, `A sale stands still`."
    )


def _queue(facts: PurchaseFacts) -> list[str]:
    waited = (facts.read_at - facts.created_at).total_seconds()
    sentences = [
        f"Queued for {waited:.1f} s; requests ahead of it in the queue: {facts.queued_before:,}.",
        _held(facts),
    ]
    if facts.left_now is not None:
        sentences.append(f"{_tickets(facts.left_now)} left now.")
    if facts.paused_at is not None:
        sentences.append(
            f"The sale is paused since {_time(facts.paused_at)}. A pause stops new requests only:"
            " this one is decided all the same."
        )
    if facts.last_decided_at is None:
        sentences.append("Nothing of this ticket type has been decided yet.")
    else:
        ago = (facts.read_at - facts.last_decided_at).total_seconds()
        sentences.append(f"The last decision of this ticket type was {ago:.1f} s ago.")
    return sentences


def _held(facts: PurchaseFacts) -> str:
    held = f"{_tickets(facts.held_before)} of this type"
    if facts.status == QUEUED:
        return f"The buyer holds {held}."
    return f"The buyer held {held} before the decision."


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
        f"In the logs, search for {request}; the line of its batch is `batch_decided` with ticket"
        f" type {facts.ticket_type_id} in `ticket_types` and [{facts.first_number},"
        f" {facts.last_number}] in `decision_numbers`."
    )


def _named(id_: int | None, name: str | None) -> str:
    return f"{id_}" if name is None else f"{id_} ({name})"


def _tickets(count: int) -> str:
    return f"{count:,} ticket" if count == 1 else f"{count:,} tickets"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
