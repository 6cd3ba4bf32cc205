"""The SQL of the sender.

A cursor is claimed by moving its `next_at` into the future and counting its `turn`: until then no
other sender takes it, and whoever has lost it changes nothing more. Each function blocks, and each
of its statements is a transaction.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Engine

from shared.database.engine import statement
from shared.purchases import as_time
from shared.webhooks import message_id
from webhook_sender.body import body_of, test_body
from webhook_sender.ledgers import Ledgers
from webhook_sender.request import Message
from webhook_sender.schedule import Disable, Outcome, Retry

# Of one webhook at a time, for as many events; one while a delivery of it fails.
IN_FLIGHT_OF_WEBHOOK = 4
# Attempts that are kept of each webhook.
DELIVERIES_KEPT = 1_000

# A new event is followed from its beginning.
FOLLOW_NEW_EVENTS = """
INSERT INTO webhook_cursors (webhook_id, event_id)
SELECT w.id, e.id FROM webhooks w JOIN events e ON e.owner_id = w.user_id
WHERE w.event_id IS NULL AND w.disabled_at IS NULL
  AND NOT EXISTS (SELECT FROM webhook_cursors c WHERE c.webhook_id = w.id AND c.event_id = e.id)
ON CONFLICT DO NOTHING
"""
# What is to be sent: nothing while the account is locked, nor of an event that another owns by now.
DUE = """
webhook_cursors c
JOIN webhooks w ON w.id = c.webhook_id AND w.disabled_at IS NULL
JOIN users u ON u.id = w.user_id AND u.locked_at IS NULL
JOIN lanes l ON l.event_id = c.event_id AND (l.number > c.number OR c.is_restored)
LEFT JOIN events e ON e.id = c.event_id -- its ledger outlives it
"""
IS_OWNED = "coalesce(e.owner_id, w.user_id) = w.user_id"
# The share of each webhook is counted before rows are locked, which a window function forbids.
CLAIM = f"""
WITH due AS (
    SELECT c.webhook_id, c.event_id,
           row_number() OVER (PARTITION BY c.webhook_id ORDER BY c.next_at) AS nth
    FROM {DUE}
    WHERE {IS_OWNED} AND c.next_at <= now() AND {{of_events}}
      AND EXISTS (SELECT FROM webhook_cursors f WHERE f.webhook_id = w.id AND f.failures > 0)
          = %(failing)s
), claimed AS (
    SELECT c.webhook_id, c.event_id FROM due
    LEFT JOIN unnest(%(busy_ids)s::bigint[], %(busy_with)s::bigint[]) busy (id, requests)
        ON busy.id = due.webhook_id
    JOIN webhook_cursors c ON c.webhook_id = due.webhook_id AND c.event_id = due.event_id
    WHERE nth <= %(each)s - coalesce(busy.requests, 0) AND c.next_at <= now()
    ORDER BY c.next_at LIMIT %(limit)s
    FOR NO KEY UPDATE OF c SKIP LOCKED
)
UPDATE webhook_cursors c SET turn = turn + 1, next_at = now() + make_interval(secs => %(lease)s)
FROM claimed WHERE c.webhook_id = claimed.webhook_id AND c.event_id = claimed.event_id
RETURNING c.webhook_id, c.event_id, c.turn
"""
OURS = "c.webhook_id = %(webhook)s AND c.event_id = %(event)s AND c.turn = %(turn)s"
LOOK = f"""
SELECT c.xmin::text, c.number, c.sending_id, c.sending_to, c.is_restored, c.failures,
       coalesce(extract(epoch FROM now() - c.failing_since), 0)::float8, l.number,
       p.epoch, {as_time("p.since")}, w.url, w.kinds::text[],
       ARRAY(SELECT secret FROM webhook_secrets s WHERE s.webhook_id = w.id
             AND coalesce(expires_at > now(), true) ORDER BY id DESC)
FROM ledger_epoch p CROSS JOIN {DUE}
WHERE {IS_OWNED} AND {OURS}
"""
# Should the server crash and forget these, the same entries are sent again: no wait for its disk.
UNHURRIED = "off AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS is_set)"
# Unless it was rewound, or its webhook changed, since it was looked at.
KEEP = f"""
WITH {UNHURRIED}
UPDATE webhook_cursors c
SET number = %(number)s, sending_id = %(sending_id)s, sending_to = %(sending_to)s,
    next_at = now() + make_interval(secs => %(lease)s)
FROM off WHERE off.is_set = 'off' AND {OURS}
  AND c.xmin = %(version)s::xid
"""
# First of the webhook, then of its cursor: in the order of whoever deletes it.
NOTED = f"""
WITH {UNHURRIED}, noted AS (
    INSERT INTO webhook_deliveries
        (webhook_id, delivery_id, event_id, first_number, last_number, attempt, status, failure,
         milliseconds)
    SELECT id, %(sending_id)s, %(event)s, %(first)s, %(last)s, %(attempt)s, %(status)s,
           %(failure)s, %(milliseconds)s
    FROM (SELECT id FROM webhooks WHERE id = %(webhook)s FOR KEY SHARE) w, off
    WHERE off.is_set = 'off'
    RETURNING true
)
"""
NOTE_TEST = f"{NOTED} SELECT FROM noted"
RECEIVED = f"""{NOTED}
UPDATE webhook_cursors c
SET number = sending_to, sending_id = NULL, sending_to = NULL, is_restored = false,
    failures = 0, failing_since = NULL, next_at = now() + make_interval(secs => %(lease)s)
FROM noted WHERE {OURS} AND sending_id = %(sending_id)s
"""
FAILED = f"""{NOTED}
UPDATE webhook_cursors c
SET failures = failures + 1, failing_since = coalesce(failing_since, now()),
    next_at = now() + make_interval(secs => %(after)s)
FROM noted WHERE {OURS} AND sending_id = %(sending_id)s
"""
RELEASE = f"UPDATE webhook_cursors c SET next_at = now() WHERE {OURS}"
# Of what failed, `next_at` may be when to try again.
RELEASE_UNLESS_FAILED = f"{RELEASE} AND failures = 0"
DISABLE = """
UPDATE webhooks SET disabled_at = now(), disabled_reason = %(reason)s
WHERE id = %(webhook)s AND disabled_at IS NULL
"""
# Once, whatever comes of it.
TAKE_TESTS = """
UPDATE webhooks w SET test_id = NULL
FROM (SELECT w.id, test_id, url FROM webhooks w
      JOIN users u ON u.id = w.user_id AND u.locked_at IS NULL WHERE test_id IS NOT NULL
      ORDER BY w.id LIMIT %s FOR NO KEY UPDATE OF w SKIP LOCKED) asked
WHERE w.id = asked.id
RETURNING asked.id, asked.test_id, asked.url,
          to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
          ARRAY(SELECT secret FROM webhook_secrets s WHERE s.webhook_id = w.id
                AND coalesce(expires_at > now(), true) ORDER BY id DESC)
"""
DELETE_EXPIRED_SECRETS = "DELETE FROM webhook_secrets WHERE expires_at <= now()"
DELETE_OLD_ATTEMPTS = """
DELETE FROM webhook_deliveries d
USING webhooks w, LATERAL (SELECT id FROM webhook_deliveries WHERE webhook_id = w.id
                           ORDER BY id DESC OFFSET %s LIMIT 1) kept
WHERE d.webhook_id = w.id AND d.id <= kept.id
"""
# Of receivers that fail, the lag is their own.
READ_LAG = f"""
SELECT coalesce(max(extract(epoch FROM now() - b.at)), 0)::float8
FROM {DUE}
JOIN LATERAL (SELECT at FROM batches b WHERE b.event_id = c.event_id
              AND b.first_number <= c.number + 1 ORDER BY b.first_number DESC LIMIT 1) b ON true
WHERE {IS_OWNED} AND c.failures = 0 AND l.number > c.number
"""
COUNT_FAILING = f"""
SELECT count(DISTINCT c.webhook_id) FROM {DUE} WHERE {IS_OWNED} AND c.failures > 0
"""


class Claim(NamedTuple):
    """A cursor that this sender has to itself."""

    webhook_id: int
    event_id: int
    turn: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is sent next. `failing_seconds`: since its first attempt, where that failed.

    `first`, `last`: of the numbers; None where only a new epoch is told.
    """

    claim: Claim
    id: UUID
    first: int | None
    last: int | None
    entries: int
    failures: int
    failing_seconds: float
    message: Message


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to send; `more`: it has to be looked through further."""

    more: bool = False


@dataclass(frozen=True, slots=True)
class Test:
    webhook_id: int
    id: UUID
    message: Message


@dataclass(frozen=True, slots=True)
class State:
    """Of all webhooks, as metrics show it."""

    lag_seconds: float
    failing: int


def follow_new_events(engine: Engine) -> None:
    """Webhooks for all events follow those that have come."""
    with statement(engine) as cursor:
        cursor.execute(FOLLOW_NEW_EVENTS)


def claim(
    engine: Engine,
    events: Collection[int] | None,
    busy: Mapping[int, int],
    *,
    failing: bool,
    limit: int,
    lease_seconds: float,
) -> list[Claim]:
    """Take cursors that have something to send.

    Args:
        engine: connections to PostgreSQL.
        events: only of these; None: of all.
        busy: this sender's requests by webhook.
        failing: of webhooks that fail, or of the others.
        limit: how many.
        lease_seconds: for how long.
    """
    if limit <= 0:
        return []
    of_events = "true" if events is None else "c.event_id = ANY(%(events)s)"
    with statement(engine) as cursor:
        cursor.execute(
            CLAIM.format(of_events=of_events),
            {
                "events": list(events or ()),
                "busy_ids": list(busy),
                "busy_with": list(busy.values()),
                "each": 1 if failing else IN_FLIGHT_OF_WEBHOOK,
                "failing": failing,
                "limit": limit,
                "lease": lease_seconds,
            },
        )
        return [Claim(*row) for row in cursor.fetchall()]


def prepare(
    engine: Engine, ledgers: Ledgers, claim: Claim, lease_seconds: float
) -> Delivery | Nothing:
    """What to send next, for `lease_seconds` from now: what was tried before, or new entries."""
    with statement(engine) as cursor:
        cursor.execute(LOOK, _key(claim))
        row = cursor.fetchone()
    if row is None:  # nothing is due, or it was lost
        release(engine, [claim])
        return Nothing()
    version, number, sending_id, sending_to, is_restored, failures, failing_seconds, *rest = row
    last, epoch, since, url, kinds, secrets = rest
    page = ledgers.page(engine, claim.event_id, epoch, number, last, kinds)
    kept = {**_key(claim), "version": version}
    if sending_id is None:
        sending_id, sending_to = uuid4(), page.last
    entries = [entry for entry in page.entries if entry.number <= sending_to]
    is_sent = bool(entries) or is_restored
    if is_sent:
        sending = {"number": number, "sending_id": str(sending_id), "sending_to": sending_to}
    else:
        sending = {"number": page.last, "sending_id": None, "sending_to": None}
    with statement(engine) as cursor:
        cursor.execute(KEEP, {**kept, **sending, "lease": lease_seconds if is_sent else 0})
        if not cursor.rowcount:
            return Nothing(more=True)
    if not is_sent:
        return Nothing(more=page.last < last)
    body = body_of(claim.event_id, epoch, since, number, entries)
    message = Message(url, message_id(sending_id), body, [bytes(secret) for secret in secrets])
    return Delivery(
        claim,
        sending_id,
        number + 1 if entries else None,
        sending_to if entries else None,
        len(entries),
        failures,
        failing_seconds,
        message,
    )


def received(engine: Engine, delivery: Delivery, outcome: Outcome, lease_seconds: float) -> None:
    """Go on behind it, unless the webhook was rewound or changed meanwhile."""
    with statement(engine) as cursor:
        cursor.execute(RECEIVED, {**_attempt(delivery, outcome), "lease": lease_seconds})


def failed(engine: Engine, delivery: Delivery, outcome: Outcome, step: Retry | Disable) -> bool:
    """Try it again later, or disable the webhook; whether this disabled it."""
    disabled = False
    with statement(engine) as cursor:
        if isinstance(step, Disable):
            webhook = {"webhook": delivery.claim.webhook_id, "reason": step.reason}
            cursor.execute(DISABLE, webhook)
            disabled = cursor.rowcount > 0
        after = step.after_seconds if isinstance(step, Retry) else 0
        cursor.execute(FAILED, {**_attempt(delivery, outcome), "after": after})
        if not cursor.rowcount:
            cursor.execute(RELEASE, _key(delivery.claim))
    return disabled


def release(engine: Engine, claims: Sequence[Claim]) -> None:
    """Let another sender have them at once, but for those that failed."""
    with statement(engine) as cursor:
        for each in claims:
            cursor.execute(RELEASE_UNLESS_FAILED, _key(each))


def take_tests(engine: Engine, limit: int) -> list[Test]:
    """Tests that were asked for; each is taken once."""
    with statement(engine) as cursor:
        cursor.execute(TAKE_TESTS, [limit])
        found = cursor.fetchall()
    return [
        Test(
            webhook_id,
            test_id,
            Message(
                url,
                message_id(test_id),
                test_body(webhook_id, now),
                [bytes(secret) for secret in secrets],
            ),
        )
        for webhook_id, test_id, url, now, secrets in found
    ]


def note_test(engine: Engine, test: Test, outcome: Outcome) -> None:
    unnumbered = dict.fromkeys(("event", "first", "last", "attempt"))
    noted = {"webhook": test.webhook_id, "sending_id": str(test.id), **unnumbered}
    with statement(engine) as cursor:
        cursor.execute(NOTE_TEST, {**noted, **_outcome(outcome)})


def clean(engine: Engine) -> None:
    """Delete secrets that have expired, and attempts beyond those that are kept."""
    with statement(engine) as cursor:
        cursor.execute(DELETE_EXPIRED_SECRETS)
        cursor.execute(DELETE_OLD_ATTEMPTS, [DELIVERIES_KEPT])


def state(engine: Engine) -> State:
    with statement(engine) as cursor:
        cursor.execute(READ_LAG)
        (lag,) = cursor.fetchone() or (0.0,)
        cursor.execute(COUNT_FAILING)
        (failing,) = cursor.fetchone() or (0,)
    return State(max(0.0, lag), failing)


def _attempt(delivery: Delivery, outcome: Outcome) -> dict[str, object]:
    return {
        **_key(delivery.claim),
        "sending_id": str(delivery.id),
        "first": delivery.first,
        "last": delivery.last,
        "attempt": delivery.failures + 1,
        **_outcome(outcome),
    }


def _outcome(outcome: Outcome) -> dict[str, object]:
    return {
        "status": outcome.status,
        "failure": outcome.failure,
        "milliseconds": outcome.milliseconds,
    }


def _key(claim: Claim) -> dict[str, int]:
    return {"webhook": claim.webhook_id, "event": claim.event_id, "turn": claim.turn}
