"""The audit of holds, payments and cancellations: what is honest passes, tampering is named."""

import json

import pytest
from sqlalchemy import Engine, text

from purchase_worker import expiry
from purchase_worker.audit import by_holder, read
from purchase_worker.audit.all_events import audit
from purchase_worker.audit.counter_watch import CounterWatch
from purchase_worker.audit.findings import INVENTORY, NUMBERING
from purchase_worker.drain import drain
from purchase_worker.metrics import AUDIT_VIOLATIONS
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
    tamper,
)
from tests.support.figures import figure
from tests.support.tampering import asked, broken, entry

AN_HOUR_AGO = "- interval '1 hour'"
PASSES = (
    f"UPDATE requests SET created_at = created_at {AN_HOUR_AGO}",
    f"UPDATE batches SET at = at {AN_HOUR_AGO}",
    f"UPDATE lanes SET at = at {AN_HOUR_AGO}",
    f"UPDATE holds SET ends_at = ends_at {AN_HOUR_AGO}",
)
HISTORY = [
    *[("issued", None)] * 2,
    # 3 to 8: a cart is paid, and cancelled in parts; another is released
    *(("held", None), ("confirmed", None), ("cancelled", None), ("cancelled", None)),
    *(("held", None), ("released", None)),
    # 9 to 13: one expires in the end, one stays
    *(("held", None), ("extended", None), ("refused", "not_due")),
    *(("held", None), ("expired", None)),
    # 14 and 15: paid too late, and cancelled before it is paid
    *(("refused", "hold_expired"), ("refused", "not_confirmed")),
    # 16 to 19: with a limit of two, which counts no more what came back
    *(("held", None), ("rejected", "over_user_limit"), ("released", None), ("confirmed", None)),
    # 20 to 23: all that is left is held; another is paid; confirmed at once and cancelled
    *(("rejected", "all_held"), ("confirmed", None), ("held", None), ("confirmed", None)),
    ("cancelled", None),
]


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> int:
    event = add_event(engine)
    adult, child = (add_ticket_type(engine, n, event_id=event) for n in (10, 6))

    def decide() -> None:
        drain(engine, [event], settings, ignore)

    def hold(*lines: tuple[int, int], seconds: int | None = 7_200, **columns: object) -> str:
        id_ = queue_buy(engine, lines, hold_seconds=seconds, **columns)
        decide()
        return id_

    def resolve(kind: str, id_: str, **columns: object) -> None:
        queue_resolution(engine, kind, id_, **columns)
        decide()

    def cancel(id_: str, ticket_type: int, *, restock: bool) -> None:
        items = json.dumps([{"ticket_type": ticket_type, "quantity": 1}])
        resolve("cancel", id_, items=items, restock=restock)

    paid = hold((adult, 2), (child, 1))
    resolve("confirm", paid, payment_reference="pi_1")
    cancel(paid, adult, restock=True)
    cancel(paid, child, restock=False)
    resolve("release", hold((adult, 2)))
    lapsed = hold((adult, 1), seconds=60)
    resolve("extend", lapsed, seconds=30)
    resolve("expire", lapsed)
    still_held = hold((adult, 3), (child, 1))
    tamper(engine, *PASSES)
    with statement(engine) as cursor:
        assert expiry.queue_due(cursor).events == [event]
    decide()
    resolve("confirm", lapsed, payment_reference="pi_2")
    cancel(still_held, child, restock=True)
    anna = {"user_id": add_user(engine), "buyer": "anna", "event_limit": 2}
    given_back = hold((adult, 2), **anna)
    hold((child, 1), **anna)
    resolve("release", given_back)
    hold((adult, 2), seconds=None, **anna)
    hold((child, 5))
    at_once = hold((child, 1), seconds=None)
    queue_resolution(engine, "confirm", hold((adult, 1)), payment_reference="pi_3")
    decide()
    cancel(at_once, child, restock=True)
    queue_buy(engine, [(child, 1)])
    assert entries(engine, event) == HISTORY
    return event


def test_an_honest_sale_with_holds_passes(
    engine: Engine, settings: Settings, sale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = audit(engine, settings)
    assert broken(report) == set()
    assert (report.issued, report.held, report.sold, report.left) == (15, 4, 4, 7)
    assert (report.purchases, report.confirmed, report.open_holds) == (11, 4, 1)
    assert (report.released, report.expired) == (2, 1)
    assert (report.rejected, report.queued) == (2, 1)
    # Nothing of a purchase is remembered from one part to the next.
    monkeypatch.setattr(read, "ROWS_AT_A_TIME", 1)
    monkeypatch.setattr(by_holder, "ROWS_AT_A_TIME", 1)
    assert broken(audit(engine, settings)) == set()


def test_the_watch_follows_holds(engine: Engine, settings: Settings) -> None:
    adult = add_ticket_type(engine, 9)
    event = event_of(engine, adult)
    watch = CounterWatch(engine)
    watch.check()
    before = violations()

    def decide() -> None:
        drain(engine, [event], settings, ignore)
        watch.check()

    first, second, third = (queue_buy(engine, [(adult, n)], hold_seconds=60) for n in (1, 2, 3))
    decide()
    queue_resolution(engine, "confirm", first, payment_reference="pi_1")
    queue_resolution(engine, "release", second)
    queue_resolution(engine, "extend", third, seconds=30)
    queue_resolution(engine, "expire", third)
    decide()
    items = json.dumps([{"ticket_type": adult, "quantity": 1}])
    queue_resolution(engine, "cancel", first, items=items, restock=False)
    decide()
    assert violations() == before
    queue_resolution(engine, "release", third)
    drain(engine, [event], settings, ignore)
    tamper(engine, "UPDATE counters SET held = held + 1")
    watch.check()
    assert violations() == (before[0] + 1, before[1])


def violations() -> tuple[float, float]:
    inventory, numbering = (
        figure(AUDIT_VIOLATIONS.labels(name)) for name in (INVENTORY, NUMBERING)
    )
    return inventory, numbering


def test_the_catalog_waits_for_no_queued_resolution(engine: Engine, settings: Settings) -> None:
    """It decides at once, and its snapshot may look as if it had seen its own transaction."""
    adult = add_ticket_type(engine, 9)
    event = event_of(engine, adult)
    held = queue_buy(engine, [(adult, 1)], hold_seconds=60)
    drain(engine, [event], settings, ignore)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_current_xact_id()"))
        queue_resolution(engine, "release", held)
        connection.execute(text(f"SELECT eventify_issue({adult}, 1)"))
    drain(engine, [event], settings, ignore)
    last = [("issued", None), ("released", None)]
    assert entries(engine, event)[-2:] == last
    assert broken(audit(engine, settings)) == set()
    # A drain would have seen the release, and decided it first.
    tamper(engine, "UPDATE batches SET locked_lanes = 1 WHERE first_number = 3")
    assert broken(audit(engine, settings)) == {"first_come"}


def of(number: int, column: str = "command_id") -> str:
    return f"(SELECT {column} FROM ledger WHERE number = {number})"


def line(nth: int, key: str, value: int) -> str:
    return f"items = jsonb_set(items, '{{{nth}, {key}}}', '{value}')"


def opened(number: int) -> str:
    return (
        f"INSERT INTO holds SELECT event_id, command_id, now() FROM ledger WHERE number = {number}"
    )


TAMPERING = [
    # the list of open holds
    ("holds", "is held, but not in the list of open holds", ["DELETE FROM holds"]),
    ("holds", "in the list of open holds, but entry 8 ended it", [opened(7)]),
    ("holds", "in the list of open holds, but entry 4 ended it", [opened(3)]),
    ("holds", "in the list of open holds, but was never held", [opened(19)]),
    ("holds", "in the list of open holds, but was never held", [opened(20)]),
    (
        "holds",
        "is held +0.5 s longer than entry 12 gives",
        ["UPDATE holds SET ends_at = ends_at + interval '0.5 s'"],
    ),
    (
        "holds",
        "is held, but not in the list of open holds",
        [f"UPDATE holds SET purchase_id = {of(7)}"],
    ),
    # extensions
    (
        "holds",
        "the lane extends holds by 3600 s, the ledger by 30 s",
        ["UPDATE lanes SET extended_seconds = 3600 WHERE extended_seconds > 0"],
    ),
    (
        "holds",
        "the lane extends holds by 30 s, the ledger by 3600 s",
        [asked(10, "hold_seconds = 3600")],
    ),
    ("outcomes", "entry 10 is released, the rule gives extended", [entry(10, "kind = 'released'")]),
    # a hold ends once, and not before it is due
    (
        "outcomes",
        "entry 18 is released, the rule gives refused (hold_released)",
        [asked(18, f"purchase_id = {of(7)}"), entry(18, f"purchase_id = {of(7)}")],
    ),
    (
        "outcomes",
        "entry 14 is confirmed, the rule gives refused (hold_expired)",
        [
            entry(14, "kind = 'confirmed', reason = NULL"),
            entry(14, f"purchase_id = {of(9)}, items = {of(13, 'items')}"),
        ],
    ),
    (
        "outcomes",
        "entry 13 is expired, the rule gives refused (not_due)",
        [asked(9, "hold_seconds = 7200")],
    ),
    (
        "outcomes",
        "entry 11 is expired, the rule gives refused (not_due)",
        [
            entry(11, "kind = 'expired', reason = NULL"),
            entry(11, f"purchase_id = {of(9)}, items = {of(13, 'items')}"),
        ],
    ),
    ("outcomes", "entry 13 is released, the rule gives expired", [entry(13, "kind = 'released'")]),
    (
        "outcomes",
        "entry 11 is refused (not_held), the rule gives refused (not_due)",
        [entry(11, "reason = 'not_held'")],
    ),
    ("outcomes", "entry 4 is confirmed, the rule gives released", [asked(4, "kind = 'release'")]),
    ("outcomes", "entry 3 is held, the rule gives confirmed", [asked(3, "hold_seconds = NULL")]),
    (
        "outcomes",
        "entry 20 is rejected (not_enough_tickets)",
        [entry(20, "reason = 'not_enough_tickets'")],
    ),
    # figures and names of an entry
    ("outcomes", "entry 8 names purchase None", [entry(8, "purchase_id = NULL")]),
    ("outcomes", "entry 8 says +1 and 9 left", [entry(8, line(0, "change", 1))]),
    ("outcomes", "for 3 tickets", [entry(8, line(0, "quantity", 3))]),
    ("outcomes", "entry 4 says +0 and 9 left", [entry(4, line(0, "left_after", 9))]),
    ("outcomes", "entry 8 says nothing", [entry(8, "items = '[]'")]),
    # cancellations
    (
        "outcomes",
        "entry 5 is cancelled, the rule gives refused (already_cancelled)",
        [asked(5, line(0, "quantity", 3)), entry(5, line(0, "quantity", 3))],
    ),
    (
        "outcomes",
        "entry 6 is cancelled, the rule gives refused (already_cancelled)",
        [
            asked(5, f"items = {of(6, 'items')}"),
            entry(5, f"items = {of(6, 'items')}"),
        ],
    ),
    ("outcomes", "2 cancelled so far", [entry(5, line(0, "cancelled", 2))]),
    ("outcomes", "entry 5 says +1", [asked(5, "restock = false")]),
    ("outcomes", "entry 6 says +0", [asked(6, "restock = true")]),
    (
        "outcomes",
        "entry 24 is cancelled, the rule gives refused (not_confirmed)",
        [asked(24, f"purchase_id = {of(12)}"), entry(24, f"purchase_id = {of(12)}")],
    ),
    # counters
    ("inventory", "held and", ["UPDATE counters SET held = held + 1"]),
    ("inventory", "held and", ["UPDATE counters SET held = held - 1, sold = sold + 1"]),
    ("inventory", "entry 8 makes -", [entry(7, "kind = 'confirmed'")]),
    # payments
    (
        "payments",
        "payment pi_1 confirms both",
        ["UPDATE requests SET payment_reference = 'pi_1' WHERE payment_reference = 'pi_3'"],
    ),
    ("payments", "pays 31.00 EUR for", [asked(4, "amount = 31")]),
    ("payments", "which costs 30.00 EUR", [asked(4, "currency = 'USD'")]),
    ("payments", "which costs 40.00 EUR", [asked(3, line(0, "quantity", 3))]),
    # limits are those of a holder: an account and whom it buys for
    ("user_limits", "buyer anna more than a limit allows", [asked(19, "event_user_limit = 1")]),
    ("outcomes", "entry 17 was within the limits of user", [asked(16, "buyer = 'bert'")]),
    ("user_limits", "entry 19 gives user", [asked(19, "quantity = 3"), entry(19, "change = -3")]),
    # the order
    ("first_come", "passed over", [asked(18, "seq = 1"), asked(18, "accepted_xid = '3'")]),
    (
        "numbering",
        "is decided before it was accepted",
        [asked(18, "created_at = now() + interval '1 day'")],
    ),
]


@pytest.mark.parametrize(("invariant", "says", "statements"), TAMPERING)
def test_tampering_with_holds_is_named(
    engine: Engine,
    settings: Settings,
    sale: int,
    invariant: str,
    says: str,
    statements: list[str],
) -> None:
    run(engine, "ALTER TABLE requests ALTER seq DROP IDENTITY")
    for table in ("requests", "ledger", "counters"):
        checks = "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:t AS regclass)"
        for (check,) in rows(engine, f"{checks} AND contype = 'c'", t=table):
            run(engine, f"ALTER TABLE {table} DROP CONSTRAINT {check}")
    tamper(engine, *statements)
    report = audit(engine, settings)
    (found,) = (one for one in report.invariants if one.name == invariant)
    assert any(says in example for example in found.examples), report
    assert not report.ok
