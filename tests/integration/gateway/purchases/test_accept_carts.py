"""Accepting requests of several ticket types: all of them, or the errors of each."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine

from gateway.purchases import read
from gateway.purchases.accept import Accepted, PurchaseRequest, Replayed, queued_purchase
from shared.errors import (
    IdempotencyKeyReused,
    InvalidInput,
    NotEnoughTickets,
    Problem,
    SaleClosed,
    SaleNotOpen,
    SalePaused,
    TokenNotValid,
)
from shared.purchases import still_queued
from tests.support.factories import (
    accept,
    add_event,
    add_ticket_type,
    add_user,
    cart,
    event_of,
    request,
    rows,
    run,
    scalar,
)

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def as_items(wanted: PurchaseRequest) -> PurchaseRequest:
    return replace(wanted, as_items=True)


def stored(engine: Engine) -> int:
    count: int = scalar(engine, "SELECT count(*) FROM requests WHERE kind = 'buy'")
    assert scalar(engine, "SELECT count(*) FROM work_list WHERE class = 1") == count
    return count


def errors_of(verdict: object) -> Mapping[str, Sequence[str]]:
    assert isinstance(verdict, InvalidInput)
    return verdict.errors or {}


def test_a_cart_reads_the_same_later_on_the_terms_of_its_acceptance(engine: Engine) -> None:
    user, event = add_user(engine), add_event(engine)
    run(engine, "UPDATE events SET currency = 'CHF', max_per_user = 40")
    prices = [Decimal("0.00"), Decimal("19.90"), Decimal("9999999999.99")]
    limits = [None, 7, 1]
    types = [
        add_ticket_type(engine, 10, event_id=event, price=price, max_per_user=limit)
        for price, limit in zip(prices, limits, strict=True)
    ]
    wanted = cart(user, [(types[2], 3), (types[0], 2), (types[1], 3)])
    (verdict,) = accept(engine, [wanted])
    assert isinstance(verdict, Accepted)
    run(engine, "UPDATE events SET currency = 'JPY', max_per_user = 1")
    run(engine, "UPDATE ticket_types SET price = 1, max_per_user = 2")
    found = read.read(engine, [wanted.id], position_max_rows=1_000)[wanted.id]
    assert found.position == 0
    assert queued_purchase(wanted, verdict, 0.5) == still_queued(found.purchase, 0, 0.5)
    assert (found.purchase.currency, found.purchase.total_price) == ("CHF", "30000000059.67")
    (row,) = rows(engine, "SELECT items, event_user_limit FROM requests WHERE kind = 'buy'")
    assert [line["user_limit"] for line in row[0]] == [1, None, 7]
    assert row[1] == 40


def test_each_error_in_a_batch_leaves_the_other_carts_alone(engine: Engine) -> None:
    user, event = add_user(engine), add_event(engine)

    def of_event(capacity: int = 9, **columns: object) -> int:
        return add_ticket_type(engine, capacity, event_id=event, **columns)

    one, few, elsewhere = of_event(), of_event(max_per_purchase=2), add_ticket_type(engine, 9)
    paused = of_event(paused_at=NOW)
    earlier = cart(user, [(one, 1), (few, 1)], key="k")
    accept(engine, [earlier])
    expected = {
        cart(user, [(one, 1), (few, 1)]): Accepted,
        cart(user, [(one, 1), (999_999_999, 1)]): InvalidInput,
        cart(999_999_999, [(one, 1), (few, 1)]): TokenNotValid,
        cart(user, [(one, 1), (elsewhere, 1)]): InvalidInput,
        cart(user, [(few, 3), (one, 1)]): InvalidInput,
        cart(user, [(one, 1), (of_event(0), 1)]): NotEnoughTickets,
        cart(user, [(paused, 1), (one, 1)]): SalePaused,
        cart(user, [(one, 1), (of_event(sales_start=NOW + HOUR), 1)]): SaleNotOpen,
        cart(user, [(of_event(sales_end=NOW - HOUR), 1), (one, 1)]): SaleClosed,
        cart(user, [(few, 1), (one, 1)], key="k"): IdempotencyKeyReused,
        request(user, one, 1, key="k"): IdempotencyKeyReused,
        cart(user, [(one, 1), (few, 1)], key="k"): Replayed,
        request(user, one): Accepted,
        cart(user, [(few, 2), (one, 2)]): Accepted,
    }
    verdicts = accept(engine, [*expected])
    assert [type(verdict) for verdict in verdicts] == [*expected.values()]
    assert [v.position for v in verdicts if isinstance(v, Accepted)] == [1, 2, 3]
    assert stored(engine) == 4


def test_the_errors_of_all_lines_are_named_as_they_were_sent(engine: Engine) -> None:
    user, few = add_user(engine), add_ticket_type(engine, 9, max_per_purchase=2)
    other = add_ticket_type(engine, 9, event_id=event_of(engine, few))
    elsewhere = add_ticket_type(engine, 9, max_per_purchase=2)
    asked = [
        cart(user, [(few, 3), (8**20, 1), (elsewhere, 3), (other, 1)]),
        cart(user, [(8**20, 1), (few, 1), (elsewhere, 1)]),
        as_items(request(user, few, 3)),
        as_items(request(user, 8**20)),
        request(user, few, 3),
        request(user, 8**20),
    ]
    assert [sorted(errors_of(verdict)) for verdict in accept(engine, asked)] == [
        ["items.0.quantity", "items.1.ticket_type", "items.2.quantity", "items.2.ticket_type"],
        ["items.0.ticket_type", "items.2.ticket_type"],
        ["items.0.quantity"],
        ["items.0.ticket_type"],
        ["quantity"],
        ["ticket_type"],
    ]


def test_a_replay_outranks_whatever_the_sale_of_a_line_says_since(engine: Engine) -> None:
    user, one = add_user(engine), add_ticket_type(engine, 9)
    other = add_ticket_type(engine, 9, event_id=event_of(engine, one))
    lines = [(one, 1), (other, 1)]
    first = cart(user, lines, key="k")
    accept(engine, [first])
    run(engine, "UPDATE ticket_types SET sales_end = now() - interval '1 hour'")
    verdicts = accept(engine, [cart(user, lines, key="k"), cart(user, lines)])
    assert verdicts[0] == Replayed(first.id, event_of(engine, one))
    assert isinstance(verdicts[1], SaleClosed)


def test_concurrent_carts_with_one_key_make_one_purchase(engine: Engine) -> None:
    user, one = add_user(engine), add_ticket_type(engine, 9)
    other = add_ticket_type(engine, 9, event_id=event_of(engine, one))

    def ask(_nth: int) -> list[object]:
        return list(accept(engine, [cart(user, [(other, 1), (one, 1)], key="k")] * 2))

    with ThreadPoolExecutor(8) as pool:
        verdicts = [verdict for asked in pool.map(ask, range(20)) for verdict in asked]
    assert stored(engine) == 1
    assert {type(verdict) for verdict in verdicts} == {Accepted, Replayed}


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("DELETE FROM ticket_types WHERE id = {}", InvalidInput),
        ("UPDATE ticket_types SET event_id = {other} WHERE id = {}", InvalidInput),
        ("UPDATE ticket_types SET paused_at = now() WHERE id = {}", SalePaused),
    ],
    ids=["deleted", "moved", "paused"],
)
def test_a_line_whose_ticket_type_changes_meanwhile_is_refused(
    engine: Engine, change: str, refusal: type[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    user, one = add_user(engine), add_ticket_type(engine, 9)
    last = add_ticket_type(engine, 9, event_id=event_of(engine, one))
    change = change.format(last, other=add_event(engine))

    with engine.connect() as connection:
        # As the catalog does where no purchase may come in between.
        connection.exec_driver_sql(f"SELECT FROM ticket_types WHERE id = {last} FOR UPDATE")
        connection.exec_driver_sql(change)
        monkeypatch.setattr(time, "sleep", lambda _seconds: connection.commit())
        (verdict,) = accept(engine, [cart(user, [(one, 1), (last, 1)])])
    assert type(verdict) is refusal
    if isinstance(verdict, InvalidInput):
        assert list(errors_of(verdict)) == ["items.1.ticket_type"]
    assert stored(engine) == 0
