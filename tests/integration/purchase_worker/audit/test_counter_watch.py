"""The sweeper's watch: what counters and decisions do not agree on is counted and named."""

import pytest
from sqlalchemy import Engine

from purchase_worker.audit.counter_watch import CounterWatch
from purchase_worker.audit.replay import INVENTORY, NUMBERING
from purchase_worker.drain import drain
from purchase_worker.metrics import AUDIT_CHECKED, AUDIT_VIOLATIONS
from shared.config.settings import Settings
from tests.support.factories import add_ticket_type, add_users, ignore, queue, request, run, tamper
from tests.support.figures import figure, figures

VIOLATIONS = "eventify_audit_violations_total"


def sell(engine: Engine, settings: Settings, ticket_type: int, buyers: int) -> None:
    queue(engine, [request(user, ticket_type, 2) for user in add_users(engine, buyers)])
    drain(engine, [ticket_type], settings, ignore)


def violations() -> dict[str, float]:
    return {name: figure(AUDIT_VIOLATIONS.labels(name)) for name in (INVENTORY, NUMBERING)}


def test_an_honest_sale_is_checked_from_its_first_decision_on_and_found_right(
    engine: Engine, settings: Settings
) -> None:
    watch = CounterWatch(engine)
    watch.check()
    before, checked = violations(), figure(AUDIT_CHECKED)
    ticket_type = add_ticket_type(engine, 9)
    sell(engine, settings, ticket_type, 3)
    watch.check()
    run(engine, "UPDATE ticket_inventory SET issued = issued + 6")
    sell(engine, settings, ticket_type, 6)
    watch.check()
    watch.check()
    assert violations() == before
    assert figure(AUDIT_CHECKED) == checked + 9


def test_what_was_before_the_first_look_is_left_to_the_audit(
    engine: Engine, settings: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 9)
    sell(engine, settings, ticket_type, 3)
    tamper(engine, "UPDATE ticket_inventory SET sold = sold - 1")
    before = violations()
    CounterWatch(engine).check()
    assert violations() == before


@pytest.mark.parametrize(
    ("invariant", "statement"),
    [
        (INVENTORY, "UPDATE ticket_inventory SET sold = sold - 1"),
        (INVENTORY, "UPDATE ticket_inventory SET issued = issued + 1"),
        (INVENTORY, "UPDATE ticket_purchases SET quantity = 3 WHERE decision_number = 4"),
        (NUMBERING, "UPDATE ticket_inventory SET decisions = decisions + 1"),
        (NUMBERING, "UPDATE ticket_purchases SET decision_number = 9 WHERE decision_number = 4"),
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
