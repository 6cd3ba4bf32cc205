"""Puts users, events and ticket types into a database, and buys as the gateway does."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from sqlalchemy import Engine, text
from uuid_utils import uuid7

from gateway.purchases import store
from gateway.purchases.accept import Accepted, PurchaseRequest, Verdict
from gateway.purchases.request_body import LineInput, PurchaseInput, fingerprint
from purchase_worker.drain import Batch
from shared.database.engine import cursor_transaction

_names = count(1)
# Of a purchase `p`.
TOTAL = """coalesce(p.unit_price * p.quantity, (
    SELECT sum((line->>'unit_price')::numeric * (line->>'quantity')::int)
    FROM jsonb_array_elements(p.items) line))"""
LIMITS = store.Limits(position_max_rows=1_000, expired_holds_max=3)


def scalar(engine: Engine, statement: str, **parameters: Any) -> Any:
    with engine.begin() as connection:
        return connection.execute(text(statement), parameters).scalar_one()


def rows(engine: Engine, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with engine.begin() as connection:
        return [tuple(row) for row in connection.execute(text(statement), parameters)]


def run(engine: Engine, statement: str, **parameters: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def tamper(engine: Engine, *statements: str) -> None:
    """Change rows as only somebody with the database's own powers could: no trigger fires."""
    with cursor_transaction(engine) as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for change in statements:
            cursor.execute(change)
            assert cursor.rowcount, "the tampering must have changed something"


def add_user(engine: Engine) -> int:
    user_id: int = scalar(
        engine, "INSERT INTO users (username) VALUES (:name) RETURNING id", name=f"u{next(_names)}"
    )
    return user_id


def add_users(engine: Engine, how_many: int) -> list[int]:
    return [
        row[0]
        for row in rows(
            engine,
            "INSERT INTO users (username) SELECT :name || n FROM generate_series(1, :n) n"
            " RETURNING id",
            name=f"crowd{next(_names)}_",
            n=how_many,
        )
    ]


def add_event(engine: Engine, owner_id: int | None = None) -> int:
    starts = datetime.now(UTC) + timedelta(days=30)
    event_id: int = scalar(
        engine,
        "INSERT INTO events (title, start_time, end_time, owner_id)"
        " VALUES ('Concert', :starts, :ends, :owner) RETURNING id",
        starts=starts,
        ends=starts + timedelta(hours=3),
        owner=owner_id or add_user(engine),
    )
    return event_id


def add_ticket_type(engine: Engine, capacity: int, **columns: Any) -> int:
    """A ticket type of an event of its own, with so many tickets to sell."""
    values: dict[str, Any] = {"name": "Standing", "price": Decimal("25.00")} | columns
    if "event_id" not in values:
        values["event_id"] = add_event(engine)
    names = ", ".join(values)
    placeholders = ", ".join(f":{name}" for name in values)
    ticket_type_id: int = scalar(
        engine,
        f"INSERT INTO ticket_types ({names}) VALUES ({placeholders}) RETURNING id",
        **values,
    )
    issue(engine, ticket_type_id, capacity)
    return ticket_type_id


def issue(engine: Engine, ticket_type_id: int, change: int) -> None:
    """Issue tickets, or withdraw some, as the catalog does."""
    run(engine, "SELECT eventify_issue(:id, :change)", id=ticket_type_id, change=change)


def queue_many(
    engine: Engine,
    ticket_type_id: int,
    how_many: int,
    user_id: int | None = None,
    buyer: str = "",
) -> None:
    """Queue that many purchases of one ticket each, all of one user."""
    run(
        engine,
        "INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price,"
        "                      currency, request_id, buyer)"
        " SELECT gen_random_uuid(), event_id, :user_id, id, 1, price, 'EUR', 'test', :buyer"
        " FROM ticket_types, generate_series(1, :how_many) WHERE id = :id",
        user_id=user_id or add_user(engine),
        buyer=buyer,
        how_many=how_many,
        id=ticket_type_id,
    )


def queue_issue(engine: Engine, ticket_type_id: int, change: int) -> str:
    """Queue a command to issue tickets, or to withdraw some; returns its id."""
    command_id: str = scalar(
        engine,
        "INSERT INTO requests (id, event_id, kind, ticket_type_id, quantity)"
        " SELECT gen_random_uuid(), event_id, CAST(:kind AS request_kind), id, :quantity"
        " FROM ticket_types WHERE id = :ticket_type_id RETURNING id::text",
        kind="issue" if change > 0 else "withdraw",
        quantity=abs(change),
        ticket_type_id=ticket_type_id,
    )
    return command_id


def queue_buy(
    engine: Engine,
    lines: Sequence[tuple[int, int]],
    *,
    hold_seconds: int | None = None,
    **columns: Any,
) -> str:
    """Queue a purchase with a hold of any length; returns its id. Prices are 10.00."""
    (first, quantity), *others = lines
    purchase_id: str = scalar(
        engine,
        "INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price, items,"
        "                      currency, hold_seconds, buyer, event_user_limit)"
        " SELECT gen_random_uuid(), event_id, :user_id, :id, :quantity, :price,"
        "        CAST(:items AS jsonb), 'EUR', :hold_seconds, :buyer, :limit"
        " FROM ticket_types WHERE id = :first RETURNING id::text",
        user_id=columns.get("user_id") or add_user(engine),
        first=first,
        id=None if others else first,
        quantity=None if others else quantity,
        price=None if others else Decimal(10),
        items=json.dumps(
            [
                {"ticket_type": id_, "quantity": wanted, "unit_price": "10.00", "user_limit": None}
                for id_, wanted in lines
            ]
        )
        if others
        else None,
        hold_seconds=hold_seconds,
        buyer=columns.get("buyer", ""),
        limit=columns.get("event_limit"),
    )
    return purchase_id


def queue_resolution(
    engine: Engine, kind: str, purchase_id: str | None = None, **columns: Any
) -> str:
    """Queue a confirmation, release, cancellation, expiry or extension; returns its id.

    It is asked for by the event's owner, on the purchase's own terms.
    """
    values = {
        "event_id": "p.event_id",
        "user_id": "p.user_id" if kind == "expire" else "e.owner_id",
        "buyer": "p.buyer" if kind == "expire" else "''",
        "payment_reference": ":payment_reference" if kind == "confirm" else "NULL",
        "currency": "'EUR'" if kind == "confirm" else "NULL",
        "amount": TOTAL if kind == "confirm" else "NULL",
        "items": "CAST(:items AS jsonb)" if kind == "cancel" else "NULL",
        "restock": ":restock" if kind == "cancel" else "NULL",
        "hold_seconds": ":seconds" if kind == "extend" else "NULL",
        "purchase_id": "NULL" if kind == "extend" else "p.id",
    }
    command_id: str = scalar(
        engine,
        f"INSERT INTO requests (id, kind, {', '.join(values)})"
        f" SELECT gen_random_uuid(), CAST(:kind AS request_kind), {', '.join(values.values())}"
        " FROM requests p JOIN events e ON e.id = p.event_id WHERE p.id = CAST(:id AS uuid)"
        " RETURNING id::text",
        kind=kind,
        id=purchase_id,
        **columns,
    )
    return command_id


def event_of(engine: Engine, ticket_type_id: int) -> int:
    event_id: int = scalar(
        engine, "SELECT event_id FROM ticket_types WHERE id = :id", id=ticket_type_id
    )
    return event_id


def request(
    user_id: int, ticket_type_id: int, quantity: int = 1, key: str | None = None
) -> PurchaseRequest:
    return cart(user_id, [(ticket_type_id, quantity)], key)


def cart(user_id: int, lines: Sequence[tuple[int, int]], key: str | None = None) -> PurchaseRequest:
    """A request of several lines: ticket type and quantity of each."""
    wanted = PurchaseInput(tuple(LineInput(*line) for line in lines))
    return PurchaseRequest(
        id=str(uuid7()),
        user_id=user_id,
        lines=wanted.lines,
        idempotency_key=key,
        fingerprint=fingerprint(wanted) if key else None,
        request_id="test",
    )


def accept(engine: Engine, requests: Sequence[PurchaseRequest]) -> list[Verdict]:
    return store.accept(engine, requests, LIMITS)


def queue(engine: Engine, requests: Sequence[PurchaseRequest]) -> list[str]:
    """Accept requests that nothing speaks against; returns their ids."""
    verdicts = accept(engine, requests)
    assert all(isinstance(verdict, Accepted) for verdict in verdicts), verdicts
    return [r.id for r in requests]


def entries(engine: Engine, event_id: int) -> list[tuple[str, str | None]]:
    """Kind and reason of each entry of an event, in order."""
    return [
        (row[0], row[1])
        for row in rows(
            engine,
            "SELECT kind::text, reason::text FROM ledger WHERE event_id = :id ORDER BY number",
            id=event_id,
        )
    ]


def counter(engine: Engine, ticket_type_id: int) -> tuple[int, int]:
    """Issued and sold."""
    row = rows(
        engine, "SELECT issued, sold FROM counters WHERE ticket_type_id = :id", id=ticket_type_id
    )[0]
    return row[0], row[1]


def outcomes(engine: Engine, ticket_type_id: int) -> list[tuple[str, str, str | None]]:
    """Id, status and reason of each purchase of one line, in the order of acceptance."""
    return [
        (str(row[0]), row[1], row[2])
        for row in rows(
            engine,
            "SELECT r.id, coalesce(e.kind::text, 'queued'), e.reason::text FROM requests r"
            " LEFT JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id"
            " WHERE r.ticket_type_id = :id AND r.kind = 'buy' ORDER BY r.seq",
            id=ticket_type_id,
        )
    ]


def all_confirmed(engine: Engine, ticket_type_id: int) -> None:
    """Fails until every purchase of this one line is."""
    assert {status for _, status, _ in outcomes(engine, ticket_type_id)} == {"confirmed"}


def nothing_is_queued(engine: Engine) -> None:
    assert scalar(engine, "SELECT count(*) FROM work_list") == 0


def make_trouble(engine: Engine, event_id: int) -> None:
    """From now on nothing can be decided of this event."""
    run(
        engine,
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'trouble'; END $$",
    )
    run(
        engine,
        "CREATE TRIGGER trouble BEFORE UPDATE ON lanes FOR EACH ROW"
        f" WHEN (OLD.event_id = {event_id}) EXECUTE FUNCTION fail()",
    )


def ignore(_batch: Batch) -> None:
    """A listener for tests that look into the database instead."""
