"""Migration 0011: sales of before the ledger come over whole, in their order."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg2.extensions import connection as PlainConnection  # noqa: N812
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError

from purchase_worker.audit.all_events import audit
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.migrate import migrate
from shared.database.schema_version import missing_migrations, refuse_former_schema
from shared.errors import ConfigurationError
from tests.integration.shared.database.test_schema import empty_engine, version
from tests.support.factories import (
    add_event,
    add_users,
    ignore,
    issue,
    outcomes,
    queue,
    request,
    rows,
    run,
    scalar,
)
from tests.support.former_sales import (
    add_former_ticket_type,
    former_accept,
    former_drain,
    former_issue,
)
from tests.support.servers import run_admin
from tests.support.services import PROJECT, environment

__all__ = ["empty_engine"]

READ_FORMER_PURCHASES = """
SELECT id, ticket_type_id, seq, user_id, quantity, unit_price, user_limit, idempotency_key,
       fingerprint, request_id, traceparent, created_at, accepted_xid::text, status, reason,
       left_after, decision_number
FROM ticket_purchases ORDER BY ticket_type_id, seq
"""
# The n-th purchase of a ticket type in the ledger is its former decision n.
READ_PURCHASES = """
SELECT r.id, r.ticket_type_id, r.seq, r.user_id, r.quantity, unit_price, user_limit,
       idempotency_key, fingerprint, request_id, traceparent, created_at, accepted_xid::text,
       coalesce(e.kind::text, 'queued'), e.reason::text, e.left_after,
       CASE WHEN e.number IS NOT NULL THEN
           row_number() OVER (PARTITION BY r.ticket_type_id ORDER BY e.number) END
FROM requests r LEFT JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id
WHERE r.kind = 'buy' ORDER BY r.ticket_type_id, r.seq
"""
READ_FORMER_BATCHES = """
SELECT ticket_type_id, last_number - first_number + 1, seen::text, decided_by
FROM decision_batches ORDER BY ticket_type_id, first_number
"""
READ_BATCHES = """
SELECT b.ticket_type_id, last_number - first_number + 1, seen::text, decided_by
FROM batches b JOIN ledger e ON e.event_id = b.event_id AND e.number = first_number
WHERE e.kind IN ('confirmed', 'rejected') ORDER BY b.ticket_type_id, first_number
"""
READ_FORMER_CHANGES = """
SELECT ticket_type_id, change, after_decision, changed_by, changed_at
FROM inventory_changes WHERE change <> 0 ORDER BY id
"""
READ_CHANGES = """
SELECT r.ticket_type_id, e.change,
       (SELECT count(*) FROM ledger d WHERE d.event_id = e.event_id AND d.number < e.number
           AND d.ticket_type_id = e.ticket_type_id AND d.kind IN ('confirmed', 'rejected')),
       r.user_id, r.created_at
FROM ledger e JOIN requests r ON r.id = e.command_id
WHERE r.kind = CASE e.kind WHEN 'issued' THEN 'issue' ELSE 'withdraw' END::request_kind
  AND r.quantity = abs(e.change) ORDER BY r.seq
"""
# What the audit does not ask.
BROKEN = {
    "not seen by its batch": (
        "SELECT FROM ledger e JOIN requests r ON r.id = command_id JOIN batches b"
        " ON b.event_id = e.event_id AND number BETWEEN first_number AND last_number"
        " WHERE NOT pg_visible_in_snapshot(accepted_xid, seen)"
    ),
    "in a batch of another ticket type": (
        "SELECT FROM ledger e JOIN batches b ON b.event_id = e.event_id AND number BETWEEN"
        " first_number AND last_number WHERE b.ticket_type_id IS DISTINCT FROM e.ticket_type_id"
    ),
    "a purchase in another currency": (
        "SELECT FROM requests WHERE kind = 'buy' AND currency <> 'GBP'"
    ),
    "a change before a purchase": (
        "SELECT FROM requests WHERE kind <> 'buy'"
        " AND seq <= (SELECT max(seq) FROM requests WHERE kind = 'buy')"
    ),
}

Rows = list[tuple[Any, ...]]


@pytest.fixture
def former(empty_engine: Engine) -> Engine:
    """A database as version 7363006 left it, with sales in their midst."""
    migrate(empty_engine, "0007")
    sell(empty_engine)
    return empty_engine


def sell(engine: Engine) -> None:
    owner, *users = add_users(engine, 30)
    concert = add_event(engine, owner)
    standing = add_former_ticket_type(engine, 20, concert)
    seated = add_former_ticket_type(engine, 0, concert, max_per_user=2)
    alone = add_former_ticket_type(engine, 3)
    add_former_ticket_type(engine, 5)  # of which nobody buys
    add_event(engine)
    former_issue(engine, seated, 7, owner)
    former_accept(engine, standing, users[:5], quantity=3, key="once")
    run(engine, "UPDATE ticket_purchases SET traceparent = 'of ' || seq WHERE seq <= 3")
    former_accept(engine, seated, users[:3], quantity=2)
    former_drain(engine, seated, 1)
    former_drain(engine, standing, 3)
    former_accept(engine, seated, users[:1])
    former_drain(engine, seated)
    former_issue(engine, standing, -2, owner)
    former_issue(engine, standing, 1)
    former_drain(engine, standing)
    run(engine, "UPDATE ticket_types SET paused_at = now() WHERE id = :id", id=seated)
    former_accept(engine, alone, users, quantity=2)
    former_drain(engine, alone)
    # The clock was set back.
    run(engine, "ALTER TABLE decision_batches DISABLE TRIGGER USER")
    run(
        engine,
        "UPDATE decision_batches SET decided_at = decided_at - interval '1 hour'"
        " WHERE ticket_type_id = :id AND first_number = 4",
        id=standing,
    )
    run(engine, "ALTER TABLE decision_batches ENABLE TRIGGER USER")
    former_accept(engine, standing, users[5:9])
    former_accept(engine, alone, users[:2])


def read_former(engine: Engine) -> tuple[Rows, Rows, Rows]:
    return (
        rows(engine, READ_FORMER_PURCHASES),
        rows(engine, READ_FORMER_BATCHES),
        rows(engine, READ_FORMER_CHANGES),
    )


def check(engine: Engine, settings: Settings, former: tuple[Rows, Rows, Rows]) -> None:
    purchases, batches, changes = former
    assert rows(engine, READ_PURCHASES) == purchases
    assert rows(engine, READ_BATCHES) == batches
    assert rows(engine, READ_CHANGES) == changes
    broken = {what: found for what, one in BROKEN.items() if (found := rows(engine, one))}
    assert broken == {}
    assert audit(engine, settings).ok


def test_every_row_comes_over_and_the_sale_goes_on(former: Engine, settings: Settings) -> None:
    before = read_former(former)
    outcomes_before = {(status, reason) for *_, status, reason, _, _ in before[0]}
    assert outcomes_before == {
        ("queued", None),
        ("confirmed", None),
        ("rejected", "not_enough_tickets"),
        ("rejected", "over_user_limit"),
    }

    migrate(former, currency="GBP")

    check(former, settings, before)
    former_tables = "SELECT relname FROM pg_class WHERE relname LIKE 'former%'"
    assert rows(former, former_tables) == []
    standing, seated = (
        row[0] for row in rows(former, "SELECT id FROM ticket_types ORDER BY id LIMIT 2")
    )
    concert, highest = rows(former, "SELECT min(event_id), max(seq) FROM requests")[0]
    issue(former, standing, 2)
    ids = queue(former, [request(user, standing) for user in add_users(former, 3)])
    assert scalar(former, "SELECT min(seq) > :s FROM requests WHERE seq > :s", s=highest)
    drain(former, [concert], settings, ignore)
    statuses = [status for id_, status, _ in outcomes(former, standing) if id_ in ids]
    assert statuses == ["confirmed", "confirmed", "rejected"], "4 were queued, of 6 that are left"
    assert audit(former, settings).ok
    assert scalar(former, "SELECT paused_at IS NOT NULL FROM ticket_types WHERE id = :i", i=seated)


@pytest.fixture
def long_sale(empty_engine: Engine) -> Engine:
    """A database of before the ledger with more than is copied at once, decided and queued."""
    migrate(empty_engine, "0009")
    users = add_users(empty_engine, 6_000)
    ticket_type = add_former_ticket_type(empty_engine, 9_000)
    for _ in range(3):
        former_accept(empty_engine, ticket_type, users)
    for _ in range(11):
        former_drain(empty_engine, ticket_type, 1_000)
    return empty_engine


@pytest.fixture
def killing(long_sale: Engine, postgres_url: str) -> Iterator[list[str]]:
    """A backend that has just run a statement with this text is killed, once."""
    texts: list[str] = []

    @event.listens_for(long_sale, "after_cursor_execute")
    def kill(
        connection: Any, _cursor: Any, statement: str, _values: Any, _context: Any, _many: bool
    ) -> None:
        if texts and texts[0] in statement and not texts.pop(0).startswith("-"):
            plain: PlainConnection = connection.connection.driver_connection
            run_admin(postgres_url, f"SELECT pg_terminate_backend({plain.info.backend_pid}, 5000)")

    yield texts
    event.remove(long_sale, "after_cursor_execute", kill)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE lanes",
        "CREATE TABLE former_blocks",
        "DELETE FROM former_blocks WHERE piece",
        "DROP TABLE former_blocks",
        "DROP TABLE former_changes",
    ],
)
def test_a_migration_whose_connection_is_lost_goes_on(
    long_sale: Engine, settings: Settings, killing: list[str], statement: str
) -> None:
    before = read_former(long_sale)
    killing.append(statement)
    with pytest.raises(DBAPIError):
        migrate(long_sale, currency="GBP")
    assert killing == []
    migrate(long_sale, currency="GBP")
    check(long_sale, settings, before)


@pytest.mark.parametrize(
    ("table", "row"),
    [("batches", "first_number > 2000"), ("ledger", "number = 7777"), ("work_list", "seq > 17000")],
)
def test_a_migration_that_is_killed_in_the_middle_of_a_statement_goes_on(
    long_sale: Engine, settings: Settings, table: str, row: str
) -> None:
    before = read_former(long_sale)
    migrate(long_sale, "0010", currency="GBP")
    run(
        long_sale,
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$",
    )
    run(
        long_sale,
        f"CREATE TRIGGER death BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.{row})"
        " EXECUTE FUNCTION die()",
    )
    for _ in range(2):
        with pytest.raises(DBAPIError):
            migrate(long_sale, currency="GBP")
    run(long_sale, f"DROP TRIGGER death ON {table}")
    migrate(long_sale, currency="GBP")
    check(long_sale, settings, before)


@pytest.mark.parametrize("name", ["gateway", "catalog", "worker", "sweeper"])
def test_it_refuses_while_a_service_is_connected(
    former: Engine, settings: Settings, name: str
) -> None:
    before = read_former(former)
    url = former.url.render_as_string(hide_password=False)
    service = open_engine(settings.model_copy(update={"database_url": url}), name)
    refusal = pytest.raises(ConfigurationError, match=f"connected: eventify-{name}. No sale")
    with service.connect(), refusal:
        migrate(former, currency="GBP")
    assert version(former) == "0009"
    assert read_former(former) == before
    ticket_type = rows(former, "SELECT min(id) FROM ticket_types")[0][0]
    former_accept(former, ticket_type, add_users(former, 1))
    assert former_drain(former, ticket_type) > 0, "the former version goes on"
    service.dispose()
    before = read_former(former)
    migrate(former, currency="GBP")
    check(former, settings, before)


def test_services_may_be_connected_to_an_empty_database(
    empty_engine: Engine, settings: Settings
) -> None:
    url = empty_engine.url.render_as_string(hide_password=False)
    service = open_engine(settings.model_copy(update={"database_url": url}), "gateway")
    with service.connect():
        migrate(empty_engine)
    service.dispose()


def test_a_former_version_can_change_nothing_from_the_first_step_on(former: Engine) -> None:
    migrate(former, "0010")
    ticket_type = rows(former, "SELECT min(id) FROM ticket_types")[0][0]
    with pytest.raises(Exception, match='relation "ticket_inventory" does not exist'):
        former_accept(former, ticket_type, [1])
    with pytest.raises(Exception, match='relation "ticket_inventory" does not exist'):
        former_drain(former, ticket_type)


def test_purchases_that_do_not_add_up_are_not_dropped(former: Engine) -> None:
    run(former, "ALTER TABLE decision_batches DISABLE TRIGGER USER")
    run(former, "DELETE FROM decision_batches WHERE first_number = 1 AND last_number = 1")
    with pytest.raises(DBAPIError, match="do not add up"):
        migrate(former, currency="GBP")
    assert scalar(former, "SELECT count(*) FROM former_purchases") > 0


@pytest.mark.parametrize(
    "module", ["gateway", "catalog", "purchase_worker", "purchase_worker.sweep"]
)
def test_a_service_does_not_start_on_a_former_schema(
    empty_engine: Engine, settings: Settings, module: str
) -> None:
    migrate(empty_engine, "0009")
    url = empty_engine.url.render_as_string(hide_password=False)
    ended = subprocess.run(
        [sys.executable, "-m", module],
        check=False,
        cwd=PROJECT,
        env=environment(settings.model_copy(update={"database_url": url})),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "The database lacks the migrations 0010, 0011, 0012, " in ended.stderr
    assert ": run `eventify migrate`." in ended.stderr


def test_a_schema_that_is_new_enough_or_unknown_is_no_obstacle(
    engine: Engine, settings: Settings
) -> None:
    refuse_former_schema(settings, "gateway")
    run(engine, "UPDATE alembic_version SET version_num = '9999'")
    assert missing_migrations(engine) == []
    nowhere = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/none"})
    refuse_former_schema(nowhere, "gateway")
