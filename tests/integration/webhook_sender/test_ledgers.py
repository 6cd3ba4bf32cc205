"""What is remembered of a ledger is what the ledger has."""

import random

from sqlalchemy import Engine

from shared.database.engine import statement
from shared.database.ledger import read_entries
from tests.integration.webhook_sender.conftest import Sale
from tests.support.factories import issue, scalar
from webhook_sender.ledgers import ENTRIES_MAX, TAIL_ENTRIES, Ledgers

KINDS = ["issued", "confirmed"]


def test_pages_are_those_of_the_ledger_wherever_one_begins(sale: Sale, engine: Engine) -> None:
    choice = random.Random(7)
    ledgers = Ledgers()
    epoch = scalar(engine, "SELECT epoch FROM ledger_epoch")
    for _ in range(8):
        last = sale.sell(choice.choice([1, 50, TAIL_ENTRIES + 200]))
        issue(engine, sale.ticket_type, 1)
        for _ in range(10):
            after = max(0, last - choice.choice([0, 1, 30, 150, TAIL_ENTRIES, 2 * TAIL_ENTRIES]))
            kinds = choice.choice([KINDS, ["issued"]])
            page = ledgers.page(engine, sale.event, epoch, after, last, kinds)
            with statement(engine) as cursor:
                found = read_entries(cursor, sale.event, after, rows=ENTRIES_MAX, kinds=kinds)
            # The page may have been read before the last entry came.
            numbers = [each.number for each in found.entries if each.number <= page.last]
            assert [each.number for each in page.entries] == numbers
            assert last <= page.last or len(page.entries) == ENTRIES_MAX


def test_a_page_begins_where_it_is_asked_to_however_much_is_remembered(
    sale: Sale, engine: Engine
) -> None:
    ledgers = Ledgers()
    epoch = scalar(engine, "SELECT epoch FROM ledger_epoch")

    def first(after: int, last: int) -> int:
        return ledgers.page(engine, sale.event, epoch, after, last, KINDS).entries[0].number

    remembered = sale.sell(2 * TAIL_ENTRIES - 50 - sale.last)
    for last in range(950, remembered + 1, 1_000):
        assert first(max(0, last - 1_000), last) == max(1, last - 999)
    # More than is remembered at most, before it is read.
    sale.sell(500)
    assert first(TAIL_ENTRIES, 2 * TAIL_ENTRIES) == TAIL_ENTRIES + 1
    assert first(sale.last - 1, sale.last) == sale.last


def test_entries_that_a_failover_lost_are_forgotten(sale: Sale, engine: Engine) -> None:
    ledgers = Ledgers()
    epoch = scalar(engine, "SELECT epoch FROM ledger_epoch")
    last = sale.sell(30)
    before = ledgers.page(engine, sale.event, epoch, 0, last, KINDS)
    after = ledgers.page(engine, sale.event, epoch, 0, last - 10, KINDS)
    assert (before.last, after.last) == (last, last - 10)
    again = ledgers.page(engine, sale.event, epoch, 0, last, KINDS)
    assert again.entries[-1].number == last
    assert again.entries[-1] is not before.entries[-1]


def test_another_epoch_is_another_ledger(sale: Sale, engine: Engine) -> None:
    ledgers = Ledgers()
    last = sale.sell(3)
    first = ledgers.page(engine, sale.event, "000000000001", 0, last, KINDS)
    again = ledgers.page(engine, sale.event, "000000000002", 0, last, KINDS)
    assert [each.json for each in first.entries] == [each.json for each in again.entries]
    assert first.entries[0] is not again.entries[0]
