"""The audit: an honest sale passes, and each way of tampering with the rows is caught."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, make_url, text

from deploy.database import database
from gateway.purchases import store as gateway_store
from purchase_worker.audit.guards import GUARDS, standing_guards
from purchase_worker.audit.report import AuditReport, audit
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import cursor_transaction
from shared.database.transaction_ids import pass_stored_transaction_ids
from shared.errors import ConfigurationError
from tests.support.factories import (
    add_ticket_type,
    add_user,
    add_users,
    ignore,
    outcomes,
    queue,
    request,
    run,
    scalar,
    tamper,
)
from tests.support.waiting import eventually


def broken(report: AuditReport) -> set[str]:
    return {invariant.name for invariant in report.invariants if invariant.violations}


@pytest.fixture
def sale(engine: Engine, settings: Settings) -> int:
    """A sale with every outcome, in several batches, with tickets added and one still queued."""
    ticket_type = add_ticket_type(engine, 10, max_per_user=4)
    small = settings.model_copy(update={"drain_batch_rows": 4})
    users = add_users(engine, 8)
    queue(engine, [request(user, ticket_type, 2) for user in users])
    drain(engine, [ticket_type], small, ignore)
    run(
        engine,
        "UPDATE ticket_inventory SET issued = issued + 6 WHERE ticket_type_id = :id",
        id=ticket_type,
    )
    queue(engine, [request(user, ticket_type, 3) for user in users[:3]])
    drain(engine, [ticket_type], small, ignore)
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


def counter(change: str) -> str:
    return f"UPDATE ticket_inventory SET {change}"


def purchase(number: int, change: str) -> str:
    return f"UPDATE ticket_purchases SET {change} WHERE decision_number = {number}"


def queued(change: str) -> str:
    return f"UPDATE ticket_purchases SET {change} WHERE status = 'queued'"


def batch(first_number: int, change: str) -> str:
    return f"UPDATE decision_batches SET {change} WHERE first_number = {first_number}"


EVERY_DECISION_IN_TWO_BATCHES = """
INSERT INTO decision_batches (ticket_type_id, first_number, last_number, seen, decided_by)
SELECT ticket_type_id, 2, 11, seen, 'forged' FROM decision_batches WHERE first_number = 1
"""
TWO_OF_ONE_BATCH_EXCHANGED = """
UPDATE ticket_purchases p SET seq = other.seq FROM ticket_purchases other
WHERE (p.decision_number, other.decision_number) IN ((1, 2), (2, 1))
"""
ONE_USER_FOR_TWO = "user_id = (SELECT user_id FROM ticket_purchases WHERE decision_number = 1)"
# It sees its rows, but not all that the batch before it saw.
DENIES_WHAT_WAS_SEEN = "seen = ('3:' || pg_snapshot_xmax(seen) || ':3')::pg_snapshot"
TAMPERING = [
    ("inventory", counter("sold = sold - 1")),
    ("inventory", counter("issued = issued + 1")),
    ("inventory", "DELETE FROM ticket_inventory"),
    ("inventory", "DELETE FROM inventory_changes WHERE after_decision > 0"),
    ("inventory", "UPDATE inventory_changes SET change = 3 WHERE after_decision = 0"),
    ("inventory", purchase(5, "quantity = 9")),
    ("numbering", purchase(11, "decision_number = 99")),
    ("numbering", counter("decisions = decisions + 1")),
    ("numbering", "DELETE FROM ticket_purchases WHERE decision_number = 7"),
    ("numbering", "DELETE FROM decision_batches WHERE first_number = 5"),
    ("numbering", batch(9, "last_number = 12")),
    ("numbering", EVERY_DECISION_IN_TWO_BATCHES),
    ("numbering", "DELETE FROM ticket_types"),
    ("outcomes", purchase(6, "status = 'confirmed', reason = NULL")),
    ("outcomes", purchase(1, "status = 'rejected', reason = 'not_enough_tickets'")),
    ("outcomes", purchase(6, "reason = 'over_user_limit'")),
    ("outcomes", purchase(2, "left_after = 9")),
    ("outcomes", purchase(3, "quantity = 1")),
    ("user_limits", purchase(3, "user_limit = 1")),
    ("user_limits", f"UPDATE ticket_purchases SET {ONE_USER_FOR_TWO} WHERE decision_number < 4"),
    ("first_come", TWO_OF_ONE_BATCH_EXCHANGED),
    ("first_come", purchase(5, "seq = -1")),  # of the second batch, as if before the first
    ("first_come", queued("seq = -1, accepted_xid = '3'")),
    ("first_come", batch(1, "seen = '3:3:'")),  # it could not see what it decided
    ("first_come", batch(9, DENIES_WHAT_WAS_SEEN)),
    ("queue", queued("created_at = created_at - interval '1 hour'")),
]


@pytest.mark.parametrize(("invariant", "statement"), TAMPERING)
def test_tampering_is_caught(
    engine: Engine, settings: Settings, sale: int, invariant: str, statement: str
) -> None:
    # What holds even for such a one, unless it is taken away first.
    run(
        engine,
        "ALTER TABLE ticket_purchases ALTER seq DROP IDENTITY,"
        " DROP CONSTRAINT ticket_purchases_reason_true,"
        " DROP CONSTRAINT ticket_purchases_within_user_limit",
    )
    tamper(engine, statement)
    report = audit(engine, settings)
    assert invariant in broken(report)
    assert not report.ok


def test_a_late_request_cannot_be_put_first_with_a_made_up_record(
    engine: Engine, settings: Settings
) -> None:
    """No trigger is disabled for this: it is what anybody may do who may decide."""
    ticket_type = add_ticket_type(engine, 10)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 20)])
    with cursor_transaction(engine) as cursor:
        cursor.execute(
            "UPDATE ticket_purchases SET status = 'confirmed', decided_at = now(),"
            " decision_number = 1, left_after = 9"
            " WHERE seq = (SELECT max(seq) FROM ticket_purchases)"
        )
        cursor.execute(
            "INSERT INTO decision_batches (ticket_type_id, first_number, last_number, seen,"
            " decided_by) SELECT id, 1, 1, '3:3:', 'forged' FROM ticket_types"
        )
        cursor.execute("UPDATE ticket_inventory SET sold = 1, decisions = 1")
    drain(engine, [ticket_type], settings, ignore)
    assert broken(audit(engine, settings)) == {"first_come"}


def test_a_confirmed_purchase_without_a_number_is_not_overlooked(
    engine: Engine, settings: Settings, sale: int
) -> None:
    """All else adds up, as if the last decision had not been made."""
    check = "ticket_purchases_decided_whole"
    definition = scalar(
        engine, f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{check}'"
    )
    run(engine, f"ALTER TABLE ticket_purchases DROP CONSTRAINT {check}")
    tamper(
        engine,
        "UPDATE ticket_purchases SET status = 'confirmed', reason = NULL, decision_number = NULL"
        " WHERE decision_number = 11",
        "UPDATE ticket_inventory SET decisions = 10",
        "UPDATE decision_batches SET last_number = 10 WHERE last_number = 11",
    )
    run(engine, f"ALTER TABLE ticket_purchases ADD CONSTRAINT {check} {definition} NOT VALID")
    assert broken(audit(engine, settings)) == {"numbering", "guards"}


def test_the_guards_that_the_audit_looks_for_are_those_of_the_schema(engine: Engine) -> None:
    with cursor_transaction(engine) as cursor:
        assert standing_guards(cursor) == GUARDS


@pytest.mark.parametrize(
    ("statement", "guard"),
    [
        ("DROP TRIGGER {} ON ticket_purchases", "ticket_purchases_immutable"),
        ("ALTER TABLE decision_batches DISABLE TRIGGER {}", "decision_batches_immutable"),
        ("ALTER TABLE ticket_inventory ENABLE REPLICA TRIGGER {}", "ticket_inventory_only_grows"),
        (
            "ALTER TABLE decision_batches DISABLE TRIGGER ALL",
            "decision_batches_ticket_type_id_fkey",
        ),
        ("ALTER TABLE ticket_purchases DISABLE TRIGGER {}", "ticket_purchases_user_id_fkey"),
        ("ALTER TABLE users DISABLE TRIGGER {}", "ticket_purchases_user_id_fkey"),
        ("ALTER TABLE ticket_inventory DROP CONSTRAINT {}", "ticket_inventory_never_oversold"),
        (
            (
                "ALTER TABLE ticket_purchases DROP CONSTRAINT {0},"
                " ADD CONSTRAINT {0} CHECK (quantity >= 1) NOT VALID"
            ),
            "ticket_purchases_quantity_positive",
        ),
        ("DROP INDEX {}", "ticket_purchases_decisions"),
    ],
)
def test_a_guard_that_was_taken_away_is_missed(
    engine: Engine, settings: Settings, sale: int, statement: str, guard: str
) -> None:
    run(engine, statement.format(guard))
    report = audit(engine, settings)
    assert broken(report) == {"guards"}
    examples = [example for invariant in report.invariants for example in invariant.examples]
    assert any(example.startswith(f"{guard} of ") for example in examples)


def test_each_ticket_type_is_replayed_as_of_a_moment_of_its_own(
    engine: Engine, settings: Settings, sale: int
) -> None:
    """So no snapshot stays open, and slows the sales, for as long as the whole audit takes."""
    another, user = add_ticket_type(engine, 5), add_user(engine)
    patient = settings.model_copy(update={"lock_timeout_ms": 20_000})

    def audit_waits_in_the_first() -> None:
        locks = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'inventory_changes'"
        assert scalar(engine, f"{locks}::regclass") == 1

    with (
        ThreadPoolExecutor(1) as pool,
        database(patient) as auditors,
        engine.connect() as connection,
    ):
        connection.execute(text("LOCK TABLE inventory_changes IN ACCESS EXCLUSIVE MODE"))
        auditing = pool.submit(audit, auditors, patient)
        eventually(audit_waits_in_the_first)
        queue(engine, [request(user, another)])
        connection.rollback()
        report = auditing.result()
    assert report.ok
    assert report.queued == 2


@pytest.fixture
def restored(engine: Engine, sale: int) -> int:
    """The sale as if from the dump of a cluster that was 20,000 transactions ahead of this one."""
    tamper(
        engine,
        "UPDATE ticket_purchases"
        " SET accepted_xid = (accepted_xid::text::bigint + 20000)::text::xid8",
        "UPDATE decision_batches SET seen = concat_ws(':',"
        " pg_snapshot_xmin(seen)::text::bigint + 20000,"
        " pg_snapshot_xmax(seen)::text::bigint + 20000, '')::pg_snapshot",
    )
    return sale


def test_a_restored_dump_keeps_the_proof_and_its_sale_may_go_on(
    engine: Engine, settings: Settings, restored: int
) -> None:
    assert audit(engine, settings).ok
    assert pass_stored_transaction_ids(engine) > 0
    drain(engine, [restored], settings, ignore)
    assert audit(engine, settings).ok


def test_a_sale_that_goes_on_with_transaction_ids_gone_back_has_lost_its_proof(
    engine: Engine, settings: Settings, restored: int
) -> None:
    drain(engine, [restored], settings, ignore)
    assert broken(audit(engine, settings)) == {"first_come"}


def test_an_unavailable_database_is_an_error_in_one_sentence(settings: Settings) -> None:
    missing = make_url(settings.database_url).set(database="missing")
    url = missing.render_as_string(hide_password=False)
    elsewhere = settings.model_copy(update={"database_url": url})
    with (
        pytest.raises(ConfigurationError, match="does not exist"),
        database(elsewhere) as engine,
    ):
        audit(engine, elsewhere)


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
    """The earlier number was drawn, but its acceptance was not committed yet."""
    slow_user, quick_user = add_user(engine), add_user(engine)
    ticket_type = add_ticket_type(engine, 5)
    slow = request(slow_user, ticket_type)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        gateway_store.ACCEPT.run(cursor, gateway_store.parameters_of([slow], 1_000))
        queue(engine, [request(quick_user, ticket_type)])
        drain(engine, [ticket_type], settings, ignore)
        connection.connection.commit()
    drain(engine, [ticket_type], settings, ignore)
    assert audit(engine, settings).ok
    # Had its acceptance been visible to the first drain, the same order would be a violation.
    tamper(
        engine,
        "UPDATE ticket_purchases SET accepted_xid = '3' WHERE decision_number = 2",
    )
    assert broken(audit(engine, settings)) == {"first_come"}
