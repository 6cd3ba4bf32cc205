"""The database as last guard: what no code may do, no SQL can do either."""

import psycopg2
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from purchase_worker.drain import drain
from shared.settings import Settings
from tests.factories import add_ticket_type, add_user, ignore, inventory, queue, request, rows, run


@pytest.fixture
def decided(engine: Engine, settings: Settings) -> int:
    """A ticket type with one confirmed, one rejected and one queued purchase."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 2)
    queue(engine, [request(user, ticket_type, 1), request(user, ticket_type, 2)])
    drain(engine, ticket_type, settings, ignore)
    queue(engine, [request(user, ticket_type, 1, key="k")])
    return ticket_type


@pytest.mark.parametrize(
    ("statement", "guard"),
    [
        (
            "UPDATE ticket_purchases SET quantity = 9 WHERE status = 'confirmed'",
            "ticket_purchases_immutable",
        ),
        (
            (
                "UPDATE ticket_purchases SET status = 'confirmed', reason = NULL"
                " WHERE status = 'rejected'"
            ),
            "ticket_purchases_immutable",
        ),
        ("DELETE FROM ticket_purchases", "ticket_purchases_never_deleted"),
        ("TRUNCATE ticket_purchases", "ticket_purchases_never_truncated"),
        (
            "UPDATE ticket_purchases SET quantity = 9 WHERE status = 'queued'",
            "ticket_purchases_terms_frozen",
        ),
        (
            "UPDATE ticket_purchases SET user_limit = 9 WHERE status = 'queued'",
            "ticket_purchases_terms_frozen",
        ),
        (
            "UPDATE ticket_purchases SET idempotency_key = 'x' WHERE status = 'queued'",
            "ticket_purchases_terms_frozen",
        ),
        (
            "UPDATE ticket_purchases SET status = 'confirmed' WHERE status = 'queued'",
            "ticket_purchases_decided_whole",
        ),
        (
            "UPDATE ticket_purchases SET status = 'lost' WHERE status = 'queued'",
            "ticket_purchases_decided_whole",
        ),
        (
            (
                "UPDATE ticket_purchases SET status = 'confirmed', decided_at = now(),"
                " decision_number = 3, left_after = -1 WHERE status = 'queued'"
            ),
            "ticket_purchases_left_not_negative",
        ),
        (
            (
                "UPDATE ticket_purchases SET status = 'confirmed', decided_at = now(),"
                " decision_number = 1, left_after = 0 WHERE status = 'queued'"
            ),
            "ticket_purchases_decisions",
        ),
        (
            (
                "INSERT INTO ticket_purchases (id, user_id, ticket_type_id, quantity, unit_price,"
                " status, decided_at, decision_number, left_after)"
                " SELECT gen_random_uuid(), user_id, ticket_type_id, 1, 1, 'confirmed', now(), 9, 0"
                " FROM ticket_purchases LIMIT 1"
            ),
            "ticket_purchases_born_queued",
        ),
        (
            (
                "INSERT INTO ticket_purchases (id, user_id, ticket_type_id, quantity, unit_price)"
                " SELECT gen_random_uuid(), user_id, ticket_type_id, 0, 1 FROM ticket_purchases"
                " LIMIT 1"
            ),
            "ticket_purchases_quantity_positive",
        ),
        (
            (
                "INSERT INTO ticket_purchases (id, user_id, ticket_type_id, quantity, unit_price,"
                " idempotency_key, fingerprint)"
                " SELECT gen_random_uuid(), user_id, ticket_type_id, 1, 1, 'k', 'f'"
                " FROM ticket_purchases LIMIT 1"
            ),
            "ticket_purchases_idempotency",
        ),
        ("UPDATE ticket_inventory SET sold = 3", "ticket_inventory_never_oversold"),
        ("UPDATE ticket_inventory SET issued = 0", "ticket_inventory_never_oversold"),
        ("UPDATE ticket_inventory SET sold = 0", "ticket_inventory_only_grows"),
        ("UPDATE ticket_inventory SET decisions = 0", "ticket_inventory_only_grows"),
        ("UPDATE inventory_changes SET change = 5", "inventory_changes_immutable"),
        ("DELETE FROM inventory_changes", "inventory_changes_immutable"),
        ("TRUNCATE inventory_changes", "inventory_changes_immutable"),
        ("UPDATE decision_batches SET last_number = 5", "decision_batches_immutable"),
        ("DELETE FROM decision_batches", "decision_batches_immutable"),
        ("TRUNCATE decision_batches", "decision_batches_never_truncated"),
        ("DELETE FROM ticket_types", "ticket_purchases_ticket_type_id_fkey"),
        ("DELETE FROM events", "ticket_purchases_ticket_type_id_fkey"),
        ("DELETE FROM users", "ticket_purchases_user_id_fkey"),
    ],
)
def test_the_database_refuses(engine: Engine, decided: int, statement: str, guard: str) -> None:
    before = rows(engine, "SELECT * FROM ticket_purchases ORDER BY seq")
    with pytest.raises(DBAPIError) as refused:
        run(engine, statement)
    original = refused.value.orig
    assert isinstance(original, psycopg2.Error)
    if guard.endswith("_fkey"):
        # Which of several references is looked at first is the database's own affair.
        assert isinstance(original, psycopg2.errors.ForeignKeyViolation)
    else:
        assert original.diag.constraint_name == guard
    assert rows(engine, "SELECT * FROM ticket_purchases ORDER BY seq") == before


def test_issuing_and_withdrawing_is_recorded_by_the_database_itself(
    engine: Engine, decided: int
) -> None:
    run(engine, "UPDATE ticket_inventory SET issued = issued + 20")
    run(
        engine,
        "WITH who AS (SELECT set_config('eventify.user_id', '7', true))"
        " UPDATE ticket_inventory SET issued = issued - 5 FROM who",
    )
    assert inventory(engine, decided)[0] == 17
    recorded = rows(
        engine, "SELECT change, after_decision, changed_by FROM inventory_changes ORDER BY id"
    )
    assert recorded == [(2, 0, None), (20, 2, None), (-5, 2, 7)]


def test_a_ticket_type_that_nobody_bought_can_be_deleted_with_its_record(engine: Engine) -> None:
    add_ticket_type(engine, 5)
    run(engine, "DELETE FROM ticket_types")
    assert rows(engine, "SELECT * FROM inventory_changes") == []
