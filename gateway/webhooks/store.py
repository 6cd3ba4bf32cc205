"""The SQL of a user's webhooks.

Each function is one blocking transaction, and raises `Unavailable` if the database is unavailable;
of one webhook, `NotFound` if the user has no such. `keyed`: what an earlier request with the same
`Idempotency-Key` has done is not done again; then it returns True with the webhook.
"""

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, delete, func, insert, select, text, update

from gateway.newest_first import newest_first
from gateway.transactions import connection_transaction
from gateway.webhooks import schemas
from shared.database.once import KeyedRequest, once
from shared.database.tables import (
    Event,
    UserRow,
    Webhook,
    WebhookCursor,
    WebhookDelivery,
    WebhookSecret,
)
from shared.errors import Conflict, InvalidInput, NotFound, TokenNotValid
from shared.web.pagination import CursorWanted, PageWanted
from shared.webhooks import message_id

# Each is a signature in every delivery.
SECRETS_MAX = 5
FORMER_SECRET_SECONDS = 86_400

# It receives what is decided from now on; events that come later from their beginning.
BEGIN_AT_THE_END = text("""
INSERT INTO webhook_cursors (webhook_id, event_id, number)
SELECT :webhook, e.id, l.number FROM events e JOIN lanes l ON l.event_id = e.id
WHERE e.owner_id = :user AND (CAST(:event AS bigint) IS NULL OR e.id = :event)
""")
# What is being sent is sent anew. A request that is under way ends first.
BEGIN_ANEW = """
sending_id = NULL, sending_to = NULL, failures = 0, failing_since = NULL,
next_at = least(c.next_at, now() + make_interval(secs => :lease))
"""
# Whoever is reading what to send, for what it was, sees by it that it was changed.
RETRY_NOW = text(f"UPDATE webhook_cursors c SET {BEGIN_ANEW} WHERE webhook_id = :webhook")
# An event that was deleted has a ledger still.
READ_LAST = text("""
SELECT l.number FROM lanes l WHERE l.event_id = :event
AND (EXISTS (SELECT FROM webhook_cursors c
             WHERE c.webhook_id = :webhook AND c.event_id = l.event_id)
     OR EXISTS (SELECT FROM events e WHERE e.id = l.event_id AND e.owner_id = :user))
""")
REWIND = text(f"""
INSERT INTO webhook_cursors AS c (webhook_id, event_id, number) VALUES (:webhook, :event, :after)
ON CONFLICT (webhook_id, event_id) DO UPDATE SET number = :after, {BEGIN_ANEW}
""")

FAILING_SINCE = (
    select(func.min(WebhookCursor.failing_since))
    .where(WebhookCursor.webhook_id == Webhook.id, WebhookCursor.failures > 0)
    .scalar_subquery()
)
STORED = select(
    Webhook.id,
    Webhook.url,
    Webhook.event_id.label("event"),
    Webhook.kinds,
    Webhook.disabled_at.is_(None).label("enabled"),
    Webhook.created_at,
    Webhook.disabled_at,
    Webhook.disabled_reason,
    FAILING_SINCE.label("failing_since"),
)

ATTEMPTS = select(
    WebhookDelivery.delivery_id,
    WebhookDelivery.event_id.label("event"),
    WebhookDelivery.first_number.label("first"),
    WebhookDelivery.last_number.label("last"),
    WebhookDelivery.attempt,
    WebhookDelivery.at,
    WebhookDelivery.status,
    WebhookDelivery.failure,
    WebhookDelivery.milliseconds,
)


def add(
    engine: Engine,
    user_id: int,
    url: str,
    event_id: int | None,
    kinds: list[str],
    secret: bytes,
    webhooks_max: int,
    keyed: KeyedRequest | None = None,
) -> tuple[schemas.Webhook, bool]:
    """Raises:
    IdempotencyKeyReused, NotFound: as `once` does.
    TokenNotValid: the user does not exist any more.
    InvalidInput: the user has no such event.
    Conflict: the user has `webhooks_max` webhooks.
    """

    def make() -> schemas.Webhook:
        # Two requests of one user would both find room for a last webhook.
        user = connection.scalar(
            select(UserRow.id)
            .where(UserRow.id == user_id, UserRow.erased_at.is_(None))
            .with_for_update(key_share=True)
        )
        if user is None:
            raise TokenNotValid("The account of this token does not exist.")
        if event_id is not None and not connection.scalar(
            select(Event.id).where(Event.id == event_id, Event.owner_id == user_id)
        ):
            raise no_such_event()
        there = connection.scalar(select(func.count()).where(Webhook.user_id == user_id)) or 0
        if there >= webhooks_max:
            raise Conflict(f"You have {webhooks_max} webhooks; delete those that are not used.")
        id_ = connection.scalar(
            insert(Webhook)
            .values(user_id=user_id, event_id=event_id, url=url, kinds=kinds)
            .returning(Webhook.id)
        )
        connection.execute(insert(WebhookSecret).values(webhook_id=id_, secret=secret))
        connection.execute(BEGIN_AT_THE_END, {"webhook": id_, "user": user_id, "event": event_id})
        return _read(connection, user_id, id_)

    with connection_transaction(engine) as connection:
        find = partial(_read, connection, user_id)
        return once(connection, keyed, make, find, attrgetter("id"))


def read(engine: Engine, user_id: int, webhook_id: int) -> schemas.Webhook:
    with connection_transaction(engine) as connection:
        return _read(connection, user_id, webhook_id)


def page(engine: Engine, user_id: int, wanted: PageWanted | CursorWanted) -> dict[str, Any]:
    """A page of a user's webhooks. Raises as `newest_first`."""
    webhooks = STORED.where(Webhook.user_id == user_id)
    with connection_transaction(engine) as connection:
        links, rows = newest_first(connection, webhooks, Webhook.id, wanted)
    return links | {"results": [schemas.Webhook(**row) for row in rows]}


def change(
    engine: Engine, user_id: int, webhook_id: int, changes: Mapping[str, Any], lease_seconds: float
) -> schemas.Webhook:
    values: dict[str, Any] = {name: changes[name] for name in ("url", "kinds") if name in changes}
    with connection_transaction(engine) as connection:
        stored = _read(connection, user_id, webhook_id, lock=True)
        if "enabled" in changes and changes["enabled"] != stored.enabled:
            disabled = not changes["enabled"]
            values["disabled_at"] = func.now() if disabled else None
            values["disabled_reason"] = "owner" if disabled else None
        if values:
            connection.execute(update(Webhook).where(Webhook.id == webhook_id).values(values))
        if values or changes.get("enabled"):
            connection.execute(RETRY_NOW, {"webhook": webhook_id, "lease": lease_seconds})
        return _read(connection, user_id, webhook_id)


def remove(engine: Engine, user_id: int, webhook_id: int) -> None:
    with connection_transaction(engine) as connection:
        removed = connection.execute(
            delete(Webhook).where(Webhook.id == webhook_id, Webhook.user_id == user_id)
        )
        if not removed.rowcount:
            raise NotFound


def rotate(
    engine: Engine, user_id: int, webhook_id: int, secret: bytes, keyed: KeyedRequest | None = None
) -> tuple[schemas.Webhook, bool]:
    """A new secret; the one before it signs for another day.

    Raises:
        IdempotencyKeyReused: as `once` does.
        Conflict: it has `SECRETS_MAX` that sign.
    """

    def replace(connection: Connection, _stored: schemas.Webhook) -> None:
        of_webhook = WebhookSecret.webhook_id == webhook_id
        live = connection.scalar(
            select(func.count()).where(
                of_webhook,
                WebhookSecret.expires_at.is_(None) | (WebhookSecret.expires_at > func.now()),
            )
        )
        if live is not None and live >= SECRETS_MAX:
            raise Conflict(f"{SECRETS_MAX} secrets sign already; rotate again in some hours.")
        until = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, FORMER_SECRET_SECONDS)
        connection.execute(
            update(WebhookSecret)
            .where(of_webhook, WebhookSecret.expires_at.is_(None))
            .values(expires_at=until)
        )
        connection.execute(insert(WebhookSecret).values(webhook_id=webhook_id, secret=secret))

    return _once(engine, user_id, webhook_id, keyed, replace)


def request_test(
    engine: Engine, user_id: int, webhook_id: int, test_id: UUID, keyed: KeyedRequest | None = None
) -> tuple[schemas.Webhook, bool]:
    """A test that waits still is replaced. Raises IdempotencyKeyReused, as `once` does."""

    def request(connection: Connection, _stored: schemas.Webhook) -> None:
        connection.execute(update(Webhook).where(Webhook.id == webhook_id).values(test_id=test_id))

    return _once(engine, user_id, webhook_id, keyed, request)


def rewind(
    engine: Engine,
    user_id: int,
    webhook_id: int,
    event_id: int | None,
    after: int,
    lease_seconds: float,
    keyed: KeyedRequest | None = None,
) -> tuple[schemas.Webhook, bool]:
    """All entries of the event after a number are sent again.

    Raises:
        IdempotencyKeyReused: as `once` does.
        InvalidInput: the webhook does not follow this event, or its ledger is shorter.
    """

    def begin_anew(connection: Connection, stored: schemas.Webhook) -> None:
        if stored.event is not None and event_id not in (None, stored.event):
            raise InvalidInput(errors={"event": [f"The webhook is for event {stored.event}."]})
        if stored.event is None and event_id is None:
            raise InvalidInput(errors={"event": ["The webhook is for all events: name one."]})
        event = stored.event or event_id
        wanted = {"webhook": webhook_id, "event": event, "user": user_id}
        last = connection.scalar(READ_LAST, wanted)
        if last is None:
            raise no_such_event()
        if after > last:
            raise InvalidInput(errors={"after": [f"The last entry has the number {last}."]})
        connection.execute(REWIND, {**wanted, "after": after, "lease": lease_seconds})

    return _once(engine, user_id, webhook_id, keyed, begin_anew)


def deliveries(
    engine: Engine, user_id: int, webhook_id: int, wanted: PageWanted | CursorWanted
) -> dict[str, Any]:
    """A page of attempts. Raises also as `newest_first`."""
    attempts = ATTEMPTS.where(WebhookDelivery.webhook_id == webhook_id)
    with connection_transaction(engine) as connection:
        _read(connection, user_id, webhook_id)
        links, rows = newest_first(connection, attempts, WebhookDelivery.id, wanted)
    return links | {
        "results": [
            schemas.WebhookDelivery(id=message_id(row.pop("delivery_id")), **row) for row in rows
        ]
    }


def no_such_event() -> InvalidInput:
    return InvalidInput(errors={"event": ["You have no such event."]})


def _once(
    engine: Engine,
    user_id: int,
    webhook_id: int,
    keyed: KeyedRequest | None,
    do: Callable[[Connection, schemas.Webhook], None],
) -> tuple[schemas.Webhook, bool]:
    """Do it to the locked webhook, unless a request with this key has."""
    with connection_transaction(engine) as connection:
        find = partial(_read, connection, user_id)

        def do_to_locked() -> schemas.Webhook:
            stored = find(webhook_id, lock=True)
            do(connection, stored)
            return stored

        return once(connection, keyed, do_to_locked, find, attrgetter("id"))


def _read(
    connection: Connection, user_id: int, webhook_id: int | None, *, lock: bool = False
) -> schemas.Webhook:
    """Raises NotFound: the user has no such webhook."""
    found = STORED.where(Webhook.id == webhook_id, Webhook.user_id == user_id)
    if lock:
        found = found.with_for_update(of=Webhook, key_share=True)
    row = connection.execute(found).mappings().one_or_none()
    if row is None:
        raise NotFound
    return schemas.Webhook(**row)
