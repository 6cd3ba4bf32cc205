"""Gathers what a round left behind: the rows, the counters, the results in Redis, the replay."""

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import msgspec
import psutil
import redis

from purchase_worker.audit.all_events import audit
from purchase_worker.audit.findings import GUARDS
from shared.database.engine import statement
from shared.database.ledger import LedgerBroken, read_entries
from shared.purchases import RESULT_KEY_PREFIX, Purchase, as_time, unpack_result
from tests.chaos.history import Counter, Deliveries, Evidence, History, Lane, Outcome, Row, Sighting
from tests.chaos.subject import Subject
from tests.support.factories import rows as query
from tests.support.receivers import Receiver
from tests.support.waiting import eventually


def _lines(of: str, figure: str) -> str:
    """SQL of the `Lines` of a request or an entry."""
    return f"""
        CASE WHEN {of}.items IS NULL
        THEN jsonb_build_array(jsonb_build_array({of}.ticket_type_id, {of}.{figure}))
        ELSE (SELECT jsonb_agg(jsonb_build_array(item->'ticket_type', item->'{figure}')
                               ORDER BY nth)
              FROM jsonb_array_elements({of}.items) WITH ORDINALITY AS i (item, nth)) END
    """


# A purchase with two entries, or two ends of its hold, is there twice.
ROWS = f"""
SELECT r.id::text, r.request_id, r.user_id, r.event_id, {_lines("r", "quantity")},
       r.idempotency_key, coalesce(e.kind::text, 'queued'), e.reason::text,
       {as_time("batch.at")}, e.number, {_lines("e", "change")}, ended.kind::text,
       payment.payment_reference
FROM requests r
LEFT JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id
LEFT JOIN LATERAL (SELECT at FROM batches b
                   WHERE b.event_id = r.event_id AND b.first_number <= e.number
                   ORDER BY b.first_number DESC LIMIT 1) batch ON true
LEFT JOIN ledger ended ON ended.event_id = r.event_id AND ended.purchase_id = r.id
LEFT JOIN requests payment ON payment.id = ended.command_id
WHERE r.event_id = ANY(:ids) AND r.kind = 'buy' ORDER BY r.seq
"""
COUNTERS = "SELECT ticket_type_id, issued, held, sold FROM counters WHERE event_id = ANY(:ids)"
LANES = """
SELECT event_id, number, ARRAY(SELECT number FROM ledger WHERE event_id = lanes.event_id)
FROM lanes WHERE event_id = ANY(:ids)
"""
DECIDED_BY = """
SELECT EXISTS (SELECT FROM batches WHERE at > :since AND decided_by = ANY(:deciders))
"""
# More than a round has.
ENTRIES_MAX = 100_000
QUEUED = "SELECT count(*) FROM work_list"


def gather(
    system: Subject, event_ids: Sequence[int], history: History, *, with_guards: bool = True
) -> Evidence:
    """The whole evidence of a round that is over; `with_guards` as for `replay`."""
    ids = list(event_ids)
    rows = [Row(*row) for row in query(system.engine, ROWS, ids=ids)]
    history.sightings += _in_redis(system, rows)
    return Evidence(
        history,
        rows,
        [Counter(*row) for row in query(system.engine, COUNTERS, ids=ids)],
        [Lane(*row) for row in query(system.engine, LANES, ids=ids)],
        replay(system, with_guards=with_guards),
        _deliveries(system, system.receiver, ids) if system.receiver is not None else [],
    )


def queued_now(system: Subject) -> int:
    count: int = query(system.engine, QUEUED)[0][0]
    return count


def database_now(system: Subject) -> datetime:
    """The time as PostgreSQL has it."""
    moment: datetime = query(system.engine, "SELECT clock_timestamp()")[0][0]
    return moment


def workers_decide(system: Subject, since: datetime) -> bool:
    """Whether a worker has decided something since then; the sweeper would go on without them."""
    names = [f"worker-{number}" for number in (1, 2)]
    try:
        children = [child for name in names for child in system.process(name).children()]
    except psutil.NoSuchProcess:  # it has just ended
        return False
    deciders = [f"{socket.gethostname()}:{child.pid}" for child in children]
    found: bool = query(system.engine, DECIDED_BY, since=since, deciders=deciders)[0][0]
    return found


def replay(system: Subject, *, with_guards: bool) -> list[str]:
    """What the product's audit finds.

    Args:
        system: whose rows.
        with_guards: whether a guard that is missing counts, even if nothing came of it.
    """
    report = audit(system.engine, system.settings)
    return [
        f"{invariant.name}: {example}"
        for invariant in report.invariants
        for example in invariant.examples
        if with_guards or invariant.name != GUARDS
    ]


def _deliveries(system: Subject, receiver: Receiver, event_ids: list[int]) -> list[Deliveries]:
    """What the receiver got; it has some time to get the rest."""
    found = []
    for id_ in event_ids:
        try:
            with statement(system.engine) as cursor:
                entries = read_entries(cursor, id_, 0, rows=ENTRIES_MAX).entries
        except LedgerBroken:  # the audit names it
            continue
        found.append(Deliveries(id_, [], msgspec.json.decode(msgspec.json.encode(entries))))

    def all_came() -> None:
        contents = [request.content["data"] for request in receiver.of("/")]
        for each in found:
            came = [data["entries"] for data in contents if data["event"] == each.event_id]
            each.entries[:] = [entry for entries in came for entry in entries]
            assert {entry["number"] for entry in each.entries} >= {
                entry["number"] for entry in each.ledger
            }

    with suppress(AssertionError):  # the checker names what is missing
        eventually(all_came)
    return found


def _in_redis(system: Subject, rows: Sequence[Row]) -> list[Sighting]:
    if not rows:
        return []
    with redis.Redis.from_url(system.valkey.url) as client:
        values = client.mget([RESULT_KEY_PREFIX + row.id for row in rows])
    found = []
    for value in values:
        result = unpack_result(value) if value is not None else None
        if result is not None:
            purchase = msgspec.json.decode(result[1], type=Purchase)
            outcome = Outcome(purchase.status, purchase.reason, purchase.decided_at)
            found.append(Sighting(purchase.id, outcome, time.monotonic(), by="Redis"))
    return found
