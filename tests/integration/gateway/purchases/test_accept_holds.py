"""Accepting requests while tickets are on hold, and of buyers who let holds expire."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine

from gateway.purchases.accept import Accepted, PurchaseRequest
from purchase_worker import expiry
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import statement
from shared.errors import AllHeld, NotEnoughTickets, TooManyExpiredHolds
from shared.purchases import Short
from tests.support.factories import (
    accept,
    add_event,
    add_ticket_type,
    add_user,
    cart,
    ignore,
    queue,
    queue_resolution,
    request,
    rows,
    scalar,
    tamper,
)
from tests.support.plans import rows_read

Decide = Callable[[], None]


@pytest.fixture
def event(engine: Engine) -> int:
    return add_event(engine)


@pytest.fixture
def decide(engine: Engine, settings: Settings, event: int) -> Decide:
    def decide_all() -> None:
        with statement(engine) as cursor:
            expiry.queue_due(cursor)
        drain(engine, [event], settings, ignore)

    return decide_all


def let_time_pass(engine: Engine, seconds: int) -> None:
    """As if all holds, and all decisions, had been made earlier."""
    ago = f"make_interval(secs => {seconds})"
    tamper(
        engine,
        f"UPDATE batches SET at = at - {ago}",
        f"UPDATE requests SET created_at = created_at - {ago}",
    )
    if scalar(engine, "SELECT count(*) FROM holds"):
        tamper(engine, f"UPDATE holds SET ends_at = ends_at - {ago}")


def test_a_purchase_is_held_as_long_as_the_shortest_of_its_types(
    engine: Engine, event: int, decide: Decide
) -> None:
    user = add_user(engine)
    long, short, plain = (
        add_ticket_type(engine, 5, event_id=event, hold_seconds=seconds)
        for seconds in (600, 60, None)
    )
    ids = queue(
        engine,
        [
            request(user, long),
            request(user, plain),
            cart(user, [(long, 1), (short, 1), (plain, 1)]),
            cart(user, [(plain, 1), (long, 1)]),
        ],
    )
    decide()
    held = rows(
        engine, "SELECT id::text, hold_seconds FROM requests WHERE kind = 'buy' ORDER BY seq"
    )
    assert held == list(zip(ids, [600, None, 60, 600], strict=True))
    assert scalar(engine, "SELECT count(*) FROM holds") == 3


def test_what_is_on_hold_is_told_from_what_is_sold_out(
    engine: Engine, event: int, decide: Decide
) -> None:
    user = add_user(engine)
    ticket_type = add_ticket_type(engine, 3, event_id=event, hold_seconds=100)
    other = add_ticket_type(engine, 1, event_id=event)
    queue(engine, [request(user, ticket_type, 2)])
    plain, paid = queue(engine, [request(user, other), request(user, ticket_type)])
    decide()
    queue_resolution(engine, "confirm", paid, payment_reference="pi")
    decide()
    assert plain

    fits, *others = accept(
        engine,
        [
            request(user, ticket_type, 2),
            request(user, ticket_type, 3),
            request(user, other),
            cart(user, [(ticket_type, 1), (other, 1)]),
        ],
    )
    assert isinstance(fits, AllHeld)
    assert fits.extra["short"] is not None
    assert 75 <= int(fits.headers["Retry-After"]) <= 125
    assert [type(verdict) for verdict in others] == [NotEnoughTickets] * 3
    assert scalar(engine, "SELECT count(*) FROM requests WHERE kind = 'buy'") == 3


def test_a_cart_is_told_that_all_of_it_may_come_back(
    engine: Engine, event: int, decide: Decide
) -> None:
    user = add_user(engine)
    first = add_ticket_type(engine, 2, event_id=event, hold_seconds=100)
    second = add_ticket_type(engine, 3, event_id=event, hold_seconds=100)
    queue(engine, [cart(user, [(first, 2), (second, 1)])])
    decide()
    queue_resolution(
        engine, "extend", scalar(engine, "SELECT purchase_id::text FROM holds"), seconds=900
    )
    decide()
    fits, beyond = accept(
        engine, [cart(user, [(second, 3), (first, 1)]), cart(user, [(second, 4), (first, 1)])]
    )
    assert (type(fits), type(beyond)) == (AllHeld, NotEnoughTickets)
    # Also what is not sold out is named, if it is too little.
    some = add_ticket_type(engine, 1, event_id=event)
    (short,) = accept(engine, [cart(user, [(first, 1), (some, 2)])])
    assert isinstance(short, NotEnoughTickets)
    assert short.extra["short"] == [Short(first, 1, 0), Short(some, 2, 1)]
    # The extension counts.
    assert isinstance(fits, AllHeld)
    assert 740 <= int(fits.headers["Retry-After"]) <= 1_250


def test_who_lets_too_many_holds_expire_gets_no_more_of_them_for_an_hour(
    engine: Engine, event: int, decide: Decide
) -> None:
    user, another = add_user(engine), add_user(engine)
    ticket_type = add_ticket_type(engine, 9, event_id=event, hold_seconds=60)
    plain = add_ticket_type(engine, 9, event_id=event)
    many = add_ticket_type(engine, 99, event_id=event)
    elsewhere = add_ticket_type(engine, 9, hold_seconds=60)
    queue(engine, [request(user, ticket_type) for _ in range(2)])
    decide()
    let_time_pass(engine, 1_200)
    decide()
    (released,) = queue(engine, [request(user, ticket_type)])
    decide()
    queue_resolution(engine, "release", released)
    decide()
    queue(engine, [request(user, ticket_type)])  # what is released does not count
    decide()
    let_time_pass(engine, 60)
    decide()
    queue(engine, [request(user, many) for _ in range(30)])  # nor do they hide behind others
    for refused in accept(
        engine, [request(user, ticket_type), cart(user, [(plain, 1), (ticket_type, 1)])]
    ):
        assert isinstance(refused, TooManyExpiredHolds)
        # The newest three count: their first expired 60 seconds ago.
        assert 3_500 < int(refused.headers["Retry-After"]) <= 3_540
    verdicts = accept(
        engine,
        [request(another, ticket_type), request(user, plain), request(user, elsewhere)],
    )
    assert [type(verdict) for verdict in verdicts] == [Accepted] * 3

    let_time_pass(engine, 3_560)
    assert isinstance(accept(engine, [request(user, ticket_type)])[0], Accepted)


def test_holds_that_expired_by_a_clock_that_was_ahead_do_not_count(
    engine: Engine, event: int, decide: Decide
) -> None:
    user = add_user(engine)
    ticket_type = add_ticket_type(engine, 9, event_id=event, hold_seconds=60)
    queue(engine, [request(user, ticket_type) for _ in range(3)])
    decide()
    let_time_pass(engine, 60)
    decide()
    let_time_pass(engine, -10 * 86_400)
    assert isinstance(accept(engine, [request(user, ticket_type)])[0], Accepted)


def test_holds_that_expired_long_ago_are_not_read_again(
    engine: Engine, event: int, decide: Decide
) -> None:
    often, never = add_user(engine), add_user(engine)
    ticket_type = add_ticket_type(engine, 99, event_id=event, hold_seconds=60)
    queue(engine, [request(often, ticket_type) for _ in range(60)])
    decide()
    let_time_pass(engine, 60)
    decide()
    let_time_pass(engine, 7_200)

    def read_for(user: int) -> int:
        before = rows_read(engine)
        (verdict,) = accept(engine, [request(user, ticket_type)])
        assert isinstance(verdict, Accepted)
        return rows_read(engine) - before

    read_for(never)
    assert read_for(often) < read_for(never) + 20


def test_the_owner_of_an_event_may_let_any_number_of_holds_expire(
    engine: Engine, event: int, decide: Decide
) -> None:
    owner = scalar(engine, "SELECT owner_id FROM events WHERE id = :id", id=event)
    ticket_type = add_ticket_type(engine, 9, event_id=event, hold_seconds=60)
    queue(engine, [request(owner, ticket_type) for _ in range(4)])
    decide()
    let_time_pass(engine, 60)
    decide()
    assert scalar(engine, "SELECT count(*) FROM ledger WHERE kind = 'expired'") == 4
    assert isinstance(accept(engine, [request(owner, ticket_type)])[0], Accepted)


def test_each_buyer_of_an_owner_has_the_limit(engine: Engine, event: int, decide: Decide) -> None:
    owner = scalar(engine, "SELECT owner_id FROM events WHERE id = :id", id=event)
    ticket_type = add_ticket_type(engine, 9, event_id=event, hold_seconds=60)

    def asked(buyer: str) -> PurchaseRequest:
        return replace(request(owner, ticket_type), buyer=buyer)

    queue(engine, [asked("anna") for _ in range(3)])
    decide()
    let_time_pass(engine, 60)
    decide()
    verdicts = accept(engine, [asked("anna"), asked("bert"), asked("")])
    assert [type(verdict) for verdict in verdicts] == [TooManyExpiredHolds, Accepted, Accepted]
