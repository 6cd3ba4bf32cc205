"""The audit: an honest sale passes, and each way of tampering with the rows is caught."""

import pytest
from sqlalchemy import Engine, text

from gateway.purchases import store as gateway_store
from purchase_worker.audit import Report, audit
from purchase_worker.drain import Batch, drain
from shared.settings import Settings
from tests.factories import (
    add_ticket_type,
    add_user,
    add_users,
    outcomes,
    queue,
    request,
    run,
)


def ignore(_batch: Batch) -> None:
    """A listener for tests that look into the database instead."""


def tamper(engine: Engine, statement: str) -> None:
    """Change rows as only somebody with the database's own powers could: no trigger fires."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        changed = connection.execute(text(statement)).rowcount
    assert changed, "the tampering must have changed something"


def broken(report: Report) -> set[str]:
    return {invariant.name for invariant in report.invariants if invariant.violations}


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> int:
    """A sale with every outcome, in several batches, with tickets added and one still queued."""
    ticket_type = add_ticket_type(engine, 10, max_per_user=4)
    small = settings.model_copy(update={"drain_batch_rows": 4})
    users = add_users(engine, 8)
    queue(engine, [request(user, ticket_type, 2) for user in users])
    drain(engine, ticket_type, small, ignore)
    run(
        engine,
        "UPDATE ticket_inventory SET issued = issued + 6 WHERE ticket_type_id = :id",
        id=ticket_type,
    )
    queue(engine, [request(user, ticket_type, 3) for user in users[:3]])
    drain(engine, ticket_type, small, ignore)
    queue(engine, [request(users[7], ticket_type, 1)])
    return ticket_type


def test_an_honest_sale_passes(engine: Engine, settings: Settings, sale: int) -> None:
    report = audit(engine, settings)
    assert broken(report) == set()
    assert report.ok
    assert (report.issued, report.sold, report.left) == (16, 10, 6)
    assert (report.confirmed, report.rejected, report.queued) == (5, 6, 1)
    reasons = {reason for _, _, reason in outcomes(engine, sale)}
    assert reasons == {None, "not_enough_tickets", "over_user_limit"}


def test_an_empty_database_passes(engine: Engine, settings: Settings) -> None:
    assert audit(engine, settings).ok


@pytest.mark.parametrize(
    ("invariant", "statement"),
    [
        ("inventory", "UPDATE ticket_inventory SET sold = sold - 1"),
        ("inventory", "UPDATE ticket_inventory SET issued = issued + 1"),
        ("inventory", "DELETE FROM ticket_inventory"),
        ("inventory", "DELETE FROM inventory_changes WHERE after_decision > 0"),
        ("inventory", "UPDATE inventory_changes SET change = 3 WHERE after_decision = 0"),
        ("inventory", "UPDATE ticket_purchases SET quantity = 9 WHERE decision_number = 5"),
        (
            "numbering",
            "UPDATE ticket_purchases SET decision_number = 99 WHERE decision_number = 11",
        ),
        ("numbering", "UPDATE ticket_inventory SET decisions = decisions + 1"),
        ("numbering", "DELETE FROM ticket_purchases WHERE decision_number = 7"),
        ("numbering", "DELETE FROM decision_batches WHERE first_number = 5"),
        ("numbering", "UPDATE decision_batches SET last_number = 12 WHERE last_number = 11"),
        (
            "outcomes",
            (
                "UPDATE ticket_purchases SET status = 'confirmed', reason = NULL"
                " WHERE decision_number = 6"
            ),
        ),
        (
            "outcomes",
            (
                "UPDATE ticket_purchases SET status = 'rejected', reason = 'not_enough_tickets'"
                " WHERE decision_number = 1"
            ),
        ),
        (
            "outcomes",
            "UPDATE ticket_purchases SET reason = 'over_user_limit' WHERE decision_number = 6",
        ),
        ("outcomes", "UPDATE ticket_purchases SET left_after = 9 WHERE decision_number = 2"),
        ("outcomes", "UPDATE ticket_purchases SET quantity = 1 WHERE decision_number = 3"),
        ("user_limits", "UPDATE ticket_purchases SET user_limit = 1 WHERE decision_number = 3"),
        (
            "user_limits",
            (
                "UPDATE ticket_purchases SET user_id ="
                " (SELECT user_id FROM ticket_purchases WHERE decision_number = 1)"
                " WHERE decision_number IN (2, 3)"
            ),
        ),
        (
            "first_come",  # two of one batch change places
            (
                "UPDATE ticket_purchases SET seq = CASE decision_number"
                " WHEN 1 THEN (SELECT seq FROM ticket_purchases WHERE decision_number = 2)"
                " ELSE (SELECT seq FROM ticket_purchases WHERE decision_number = 1) END"
                " WHERE decision_number IN (1, 2)"
            ),
        ),
        (
            "first_come",  # one of the second batch claims to have come before the first
            "UPDATE ticket_purchases SET seq = -1 WHERE decision_number = 5",
        ),
        (
            "first_come",
            "UPDATE ticket_purchases SET seq = -1, accepted_xid = '3' WHERE status = 'queued'",
        ),
        (
            "queue",
            (
                "UPDATE ticket_purchases SET created_at = created_at - interval '1 hour'"
                " WHERE status = 'queued'"
            ),
        ),
    ],
)
def test_tampering_is_caught(
    engine: Engine, settings: Settings, sale: int, invariant: str, statement: str
) -> None:
    run(engine, "ALTER TABLE ticket_purchases ALTER seq DROP IDENTITY")
    tamper(engine, statement)
    report = audit(engine, settings)
    assert invariant in broken(report)
    assert not report.ok


def test_two_that_changed_places_across_batches_are_caught(
    engine: Engine, settings: Settings, sale: int
) -> None:
    """Same quantity, same outcome: only the order of acceptance tells."""
    swap = (
        "UPDATE ticket_purchases SET decision_number = {to}, left_after ="
        " (SELECT left_after FROM ticket_purchases WHERE decision_number = {take})"
        " WHERE decision_number = {of}"
    )
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(swap.format(to=1001, take=5, of=1)))
        connection.execute(text(swap.format(to=1, take=2, of=5)))
        connection.execute(
            text("UPDATE ticket_purchases SET left_after = 8 WHERE decision_number = 1")
        )
        connection.execute(
            text("UPDATE ticket_purchases SET decision_number = 5 WHERE decision_number = 1001")
        )
    assert broken(audit(engine, settings)) == {"first_come"}


def test_an_acceptance_that_was_still_open_may_be_decided_after_later_ones(
    engine: Engine, settings: Settings
) -> None:
    """The earlier number was drawn, but nobody had been told yes: it was nobody's turn yet."""
    slow_user, quick_user = add_user(engine), add_user(engine)
    ticket_type = add_ticket_type(engine, 5)
    slow = request(slow_user, ticket_type)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute(gateway_store.ACCEPT, gateway_store.parameters_of([slow], 1_000))
        queue(engine, [request(quick_user, ticket_type)])
        drain(engine, ticket_type, settings, ignore)
        connection.connection.commit()
    drain(engine, ticket_type, settings, ignore)
    assert audit(engine, settings).ok
    # Had its acceptance been visible to the first drain, the same order would be a violation.
    tamper(
        engine,
        "UPDATE ticket_purchases SET accepted_xid = '3' WHERE decision_number = 2",
    )
    assert broken(audit(engine, settings)) == {"first_come"}
