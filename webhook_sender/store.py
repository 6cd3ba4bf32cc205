"""The SQL of the sender.

A cursor is claimed by moving its `next_at` into the future and counting its `turn`: until then no
other sender takes it, and whoever has lost it changes nothing more. Each function blocks, and each
of its statements is a transaction, but for those of `failed` and `disable`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID, uuid4

from psycopg2.extensions import cursor
from sqlalchemy import Engine

from shared.database.engine import cursor_transaction, statement
from shared.database.ledger import LedgerBroken
from shared.database.prepared_statement import Prepared, array_literal, plain_array
from shared.observability.logging import get_logger
from shared.purchases import as_time
from shared.webhooks import message_id
from webhook_sender.body import body_of, test_body
from webhook_sender.ledgers import Encoded, Ledgers
from webhook_sender.request import Message
from webhook_sender.schedule import DisabledReason, Outcome

# Of one webhook at a time, for as many events; one while a delivery of it fails.
IN_FLIGHT_OF_WEBHOOK = 4
# One account can have a million pairs of a webhook and an event: a statement that inserts more than
# its timeout allows would insert none.
FOLLOW_ROWS = 20_000
# Attempts that are kept of each webhook.
DELIVERIES_KEPT = 1_000

logger = get_logger(__name__)

# A new event is followed from its beginning, that of a locked account once it is unlocked. The lock
# passes over a webhook that is deleted meanwhile, where its foreign key would fail.
FOLLOW_NEW_EVENTS = """
INSERT INTO webhook_cursors (webhook_id, event_id)
SELECT w.id, e.id FROM webhooks w
JOIN users u ON u.id = w.user_id AND u.locked_at IS NULL
JOIN events e ON e.owner_id = w.user_id
WHERE w.event_id IS NULL AND w.disabled_at IS NULL AND {of_events}
  AND NOT EXISTS (SELECT FROM webhook_cursors c WHERE c.webhook_id = w.id AND c.event_id = e.id)
LIMIT %(rows)s FOR KEY SHARE OF w
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
# An event that was deleted belonged to who gave its last command, mostly the withdrawal of what was
# left; a later owner has no entries in it.
IS_OWNED = """coalesce(e.owner_id, (
    SELECT r.user_id FROM ledger n
    CROSS JOIN LATERAL (SELECT user_id FROM requests WHERE id = n.command_id OFFSET 0) r
    WHERE n.event_id = l.event_id AND n.number = l.number
), w.user_id) = w.user_id"""
# The share of each webhook is counted before rows are locked, which a window function forbids.
# Time in which it was due and not tried does not count as failing: the account was locked, no
# sender ran, or others of its webhook were before it.
CLAIM = f"""
WITH due AS (
    SELECT c.webhook_id, c.event_id,
           row_number() OVER (PARTITION BY c.webhook_id ORDER BY c.next_at) AS nth
    FROM {DUE}
    WHERE {IS_OWNED} AND c.next_at <= now() AND {{of_events}}
      AND (EXISTS (SELECT FROM webhook_cursors f WHERE f.webhook_id = w.id AND f.failures > 0)
           OR w.id = ANY(%(slow)s)) = %(failing)s
), claimed AS (
    SELECT c.webhook_id, c.event_id FROM due
    LEFT JOIN unnest(%(busy_ids)s::bigint[], %(busy_with)s::bigint[]) busy (id, requests)
        ON busy.id = due.webhook_id
    JOIN webhook_cursors c ON c.webhook_id = due.webhook_id AND c.event_id = due.event_id
    WHERE nth <= %(each)s - coalesce(busy.requests, 0) AND c.next_at <= now()
    ORDER BY c.next_at LIMIT %(limit)s
    FOR NO KEY UPDATE OF c SKIP LOCKED
)
UPDATE webhook_cursors c SET turn = turn + 1, next_at = now() + make_interval(secs => %(lease)s),
    failing_since = failing_since + (now() - c.next_at)
FROM claimed WHERE c.webhook_id = claimed.webhook_id AND c.event_id = claimed.event_id
RETURNING c.webhook_id, c.event_id, c.turn
"""
GIVEN = """unnest(%(webhooks)s::bigint[], %(events)s::bigint[], %(turns)s::bigint[])
    g (webhook_id, event_id, turn)"""
OURS = "(c.webhook_id, c.event_id, c.turn) = (g.webhook_id, g.event_id, g.turn)"
# Of the webhook `w`: those that sign, the newest first.
SECRETS = """ARRAY(SELECT secret FROM webhook_secrets s WHERE s.webhook_id = w.id
    AND coalesce(expires_at > now(), true) ORDER BY id DESC)"""
LOOK = Prepared(
    "look",
    f"""
SELECT c.webhook_id, c.event_id, c.turn, c.xmin::text, c.number, c.sending_id, c.sending_to,
       c.is_restored, c.failures, coalesce(extract(epoch FROM now() - c.failing_since), 0)::float8,
       l.number, p.epoch, {as_time("p.since")}, w.url, w.kinds::text[],
       {SECRETS}
FROM ledger_epoch p CROSS JOIN {GIVEN} CROSS JOIN {DUE}
WHERE {IS_OWNED} AND {OURS}
""",
)
# Should the server crash and forget these, the same entries are sent again: no wait for its disk.
UNHURRIED = "off AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS is_set)"
# Unless it was rewound, or its webhook changed, since it was looked at.
KEEP = Prepared(
    "keep",
    f"""
WITH {UNHURRIED}
UPDATE webhook_cursors c
SET number = g.number, sending_id = g.sending_id, sending_to = g.sending_to,
    next_at = now() + make_interval(secs => CASE WHEN is_sent THEN %(lease)s ELSE 0 END)
FROM off, unnest(
    %(webhooks)s::bigint[], %(events)s::bigint[], %(turns)s::bigint[], %(versions)s::text[],
    %(numbers)s::bigint[], %(sendings)s::uuid[], %(to)s::bigint[], %(are_sent)s::boolean[]
) g (webhook_id, event_id, turn, version, number, sending_id, sending_to, is_sent)
WHERE off.is_set = 'off' AND {OURS} AND c.xmin = g.version::xid
RETURNING c.webhook_id, c.event_id, c.turn
""",
)
# First of the webhooks, then of their cursors: in the order of whoever deletes them.
NOTED = f"""
WITH {UNHURRIED}, g AS MATERIALIZED (
    SELECT * FROM unnest(
        %(webhooks)s::bigint[], %(events)s::bigint[], %(turns)s::bigint[], %(sendings)s::uuid[],
        %(firsts)s::bigint[], %(lasts)s::bigint[], %(attempts)s::int[], %(statuses)s::smallint[],
        %(failures)s::text[], %(milliseconds)s::int[], %(after)s::float8[]
    ) g (webhook_id, event_id, turn, sending_id, first, last, attempt, status, failure,
         milliseconds, after)
), there AS MATERIALIZED (
    SELECT id FROM webhooks WHERE id = ANY(%(webhooks)s::bigint[]) ORDER BY id FOR KEY SHARE
), noted AS (
    INSERT INTO webhook_deliveries
        (webhook_id, delivery_id, event_id, first_number, last_number, attempt, status, failure,
         milliseconds)
    SELECT id, sending_id, event_id, first, last, attempt, status, failure, milliseconds
    FROM off, g JOIN there ON id = webhook_id WHERE off.is_set = 'off'
    RETURNING true
)
"""
NOTED_COLUMNS = (
    *("webhooks", "events", "turns", "sendings", "firsts", "lasts", "attempts"),
    *("statuses", "failures", "milliseconds", "after"),
)
NOTE_TEST = Prepared("note_test", f"{NOTED} SELECT FROM noted")
NOTED_OURS = f"(SELECT count(*) FROM noted) > 0 AND {OURS} AND c.sending_id = g.sending_id"
RECEIVED = Prepared(
    "received",
    f"""{NOTED}
UPDATE webhook_cursors c
SET number = sending_to, sending_id = NULL, sending_to = NULL, is_restored = false,
    failures = 0, failing_since = NULL, next_at = now() + make_interval(secs => after)
FROM g WHERE {NOTED_OURS}
""",
)
# The same if it is noted twice: its COMMIT may have had no answer.
FAILED = Prepared(
    "failed",
    f"""{NOTED}
UPDATE webhook_cursors c
SET failures = attempt, failing_since = coalesce(failing_since, now()),
    next_at = now() + make_interval(secs => after)
FROM g WHERE {NOTED_OURS}
RETURNING c.webhook_id, c.event_id, c.turn
""",
)
RELEASE = f"UPDATE webhook_cursors c SET next_at = now() FROM {GIVEN} WHERE {OURS}"
# Of what failed, `next_at` may be when to try again.
RELEASE_UNLESS_FAILED = f"{RELEASE} AND failures = 0"
# Before their cursors, as whoever changes one.
LOCK_WEBHOOKS = "SELECT FROM webhooks WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
DISABLE = """
UPDATE webhooks SET disabled_at = now(), disabled_reason = %(reason)s
WHERE id = %(webhook)s AND disabled_at IS NULL
"""
# Once, whatever comes of it.
TAKE_TESTS = f"""
UPDATE webhooks w SET test_id = NULL
FROM (SELECT w.id, test_id, url FROM webhooks w
      JOIN users u ON u.id = w.user_id AND u.locked_at IS NULL
      WHERE test_id IS NOT NULL AND w.id <> ALL(%s::bigint[])
      ORDER BY test_id LIMIT %s FOR NO KEY UPDATE OF w SKIP LOCKED) asked
WHERE w.id = asked.id
RETURNING asked.id, asked.test_id, asked.url, {as_time("now()")}, {SECRETS}
"""
ENABLED_AMONG = "SELECT id FROM webhooks WHERE id = ANY(%s) AND disabled_at IS NULL"
# The database's clock was ahead when they were claimed or failed: no lease or retry ends so late. A
# request that is under way ends first.
BRING_BACK = """
UPDATE webhook_cursors c
SET next_at = least(next_at, now() + make_interval(secs => %(lease)s)),
    failing_since = CASE WHEN failing_since > now() THEN now() ELSE failing_since END
FROM (SELECT webhook_id, event_id FROM webhook_cursors
      WHERE failing_since > now() OR next_at > now() + make_interval(
          secs => CASE failures WHEN 0 THEN %(lease)s ELSE greatest(%(lease)s, %(retry_max)s) END)
      FOR NO KEY UPDATE SKIP LOCKED) ahead
WHERE c.webhook_id = ahead.webhook_id AND c.event_id = ahead.event_id
"""
# Of what can be sent no more, no attempt would end the failure, and its webhook would be one that
# fails for ever: another owns the event, or a failover lost the entries.
END_FAILURES = f"""
UPDATE webhook_cursors c
SET sending_id = NULL, sending_to = NULL, failures = 0, failing_since = NULL,
    next_at = least(c.next_at, now() + make_interval(secs => %(lease)s))
FROM (SELECT c.webhook_id, c.event_id
      FROM webhook_cursors c
      JOIN webhooks w ON w.id = c.webhook_id
      LEFT JOIN lanes l ON l.event_id = c.event_id
      LEFT JOIN events e ON e.id = c.event_id
      WHERE c.failures > 0 AND ((l.number > c.number OR c.is_restored) AND {IS_OWNED}) IS NOT TRUE
      FOR NO KEY UPDATE OF c SKIP LOCKED) ended
WHERE c.webhook_id = ended.webhook_id AND c.event_id = ended.event_id
"""
DELETE_EXPIRED_SECRETS = "DELETE FROM webhook_secrets WHERE expires_at <= now()"
DELETE_OLD_ATTEMPTS = """
DELETE FROM webhook_deliveries d
USING unnest(%s::bigint[]) w (id),
      LATERAL (SELECT id FROM webhook_deliveries WHERE webhook_id = w.id
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
    """What is sent next. `failing_seconds`: as in `next_step`.

    `first`, `last`: of the numbers; None where only a new epoch is told.
    """

    claim: Claim
    id: UUID
    first: int | None
    last: int | None
    entries: int
    last_of_event: int
    failures: int
    failing_seconds: float
    message: Message


class Found(NamedTuple):
    """What is to be sent; and what is to be looked at again, for there may be more of it."""

    deliveries: list[Delivery]
    again: list[Claim]


class Attempt(NamedTuple):
    """`after_seconds`: until when the cursor is not claimed by others."""

    delivery: Delivery
    outcome: Outcome
    after_seconds: float


class _Looked(NamedTuple):
    """A cursor, with `last` of its event, and its webhook. `version`: until it is changed."""

    version: str
    number: int
    sending_id: UUID | None
    sending_to: int | None
    is_restored: bool
    failures: int
    failing_seconds: float
    last: int
    epoch: str
    since: str
    url: str
    kinds: list[str]
    secrets: list[memoryview]


class _Next(NamedTuple):
    """`is_sent`: otherwise there is nothing that it wants up to `number`."""

    is_sent: bool
    number: int
    sending_id: UUID | None
    sending_to: int | None
    entries: list[Encoded]


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


def has_webhooks(engine: Engine) -> bool:
    """Whether any is enabled."""
    with statement(engine) as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM webhooks WHERE disabled_at IS NULL)")
        return cursor.fetchone() == (True,)


def follow_new_events(engine: Engine, events: Collection[int] | None) -> None:
    """Webhooks for all events follow those of these that they do not yet; None: of all.

    Of more than `FOLLOW_ROWS`, the next call follows the others.
    """
    of_events = "true" if events is None else "e.id = ANY(%(events)s)"
    with statement(engine) as cursor:
        cursor.execute(
            FOLLOW_NEW_EVENTS.format(of_events=of_events),
            {"events": list(events or ()), "rows": FOLLOW_ROWS},
        )


def claim(
    engine: Engine,
    events: Collection[int] | None,
    busy: Mapping[int, int],
    *,
    slow: Collection[int] = (),
    failing: bool,
    limit: int,
    lease_seconds: float,
) -> list[Claim]:
    """Take cursors that have something to send.

    Args:
        engine: connections to PostgreSQL.
        events: only of these; None: of all.
        busy: this sender's requests by webhook.
        slow: webhooks that count as failing.
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
                "slow": list(slow),
                "failing": failing,
                "limit": limit,
                "lease": lease_seconds,
            },
        )
        return [Claim(*row) for row in cursor.fetchall()]


def prepare(
    engine: Engine, ledgers: Ledgers, claims: Sequence[Claim], lease_seconds: float
) -> Found:
    """What to send next, for `lease_seconds` from now: what was tried before, or new entries."""
    with statement(engine) as cursor:
        LOOK.run(cursor, _given(claims))
        looked = {Claim(*row[:3]): _Looked(*row[3:]) for row in cursor.fetchall()}
    # Nothing is due, or they were lost.
    release(engine, [claim for claim in claims if claim not in looked])
    found = Found([], [])
    nexts: dict[Claim, _Next] = {}
    for claim, was in sorted(looked.items()):
        try:
            nexts[claim] = _next(engine, ledgers, claim, was)
        except LedgerBroken:
            logger.exception("webhook_delivery_broken", events=[claim.event_id])
    if not nexts:
        return found
    with statement(engine) as cursor:
        KEEP.run(
            cursor,
            {
                **_given(nexts),
                "versions": plain_array(looked[claim].version for claim in nexts),
                "numbers": plain_array(each.number for each in nexts.values()),
                "sendings": array_literal(_text(each.sending_id) for each in nexts.values()),
                "to": array_literal(each.sending_to for each in nexts.values()),
                "are_sent": plain_array(str(each.is_sent) for each in nexts.values()),
                "lease": lease_seconds,
            },
        )
        kept = {Claim(*row) for row in cursor.fetchall()}
    for claim, each in nexts.items():
        was = looked[claim]
        if claim in kept and each.is_sent:
            found.deliveries.append(_delivery(claim, was, each))
        elif claim not in kept or each.number < was.last:
            found.again.append(claim)
    return found


def _next(engine: Engine, ledgers: Ledgers, claim: Claim, was: _Looked) -> _Next:
    page = ledgers.page(engine, claim.event_id, was.epoch, was.number, was.last, was.kinds)
    sending_id = was.sending_id or uuid4()
    sending_to = page.last if was.sending_to is None else was.sending_to
    entries = [entry for entry in page.entries if entry.number <= sending_to]
    if entries or was.is_restored:
        return _Next(True, was.number, sending_id, sending_to, entries)
    return _Next(False, page.last, None, None, [])


def _delivery(claim: Claim, was: _Looked, each: _Next) -> Delivery:
    assert each.sending_id is not None
    body = body_of(claim.event_id, was.epoch, was.since, was.number, each.entries)
    secrets = [bytes(secret) for secret in was.secrets]
    return Delivery(
        claim,
        each.sending_id,
        was.number + 1 if each.entries else None,
        each.sending_to if each.entries else None,
        len(each.entries),
        was.last,
        was.failures,
        was.failing_seconds,
        Message(was.url, message_id(each.sending_id), body, secrets),
    )


def received(engine: Engine, attempts: Sequence[Attempt]) -> None:
    """Go on behind them, unless a webhook was rewound or changed meanwhile."""
    with statement(engine) as cursor:
        RECEIVED.run(cursor, _attempts(sorted(attempts, key=lambda each: each.delivery.claim)))


def failed(engine: Engine, attempts: Sequence[Attempt]) -> None:
    """Try them again later, unless a webhook was rewound or changed meanwhile."""
    with cursor_transaction(engine) as cursor:
        _failed(cursor, attempts)


def disable(engine: Engine, attempt: Attempt, reason: DisabledReason) -> bool:
    """After an attempt that failed, unless the webhook was rewound or changed meanwhile.

    Returns:
        Whether this disabled it.
    """
    with cursor_transaction(engine) as cursor:
        if not _failed(cursor, [attempt]):
            return False
        webhook_id = attempt.delivery.claim.webhook_id
        cursor.execute(DISABLE, {"webhook": webhook_id, "reason": reason})
        return cursor.rowcount > 0


def _failed(cursor: cursor, attempts: Sequence[Attempt]) -> set[Claim]:
    """Returns those that were this sender's still; the others are released."""
    claims = {each.delivery.claim for each in attempts}
    cursor.execute(LOCK_WEBHOOKS, [[claim.webhook_id for claim in claims]])
    FAILED.run(cursor, _attempts(attempts))
    ours = {Claim(*row) for row in cursor.fetchall()}
    if lost := claims - ours:
        cursor.execute(RELEASE, _given(lost))
    return ours


def release(engine: Engine, claims: Sequence[Claim]) -> None:
    """Let another sender have them at once, but for those that failed."""
    if claims:
        with statement(engine) as cursor:
            cursor.execute(RELEASE_UNLESS_FAILED, _given(claims))


def take_tests(engine: Engine, limit: int, under_way: Collection[int]) -> list[Test]:
    """Tests that were asked for; each is taken once.

    Args:
        engine: connections to PostgreSQL.
        limit: at most so many.
        under_way: none of these webhooks.
    """
    with statement(engine) as cursor:
        cursor.execute(TAKE_TESTS, [list(under_way), limit])
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
    with statement(engine) as cursor:
        NOTE_TEST.run(
            cursor,
            _columns([(test.webhook_id, None, None, test.id, None, None, None, *_of(outcome), 0)]),
        )


def clean(
    engine: Engine, webhooks: Collection[int], lease_seconds: float, retry_max_seconds: float
) -> None:
    """Delete secrets that have expired, and attempts beyond those that are kept.

    What is due later than any lease or retry is brought back; what cannot be sent fails no more.

    Args:
        engine: connections to PostgreSQL.
        webhooks: those that may have more attempts.
        lease_seconds: for how long a cursor is claimed.
        retry_max_seconds: between two attempts.
    """
    with statement(engine) as cursor:
        cursor.execute(BRING_BACK, {"lease": lease_seconds, "retry_max": retry_max_seconds})
        cursor.execute(END_FAILURES, {"lease": lease_seconds})
        cursor.execute(DELETE_EXPIRED_SECRETS)
        cursor.execute(DELETE_OLD_ATTEMPTS, [list(webhooks), DELIVERIES_KEPT])


def enabled_among(engine: Engine, webhooks: Collection[int]) -> set[int]:
    with statement(engine) as cursor:
        cursor.execute(ENABLED_AMONG, [list(webhooks)])
        return {id_ for (id_,) in cursor.fetchall()}


def state(engine: Engine) -> State:
    with statement(engine) as cursor:
        cursor.execute(READ_LAG)
        (lag,) = cursor.fetchone() or (0.0,)
        cursor.execute(COUNT_FAILING)
        (failing,) = cursor.fetchone() or (0,)
    return State(max(0.0, lag), failing)


def _attempts(attempts: Iterable[Attempt]) -> dict[str, str]:
    return _columns(
        [
            (*each.claim, each.id, each.first, each.last, each.failures + 1, *_of(outcome), after)
            for each, outcome, after in attempts
        ]
    )


def _of(outcome: Outcome) -> tuple[int | None, str | None, int]:
    return outcome.status, outcome.failure, outcome.milliseconds


def _columns(rows: Sequence[Sequence[object]]) -> dict[str, str]:
    """Of NOTED."""
    return {
        name: array_literal(None if value is None else str(value) for value in column)
        for name, column in zip(NOTED_COLUMNS, zip(*rows, strict=True), strict=True)
    }


def _given(claims: Iterable[Claim]) -> dict[str, str]:
    columns = zip(*claims, strict=True)
    return dict(zip(("webhooks", "events", "turns"), map(plain_array, columns), strict=True))


def _text(id_: UUID | None) -> str | None:
    return None if id_ is None else str(id_)
