"""The sweeper's watch: what lanes, counters and entries do not agree on is counted and named."""

import pytest
from sqlalchemy import Engine

from purchase_worker.audit.counter_watch import CounterWatch
from purchase_worker.audit.findings import INVENTORY, NUMBERING
from purchase_worker.drain import drain
from purchase_worker.metrics import AUDIT_CHECKED, AUDIT_VIOLATIONS
from shared.config.settings import Settings
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_users,
    cart,
    event_of,
    ignore,
    issue,
    queue,
    request,
    run,
    tamper,
)
from tests.support.figures import figure, figures

VIOLATIONS = "eventify_audit_violations_total"


def sell(engine: Engine, settings: Settings, ticket_type: int, buyers: int) -> None:
    event = event_of(engine, ticket_type)
    queue(engine, [request(user, ticket_type, 2) for user in add_users(engine, buyers)])
    drain(engine, [event], settings, ignore)


def violations() -> dict[str, float]:
    return {name: figure(AUDIT_VIOLATIONS.labels(name)) for name in (INVENTORY, NUMBERING)}


def test_an_honest_sale_is_checked_from_its_first_entry_on_and_found_right(
    engine: Engine, settings: Settings
) -> None:
    watch = CounterWatch(engine)
    watch.check()
    before, checked = violations(), figure(AUDIT_CHECKED)
    ticket_type = add_ticket_type(engine, 9)
    event = event_of(engine, ticket_type)
    sell(engine, settings, ticket_type, 3)
    watch.check()
    issue(engine, ticket_type, 7)
    issue(engine, ticket_type, -1)
    seat = add_ticket_type(engine, 5, event_id=event)
    carts = [cart(user, [(seat, 1), (ticket_type, 2)]) for user in add_users(engine, 6)]
    queue(engine, carts)
    drain(engine, [event], settings, ignore)
    watch.check()
    run(
        engine,
        f"UPDATE ticket_types SET event_id = {add_event(engine)} WHERE id = :id",
        id=(add_ticket_type(engine, 2)),
    )
    run(engine, "DELETE FROM ticket_types WHERE id = :id", id=add_ticket_type(engine, 2))
    watch.check()
    watch.check()
    assert violations() == before
    assert figure(AUDIT_CHECKED) == checked + 4 + 9 + 3 + 2


def test_what_was_before_the_first_look_is_left_to_the_audit(
    engine: Engine, settings: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 9)
    sell(engine, settings, ticket_type, 3)
    tamper(engine, "UPDATE counters SET sold = sold - 1")
    before = violations()
    CounterWatch(engine).check()
    assert violations() == before


@pytest.mark.parametrize(
    ("invariant", "statement"),
    [
        (INVENTORY, "UPDATE counters SET sold = sold - 1"),
        (INVENTORY, "UPDATE counters SET issued = issued + 1"),
        (INVENTORY, "DELETE FROM counters"),
        (INVENTORY, "UPDATE ledger SET change = -3 WHERE number = 5"),
        (NUMBERING, "UPDATE lanes SET number = number + 1"),
        (NUMBERING, "UPDATE lanes SET number = number - 1"),
        (NUMBERING, "UPDATE ledger SET number = 9 WHERE number = 6"),
        (NUMBERING, "DELETE FROM ledger WHERE number = 5"),
    ],
)
def test_what_does_not_add_up_is_counted_once(
    engine: Engine, settings: Settings, invariant: str, statement: str
) -> None:
    ticket_type = add_ticket_type(engine, 20)
    sell(engine, settings, ticket_type, 3)
    watch = CounterWatch(engine)
    watch.check()
    sell(engine, settings, ticket_type, 2)
    tamper(engine, statement)
    before = violations()[invariant]
    watch.check()
    watch.check()
    assert violations()[invariant] == before + 1
    assert f'{VIOLATIONS}{{invariant="{invariant}"}}' in figures()
