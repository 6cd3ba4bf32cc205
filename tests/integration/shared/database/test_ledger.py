"""The entries of a ledger as the feed, webhooks and exports have them."""

import msgspec
import pytest
from sqlalchemy import Engine

from shared.config.settings import Settings
from shared.database.engine import open_engine, statement
from shared.database.ledger import READ, LedgerBroken, read_entries
from shared.database.rights import GATEWAY
from tests.support.every_kind import Sale
from tests.support.factories import (
    queue_many,
    queue_resolution,
    scalar,
    tamper,
)
from tests.support.plans import scans


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> Sale:
    return Sale(engine, settings)


def test_an_entry_of_every_kind_says_what_it_did_and_what_became_of_the_purchase(
    sale: Sale,
) -> None:
    bought = sale.sell_of_every_kind()
    cart, paid, given_up = bought["cart"], bought["paid"], bought["given_up"]
    late, too_many = bought["late"], bought["too_many"]
    found = sale.read()
    said = [
        (e.number, e.kind, e.status, e.reason, e.purchase, e.total_price, e.payment_reference)
        for e in found.entries
    ]
    assert said == [
        (1, "issued", None, None, None, None, None),
        (2, "issued", None, None, None, None, None),
        (3, "withdrawn", None, None, None, None, None),
        (4, "confirmed", "confirmed", None, cart, "30.00", None),
        (5, "held", "held", None, paid, "30.00", None),
        (6, "held", "held", None, given_up, "10.00", None),
        (7, "held", "held", None, late, "10.00", None),
        (8, "rejected", "rejected", "not_enough_tickets", too_many, "90.00", None),
        (9, "confirmed", "confirmed", None, paid, "30.00", "pi_1"),
        (10, "released", "released", None, given_up, "10.00", None),
        (11, "refused", "released", "hold_released", given_up, "0.00", "pi_2"),
        (12, "refused", None, "not_enough_tickets", None, None, None),
        (13, "cancelled", "confirmed", None, cart, "10.00", None),
        (14, "cancelled", "cancelled", None, cart, "20.00", None),
        (15, "refused", "cancelled", "already_cancelled", cart, "0.00", None),
        (16, "extended", None, None, None, None, None),
        (17, "refused", "held", "not_due", late, "0.00", None),
    ]
    assert found.last == 17
    assert found.epoch == scalar(sale.engine, "SELECT epoch FROM ledger_epoch")
    assert [e.batch for e in found.entries] == [1, 2, 3, *[4] * 5, *[9] * 4, *[13] * 5]
    assert {e.user for e in found.entries if e.purchase} == {sale.user}
    assert {e.buyer for e in found.entries if e.purchase} == {"Ann"}
    lines = [
        [
            (i.ticket_type, i.quantity, i.change, i.left_after, i.unit_price, i.cancelled or 0)
            for i in entry.items
        ]
        for entry in found.entries
    ]
    adult, child = sale.adult, sale.child
    assert lines == [
        [(adult, 10, 10, 10, None, 0)],
        [(child, 5, 5, 5, None, 0)],
        [(child, 1, -1, 4, None, 0)],
        [(adult, 2, -2, 8, "10.00", 0), (child, 1, -1, 3, "10.00", 0)],
        [(adult, 3, -3, 5, "10.00", 0)],
        [(adult, 1, -1, 4, "10.00", 0)],
        [(child, 1, -1, 2, "10.00", 0)],
        [(adult, 9, 0, 4, "10.00", 0)],
        [(adult, 3, 0, 4, "10.00", 0)],
        [(adult, 1, 1, 5, "10.00", 0)],
        [],
        [(child, 5, 0, 2, None, 0)],
        [(adult, 1, 0, 5, "10.00", 1)],
        [(child, 1, 1, 3, "10.00", 1), (adult, 1, 1, 6, "10.00", 2)],
        [],
        [],
        [],
    ]
    moments = msgspec.to_builtins([found.entries[4], found.entries[12], found.entries[15]])
    held, cancelled, extended = moments
    assert held["held_until"][:17] > held["at"][:17]
    assert (cancelled["restock"], extended["seconds"]) == (False, 120)


def test_a_cancellation_of_a_single_line_has_its_price(sale: Sale) -> None:
    bought = sale.buy((sale.adult, 2))
    sale.decide()
    items = f'[{{"ticket_type": {sale.adult}, "quantity": 1}}]'
    queue_resolution(sale.engine, "cancel", bought, items=items, restock=True)
    sale.decide()
    (cancelled,) = sale.read(kinds=["cancelled"]).entries
    assert (cancelled.total_price, cancelled.items[0].unit_price) == ("10.00", "10.00")


def test_pages_follow_one_another_and_a_filter_says_how_far_it_has_looked(sale: Sale) -> None:
    for _ in range(8):
        sale.buy((sale.adult, 2))
    sale.decide()
    assert [[e.number for e in sale.read(after, 4).entries] for after in (0, 4, 8, 10, 99)] == [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [9, 10],
        [],
        [],
    ]
    assert sale.read(99).last == 99
    page = sale.read(0, 2, ["rejected", "drawn"])
    assert ([e.number for e in page.entries], page.last) == ([8, 9], 9)
    page = sale.read(9, 2, ["rejected", "drawn"])
    assert ([e.number for e in page.entries], page.last) == ([10], 10)
    page = sale.read(3, 2, ["issued"])
    assert ([e.number for e in page.entries], page.last) == ([], 10)


def test_a_ledger_that_was_changed_by_force_is_not_read_as_if_it_were_whole(sale: Sale) -> None:
    sale.buy((sale.adult, 1))
    sale.decide()
    tamper(sale.engine, "DELETE FROM ledger WHERE number = 2")
    assert [e.number for e in sale.read(2).entries] == [3]
    with pytest.raises(LedgerBroken):
        sale.read(0)


def test_a_page_looks_up_what_it_has_and_no_more_however_long_the_ledger_is(
    sale: Sale, settings: Settings
) -> None:
    """Planned while the tables were empty, as by a gateway that was started before the sale."""

    gateway = open_engine(settings, "gateway", pool_size=1, prepares=True, role=GATEWAY)
    with statement(gateway) as cursor:
        read_entries(cursor, sale.event, 0, rows=1)
        queue_many(sale.engine, sale.adult, 2_000)
        sale.decide()
        ten = {"event_id": sale.event, "after": 1_000, "rows": 10, "kinds": None}
        cursor.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + READ.bind(cursor, ten))
        ((plan,),) = cursor.fetchall()
    found = [
        (scan.get("Index Name"), scan["Actual Rows"] * scan["Actual Loops"])
        for scan in scans(plan[0]["Plan"])
        if "Relation Name" in scan and scan["Actual Loops"]
    ]
    # Of each entry its command, no earlier purchase, and its batch.
    assert found == [
        ("ledger_pkey", 10),
        (None, 1),
        ("requests_pkey", 10),
        ("requests_pkey", 0),
        ("batches_pkey", 10),
    ]
    gateway.dispose()
