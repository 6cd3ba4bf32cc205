"""The SQL of commands about purchases: what there is when they come, their rows, their answers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import psycopg2
from psycopg2.errors import UniqueViolation
from psycopg2.extensions import cursor
from sqlalchemy import Engine

from gateway.purchases import read
from gateway.purchases.read import KEPT_OUTCOMES, Found, found_of, purchase_of
from gateway.purchases.store import KEY_TAKEN, halves
from gateway.resolutions.rules import (
    REFUSALS_MAX,
    Accept,
    Accepted,
    Command,
    Known,
    NothingToDo,
    Standing,
    judge,
)
from shared.database.confirmed_commit import WRITES_TO_LOG
from shared.database.engine import DATABASE_UNAVAILABLE, TRY_AGAIN, statement
from shared.database.prepared_statement import Prepared, array_literal
from shared.errors import PaymentReferenceUsed, Problem, ServerError, Unavailable
from shared.observability.logging import get_logger

Verdict = Accepted | NothingToDo | Problem

ONE_PAYMENT = "requests_payment_reference"
# What may have changed since the look-up: a key that two insert at the same moment, an owner.
ACCEPT_ATTEMPTS = 3

LOOK_UP = Prepared(
    "look_up_resolutions",
    f"""
SELECT e.id, e.owner_id, earlier.id::text, earlier.event_id, earlier.fingerprint,
       same.id::text, same.purchase_id::text, releasing.id::text, cancelled.items,
       {KEY_TAKEN.format(user_id="asked.user_id", key="asked.idempotency_key")}, p.*
FROM unnest(%(kinds)s::text[], %(user_ids)s::bigint[], %(purchase_ids)s::uuid[],
            %(event_ids)s::bigint[], %(keys)s::text[], %(references)s::text[])
    WITH ORDINALITY AS asked (kind, user_id, purchase_id, event_id, idempotency_key,
                              payment_reference, nth)
LEFT JOIN LATERAL (SELECT id, event_id, fingerprint FROM requests
                   WHERE user_id = asked.user_id AND idempotency_key = asked.idempotency_key
                   OFFSET 0) earlier ON true
LEFT JOIN LATERAL (
    {found_of("(SELECT * FROM requests WHERE id = asked.purchase_id AND kind = 'buy')")}
    WHERE {KEPT_OUTCOMES} OFFSET 0) p ON true
LEFT JOIN LATERAL (SELECT id, owner_id FROM events
                   WHERE id = coalesce(p.event_id, asked.event_id) OFFSET 0) e ON true
LEFT JOIN LATERAL (SELECT r.id, r.purchase_id
                   FROM (SELECT id, event_id, purchase_id, row_number() OVER () AS nth
                         FROM requests
                         WHERE user_id = asked.user_id
                             AND payment_reference = asked.payment_reference
                         LIMIT {REFUSALS_MAX}) r
                   WHERE r.nth = {REFUSALS_MAX}
                       OR NOT EXISTS (SELECT FROM ledger
                                      WHERE event_id = r.event_id AND command_id = r.id
                                          AND kind = 'refused' OFFSET 0)
                   LIMIT 1) same ON true
LEFT JOIN LATERAL (SELECT r.id FROM requests r
                   WHERE asked.kind = 'release' AND r.kind = 'release'
                       AND r.purchase_id = asked.purchase_id
                   LIMIT 1) releasing ON true
LEFT JOIN LATERAL (SELECT coalesce(sum(jsonb_array_length(items)), 0)::int AS items FROM ledger
                   WHERE asked.kind = 'cancel' AND event_id = p.event_id
                       AND purchase_id = asked.purchase_id AND kind = 'cancelled'
                   OFFSET 0) cancelled ON true
WHERE num_nonnulls(earlier.id, same.id, releasing.id) = 0 OR {WRITES_TO_LOG}
ORDER BY asked.nth
""",
)

INSERT = Prepared(
    "insert_resolutions",
    """
WITH asked AS MATERIALIZED (
    SELECT *, pg_current_xact_id() AS xid FROM unnest(
        %(ids)s::uuid[], %(event_ids)s::bigint[], %(user_ids)s::bigint[], %(kinds)s::text[],
        %(purchase_ids)s::uuid[], %(references)s::text[], %(amounts)s::numeric[],
        %(currencies)s::text[], %(items)s::jsonb[], %(restocks)s::boolean[], %(notes)s::text[],
        %(seconds)s::int[], %(keys)s::text[], %(fingerprints)s::bytea[], %(request_ids)s::text[],
        %(traceparents)s::text[])
    WITH ORDINALITY AS r (id, event_id, user_id, kind, purchase_id, payment_reference, amount,
                          currency, items, restock, note, hold_seconds, idempotency_key,
                          fingerprint, request_id, traceparent, nth)
)
INSERT INTO requests (id, event_id, user_id, kind, purchase_id, payment_reference, amount, currency,
                      items, restock, note, hold_seconds, idempotency_key, fingerprint, request_id,
                      traceparent, accepted_xid)
SELECT id, event_id, user_id, kind::request_kind, purchase_id, payment_reference, amount, currency,
       items, restock, note, hold_seconds, idempotency_key, fingerprint, request_id, traceparent,
       xid
FROM asked ORDER BY nth
ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING id::text
""",
)

# The open holds are counted for extensions alone, and once for each event: there may be many.
ANSWERS = Prepared(
    "answers_of_resolutions",
    f"""
WITH answered AS MATERIALIZED (
    SELECT r.id, r.event_id, r.kind, r.purchase_id, r.payment_reference, e.kind AS outcome,
           e.reason
    FROM requests r
    LEFT JOIN LATERAL (SELECT * FROM ledger WHERE event_id = r.event_id AND command_id = r.id
                       OFFSET 0) e ON true
    WHERE r.id = ANY(%(ids)s::uuid[]) AND {KEPT_OUTCOMES}
), counted AS MATERIALIZED (
    SELECT extended.event_id, held.number
    FROM (SELECT DISTINCT event_id FROM answered WHERE outcome = 'extended') extended
    CROSS JOIN LATERAL (SELECT count(*) AS number FROM holds
                        WHERE event_id = extended.event_id) held
)
SELECT a.id::text, a.kind::text, a.purchase_id::text, a.payment_reference, a.outcome::text,
       a.reason::text, CASE WHEN a.outcome = 'extended' THEN counted.number END
FROM answered a
LEFT JOIN counted ON counted.event_id = a.event_id
""",
)

# Of a question about a purchase.
NO_ROW = ("", None, None, None, None, None)

logger = get_logger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """What became of a command. `outcome`: the kind of its entry; None: it waits.

    `held`: how many purchases are, of an extension.
    """

    kind: str
    payment_reference: str | None
    outcome: str | None
    reason: str | None
    held: int | None
    purchase: Found | None


class Question(msgspec.Struct, frozen=True):
    """About a command, or about a purchase as it stands."""

    command_id: str | None = None
    purchase_id: str | None = None


def accept(engine: Engine, commands: Sequence[Command]) -> list[Verdict]:
    """Store the commands durably and in order, or why not, for each.

    `Unavailable`: the database is unavailable, or whether it committed is unknown.
    """
    verdicts: dict[str, Verdict] = {}
    pending = list(commands)
    for _attempt in range(ACCEPT_ATTEMPTS):
        verdicts |= _attempt_all(engine, pending)
        pending = [command for command in pending if command.id not in verdicts]
        if not pending:
            break
    return [verdicts.get(command.id, Unavailable()) for command in commands]


def _attempt_all(engine: Engine, commands: Sequence[Command]) -> dict[str, Verdict]:
    """Those to try again are left out."""
    try:
        with statement(engine) as cursor:
            standings = _standings(cursor, commands)
            judged = list(zip(commands, map(judge, commands, standings), strict=True))
            wanted = _one_of_each_payment(judged)
            stored = _insert(cursor, wanted) if wanted else {}
    except TRY_AGAIN as error:
        logger.warning("resolutions_retried", rows=len(commands), error=str(error))
        return {}
    except DATABASE_UNAVAILABLE as error:
        logger.warning("resolutions_unavailable", rows=len(commands), error=str(error))
        return {command.id: Unavailable() for command in commands}
    except psycopg2.Error as error:
        # Nothing was stored. What is wrong with one command must not fail the others.
        if len(commands) > 1:
            first, second = halves(commands)
            return _attempt_all(engine, first) | _attempt_all(engine, second)
        return {commands[0].id: _problem_of(error)}
    return stored | {
        command.id: verdict for command, verdict in judged if not isinstance(verdict, Accept)
    }


def _one_of_each_payment(
    judged: Sequence[tuple[Command, Accept | Verdict]],
) -> list[tuple[Command, Accept]]:
    """Those to insert: of several with one payment reference the first. The next attempt sees it.

    Together they would break the guard, and fail all that are with them.
    """
    wanted: list[tuple[Command, Accept]] = []
    payments = set()
    for command, verdict in judged:
        payment = command.user_id, command.payment_reference
        if not isinstance(verdict, Accept) or payment in payments:
            continue
        if command.payment_reference is not None:
            payments.add(payment)
        wanted.append((command, verdict))
    return wanted


def _problem_of(error: psycopg2.Error) -> Problem:
    if isinstance(error, UniqueViolation) and error.diag.constraint_name == ONE_PAYMENT:
        return PaymentReferenceUsed()
    logger.error("resolution_failed", exc_info=error)
    return ServerError()


def _standings(cursor: cursor, commands: Sequence[Command]) -> list[Standing]:
    LOOK_UP.run(
        cursor,
        {
            "kinds": array_literal(c.kind for c in commands),
            "user_ids": array_literal(c.user_id for c in commands),
            "purchase_ids": array_literal(c.purchase_id for c in commands),
            "event_ids": array_literal(c.event_id for c in commands),
            "keys": array_literal(c.idempotency_key for c in commands),
            "references": array_literal(c.payment_reference for c in commands),
        },
    )
    return [
        _standing(command, row) for command, row in zip(commands, cursor.fetchall(), strict=True)
    ]


def _standing(command: Command, row: Sequence[Any]) -> Standing:
    event_id, owner_id, earlier_id, earlier_event, fingerprint, *others = row
    same_id, same_of, releasing_id, cancelled_items, key_taken, purchase_id, buyer_id, *rest = (
        others
    )
    is_there = command.purchase_id is None or purchase_id is not None
    return Standing(
        event_id=event_id if is_there else None,
        owner_id=owner_id,
        buyer_id=buyer_id,
        purchase=purchase_of((purchase_id, buyer_id, *rest)) if purchase_id is not None else None,
        earlier=Known(earlier_id, earlier_event, fingerprint=bytes(fingerprint))
        if earlier_id is not None
        else None,
        key_is_taken=key_taken is not None and earlier_id is None,
        same_payment=Known(same_id, event_id, same_of) if same_id is not None else None,
        releasing_id=releasing_id,
        cancelled_items=cancelled_items,
    )


def _insert(cursor: cursor, wanted: Sequence[tuple[Command, Accept]]) -> dict[str, Verdict]:
    """Those whose key another statement inserts at the same moment are left out."""
    INSERT.run(
        cursor,
        {
            "event_ids": array_literal(accept.event_id for _, accept in wanted),
            "items": array_literal(
                None if accept.lines is None else msgspec.json.encode(accept.lines).decode()
                for _, accept in wanted
            ),
            **_columns([command for command, _ in wanted]),
        },
    )
    stored = {row[0] for row in cursor.fetchall()}
    return {
        command.id: Accepted(command.id, accept.event_id, hold=accept.hold)
        for command, accept in wanted
        if command.id in stored
    }


def _columns(commands: Sequence[Command]) -> dict[str, str]:
    columns: Mapping[str, Callable[[Command], str | int | bytes | None]] = {
        "ids": lambda c: c.id,
        "user_ids": lambda c: c.user_id,
        "kinds": lambda c: c.kind,
        "purchase_ids": lambda c: c.purchase_id,
        "references": lambda c: c.payment_reference,
        "amounts": lambda c: None if c.amount is None else str(c.amount),
        "currencies": lambda c: c.currency,
        "restocks": lambda c: None if c.restock is None else str(c.restock),
        "notes": lambda c: c.note,
        "seconds": lambda c: c.seconds,
        "keys": lambda c: c.idempotency_key,
        "fingerprints": lambda c: c.fingerprint,
        "request_ids": lambda c: c.request_id,
        "traceparents": lambda c: c.traceparent,
    }
    return {name: array_literal(map(column, commands)) for name, column in columns.items()}


def _purchases(cursor: cursor, ids: Iterable[str]) -> dict[str, Found]:
    wanted = list(dict.fromkeys(ids))
    return read.read_on(cursor, wanted, position_max_rows=1) if wanted else {}


def answers(engine: Engine, questions: Sequence[Question]) -> list[Answer | Exception]:
    """The answer to each; `Unavailable` for each that cannot be read now."""
    try:
        with statement(engine) as cursor:
            return _answers(cursor, questions)
    except DATABASE_UNAVAILABLE as error:
        logger.warning("answers_unavailable", rows=len(questions), error=str(error))
        return [Unavailable() for _ in questions]


def _answers(cursor: cursor, questions: Sequence[Question]) -> list[Answer | Exception]:
    commands = list(dict.fromkeys(q.command_id for q in questions if q.command_id is not None))
    rows: dict[str | None, Sequence[Any]] = {}
    if commands:
        ANSWERS.run(cursor, {"ids": array_literal(commands)})
        rows = {row[0]: row[1:] for row in cursor.fetchall()}
    about = [q.purchase_id or rows.get(q.command_id, NO_ROW)[1] for q in questions]
    purchases = _purchases(cursor, [id_ for id_ in about if id_ is not None])
    found: list[Answer | Exception] = []
    for question, purchase_id in zip(questions, about, strict=True):
        if question.command_id is not None and question.command_id not in rows:
            # A failover lost it while somebody waited.
            found.append(Unavailable())
            continue
        kind, _, payment_reference, outcome, reason, held = rows.get(question.command_id, NO_ROW)
        purchase = purchases.get(purchase_id) if purchase_id is not None else None
        found.append(Answer(kind, payment_reference, outcome, reason, held, purchase))
    return found
