"""Holds, from the work list to the ledger: paid, released, expired, extended, cancelled."""

import time
from uuid import RFC_4122

import pytest
from psycopg2 import errors
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from purchase_worker import expiry
from purchase_worker.audit.all_events import audit
from purchase_worker.decision import EXTENDED_MAX_SECONDS
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import statement
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_user,
    entries,
    event_of,
    ignore,
    queue_buy,
    queue_resolution,
    rows,
    run,
)

REFERENCE = {"payment_reference": "pi_1"}


class Sale:
    """An event with a type of three tickets and one of two."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.event = add_event(engine)
        self.adult = add_ticket_type(engine, 3, event_id=self.event)
        self.child = add_ticket_type(engine, 2, event_id=self.event)
        self.seen = 2  # entries: the tickets were issued

    def decide(self) -> list[tuple[str, str | None]]:
        """Decide what is queued; returns the new entries."""
        drain(self.engine, [self.event], self.settings, ignore)
        new = entries(self.engine, self.event)[self.seen :]
        self.seen += len(new)
        return new

    def counters(self) -> list[tuple[int, int, int]]:
        """Issued, held and sold of adults and children."""
        return [
            (issued, held, sold)
            for issued, held, sold in rows(
                self.engine,
                "SELECT issued, held, sold FROM counters WHERE event_id = :id"
                " ORDER BY ticket_type_id",
                id=self.event,
            )
        ]

    def hold(self, *lines: tuple[int, int], seconds: int = 600, **columns: object) -> str:
        id_ = queue_buy(
            self.engine,
            lines or [(self.adult, 2), (self.child, 1)],
            hold_seconds=seconds,
            **columns,
        )
        assert self.decide() == [("held", None)]
        return id_

    def resolve(
        self, kind: str, purchase_id: str, **columns: object
    ) -> list[tuple[str, str | None]]:
        queue_resolution(self.engine, kind, purchase_id, **columns)
        return self.decide()

    def cancel(
        self, purchase_id: str, *, restock: bool = True, **quantities: int
    ) -> list[tuple[str, str | None]]:
        items = [
            f'{{"ticket_type": {getattr(self, t)}, "quantity": {n}}}' for t, n in quantities.items()
        ]
        return self.resolve("cancel", purchase_id, items=f"[{', '.join(items)}]", restock=restock)

    def holds(self) -> list[str]:
        return [row[0] for row in rows(self.engine, "SELECT purchase_id::text FROM holds")]

    def expire_due(self) -> list[int]:
        with statement(self.engine) as cursor:
            return expiry.queue_due(cursor).events

    def let_time_pass(self, seconds: int) -> None:
        """As if every hold had been made earlier."""
        with self.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(
                text("UPDATE holds SET ends_at = ends_at - make_interval(secs => :s)"),
                {"s": seconds},
            )


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    return Sale(engine, settings)


def test_a_hold_takes_its_tickets_and_is_paid_once(sale: Sale) -> None:
    id_ = sale.hold()
    assert sale.counters() == [(3, 2, 0), (2, 1, 0)]
    assert sale.holds() == [id_]

    assert sale.resolve("confirm", id_, **REFERENCE) == [("confirmed", None)]
    assert sale.counters() == [(3, 0, 2), (2, 0, 1)]
    assert sale.holds() == []

    for kind in ("confirm", "release", "expire"):
        assert sale.resolve(kind, id_, **REFERENCE) == [("refused", "already_confirmed")]
    assert sale.counters() == [(3, 0, 2), (2, 0, 1)]


def test_what_is_released_is_sold_to_the_next(sale: Sale) -> None:
    id_ = sale.hold((sale.adult, 3))
    queue_buy(sale.engine, [(sale.adult, 1)])
    queue_buy(sale.engine, [(sale.adult, 4)])
    assert sale.decide() == [("rejected", "all_held"), ("rejected", "not_enough_tickets")]

    queue_buy(sale.engine, [(sale.adult, 1)])
    assert sale.resolve("release", id_) == [("released", None), ("confirmed", None)]
    assert sale.counters() == [(3, 0, 1), (2, 0, 0)]
    assert sale.resolve("release", id_) == [("refused", "hold_released")]
    assert sale.resolve("confirm", id_, **REFERENCE) == [("refused", "hold_released")]


def test_a_due_hold_is_expired_once_and_not_before(sale: Sale) -> None:
    id_ = sale.hold(seconds=60)
    assert sale.expire_due() == []
    assert sale.resolve("expire", id_) == [("refused", "not_due")]

    sale.let_time_pass(60)
    assert sale.expire_due() == [sale.event]
    assert sale.expire_due() == [sale.event]  # which queues nothing more
    assert sale.decide() == [("expired", None)]
    assert sale.expire_due() == []
    assert sale.counters() == [(3, 0, 0), (2, 0, 0)]
    assert sale.resolve("confirm", id_, **REFERENCE) == [("refused", "hold_expired")]


def test_the_id_of_an_expiry_is_of_its_time(sale: Sale) -> None:
    """As those of other commands are: the lists of an event's purchases pass over it among them."""
    sale.hold(seconds=60)
    sale.let_time_pass(60)
    earliest = time.time_ns() // 1_000_000
    sale.expire_due()
    ((id_,),) = rows(sale.engine, "SELECT id FROM requests WHERE kind = 'expire'")
    assert (id_.version, id_.variant) == (7, RFC_4122)
    assert earliest <= id_.int >> 80 <= time.time_ns() // 1_000_000


def test_a_late_payment_that_comes_before_the_expiry_is_good(sale: Sale) -> None:
    id_ = sale.hold(seconds=60)
    sale.let_time_pass(3_600)
    queue_resolution(sale.engine, "confirm", id_, **REFERENCE)
    sale.expire_due()
    assert sale.decide() == [("confirmed", None), ("refused", "already_confirmed")]


def test_an_extension_outlives_an_expiry_that_was_queued_after_it(sale: Sale) -> None:
    id_ = sale.hold(seconds=60)
    sale.let_time_pass(60)
    assert sale.resolve("extend", id_, seconds=30) == [("extended", None)]
    assert sale.expire_due() == []
    assert sale.resolve("expire", id_) == [("refused", "not_due")]
    # What is held later is not extended by it.
    assert sale.hold((sale.child, 1), seconds=10) in sale.holds()
    sale.let_time_pass(10)
    sale.expire_due()
    assert sale.decide() == [("expired", None)]
    assert sale.holds() == [id_]


def test_an_expiry_before_an_extension_ends_the_hold(sale: Sale) -> None:
    id_ = sale.hold(seconds=60)
    sale.let_time_pass(60)
    sale.expire_due()
    queue_resolution(sale.engine, "extend", id_, seconds=600)
    assert sale.decide() == [("expired", None), ("extended", None)]


def test_extensions_end_before_a_time_that_cannot_be_counted(sale: Sale) -> None:
    id_ = sale.hold(seconds=60)
    assert sale.resolve("extend", id_, seconds=EXTENDED_MAX_SECONDS) == [("extended", None)]
    for seconds in (1, 2**31 - 1):
        assert sale.resolve("extend", id_, seconds=seconds) == [("refused", "extension_limit")]
    assert sale.resolve("confirm", id_, **REFERENCE) == [("confirmed", None)]
    assert audit(sale.engine, sale.settings).ok


def test_a_confirmed_purchase_is_cancelled_in_parts(sale: Sale) -> None:
    id_ = sale.hold()
    assert sale.cancel(id_, adult=1) == [("refused", "not_confirmed")]
    sale.resolve("confirm", id_, **REFERENCE)

    assert sale.cancel(id_, adult=1) == [("cancelled", None)]
    assert sale.counters() == [(3, 0, 1), (2, 0, 1)]
    assert sale.cancel(id_, adult=2, child=1) == [("refused", "already_cancelled")]
    assert sale.cancel(id_, adult=1, child=1, restock=False) == [("cancelled", None)]
    assert sale.counters() == [(2, 0, 0), (1, 0, 0)]
    assert sale.cancel(id_, child=1) == [("refused", "already_cancelled")]


def test_a_purchase_without_a_hold_is_cancelled_too_and_never_confirmed(sale: Sale) -> None:
    id_ = queue_buy(sale.engine, [(sale.adult, 2)])
    assert sale.decide() == [("confirmed", None)]
    assert sale.resolve("confirm", id_, **REFERENCE) == [("refused", "not_held")]
    assert sale.cancel(id_, adult=2) == [("cancelled", None)]
    assert sale.counters() == [(3, 0, 0), (2, 0, 0)]


def test_limits_count_what_is_held_and_stop_counting_what_came_back(sale: Sale) -> None:
    shop = add_user(sale.engine)
    terms = {"user_id": shop, "buyer": "anna", "event_limit": 2}
    id_ = sale.hold((sale.adult, 2), **terms)
    queue_buy(sale.engine, [(sale.child, 1)], **terms)
    queue_buy(sale.engine, [(sale.child, 1)], **(terms | {"buyer": "bert"}))
    assert sale.decide() == [("rejected", "over_user_limit"), ("confirmed", None)]

    sale.resolve("release", id_)
    queue_buy(sale.engine, [(sale.adult, 2)], **terms)
    queue_buy(sale.engine, [(sale.adult, 1)], **terms)
    assert sale.decide() == [("confirmed", None), ("rejected", "over_user_limit")]


def test_holds_of_one_moment_expire_in_chunks(sale: Sale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "EXPIRE_ROWS", 2)
    ids = [sale.hold((sale.adult, 1), seconds=60) for _ in range(3)]
    sale.let_time_pass(60)
    expired = 0
    while sale.expire_due():
        expired += len(sale.decide())
    assert expired == len(ids)
    assert sale.holds() == []


@pytest.mark.parametrize(
    ("change", "guard"),
    [
        ("amount = amount + 1", "requests_resolution"),
        ("user_id = user_id + 1", "requests_resolution"),
        ("currency = 'USD'", "requests_resolution"),
        ("payment_reference = 'used'", "requests_payment_reference"),
        ("event_id = event_id + 1", "requests_resolution"),
    ],
)
def test_the_database_refuses_a_confirmation_on_other_terms(
    sale: Sale, change: str, guard: str
) -> None:
    sale.resolve("confirm", sale.hold((sale.adult, 1)), payment_reference="used")
    id_ = sale.hold((sale.adult, 1))
    template = queue_resolution(sale.engine, "confirm", id_, **REFERENCE)
    columns = {
        name: name
        for name in ("event_id", "user_id", "kind", "purchase_id", "payment_reference", "amount")
    } | {"currency": "currency"}
    name, value = change.split(" = ")
    columns[name] = value
    with pytest.raises(DBAPIError) as caught:
        run(
            sale.engine,
            f"INSERT INTO requests (id, {', '.join(columns)})"
            f" SELECT gen_random_uuid(), {', '.join(columns.values())} FROM requests"
            " WHERE id = CAST(:id AS uuid)",
            id=template,
        )
    assert isinstance(caught.value.orig, errors.CheckViolation | errors.UniqueViolation)
    assert caught.value.orig.diag.constraint_name == guard


def test_each_hold_is_of_an_event_of_its_own(sale: Sale) -> None:
    other = Sale(sale.engine, sale.settings)
    mine, theirs = sale.hold(), other.hold()
    sale.let_time_pass(600)
    assert set(sale.expire_due()) == {sale.event, other.event}
    drain(sale.engine, [sale.event, other.event], sale.settings, ignore)
    assert sale.holds() == []
    assert [sale.resolve("release", mine), other.resolve("release", theirs)] == [
        [("expired", None), ("refused", "hold_expired")]
    ] * 2
    assert event_of(sale.engine, sale.adult) == sale.event
