"""Publishes a committed batch in Redis: one result for each purchase, one message for all.

What may still change is not kept there: a held purchase never, a confirmed one for seconds.
"""

from collections import Counter

import msgspec

from purchase_worker import metrics
from purchase_worker.decision import (
    ALL_HELD,
    NOT_ENOUGH_TICKETS,
    Buy,
    Confirm,
    Entry,
    Release,
)
from purchase_worker.drain import Batch
from purchase_worker.store import Work
from shared.config.settings import Settings
from shared.messaging.circuit_breaker import CircuitBreaker
from shared.messaging.redis_client import Command, database_number, open_redis, send_all
from shared.observability.logging import get_logger
from shared.purchases import (
    DECIDED_CHANNEL,
    HELD,
    REJECTED,
    RESULT_KEY_PREFIX,
    DecidedBatch,
    Purchase,
    Short,
    pack_result,
    purchase,
)

# It may be cancelled.
CONFIRMED_TTL_SECONDS = 10
# Of some sixty results. With more, a batch's message to each gateway and sender has none: in a rush
# they are read many at a time, which costs little, and most buyers poll.
RESULTS_IN_MESSAGE_BYTES = 20_000

logger = get_logger(__name__)


class ResultPublisher:
    """Stores results where gateways read first; without Redis, clients read PostgreSQL."""

    def __init__(self, settings: Settings) -> None:
        self._ttl_seconds = settings.result_ttl_seconds
        self.redis = open_redis(settings)
        self._database = database_number(settings)
        self.breaker = CircuitBreaker(logger, "results_not_published")

    def __call__(self, batch: Batch) -> None:
        """Publish a committed batch; a failure is only counted and logged."""
        published = self.breaker.call(
            lambda: send_all(self.redis, commands(batch, self._ttl_seconds, self._database))
        )
        if published is None:
            metrics.RESULTS_NOT_PUBLISHED.inc()


def commands(batch: Batch, ttl_seconds: int, database: int = 0) -> list[Command]:
    """The results, then the message.

    `database`: the number of the Redis database.
    """
    to_store: list[Command] = []
    results: dict[str, bytes] = {}
    ids = []
    decided: Counter[int] = Counter()
    resolved, resolved_at = {}, {}
    events = set()
    at = batch.parts[0].decided_at
    for part, work, entry in batch.decided:
        command = work.command
        ids.append(command.id)
        events.add(part.lane.event_id)
        if isinstance(command, Buy):
            decided[part.lane.event_id] += 1
            if entry.kind != HELD:
                purchase = body(part.lane.event_id, command, work, entry, part.decided_at)
                result = pack_result(command.user_id, msgspec.json.encode(purchase))
                results[command.id] = result
                seconds = ttl_seconds if entry.kind == REJECTED else CONFIRMED_TTL_SECONDS
                to_store.append(("SET", RESULT_KEY_PREFIX + command.id, result, "EX", seconds))
        elif entry.purchase_id is not None:
            ids.append(entry.purchase_id)
            if isinstance(command, Confirm | Release):
                resolved[command.id] = entry.kind
                if part.decided_at != at:
                    resolved_at[command.id] = part.decided_at
            to_store.append(("DEL", RESULT_KEY_PREFIX + entry.purchase_id))
    is_small = sum(map(len, results.values())) <= RESULTS_IN_MESSAGE_BYTES
    message = DecidedBatch(
        ids=ids,
        events=sorted(events),
        decided=dict(decided),
        seconds=batch.seconds,
        lock_seconds=batch.lock_seconds,
        commit_seconds=batch.commit_seconds,
        committed_at=batch.committed_at,
        resolved=resolved,
        at=at,
        resolved_at=resolved_at,
        results=results if is_small else {},
        database=database,
    )
    return [*to_store, ("PUBLISH", DECIDED_CHANNEL, msgspec.msgpack.encode(message))]


def body(event_id: int, command: Buy, work: Work, entry: Entry, decided_at: str) -> Purchase:
    """The purchase as the gateway would read it from its rows."""
    short = None
    if entry.reason in (NOT_ENOUGH_TICKETS, ALL_HELD):
        short = [
            Short(line.ticket_type_id, line.quantity, change.left_after)
            for line, change in zip(command.lines, entry.changes, strict=True)
            if line.quantity > change.left_after
        ]
    return purchase(
        [
            (line.ticket_type_id, line.quantity, price)
            for line, price in zip(command.lines, work.unit_prices, strict=True)
        ],
        id=command.id,
        event=event_id,
        currency=work.currency,
        created_at=work.created_at,
        status=entry.kind,
        reason=entry.reason,
        decided_at=decided_at,
        short=short,
        buyer=command.buyer,
    )
