"""The schema: what the migrations make is what the models say."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Event

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg2.extensions import connection
from sqlalchemy import Engine, text
from sqlalchemy.dialects.postgresql.base import ischema_names

from purchase_worker.audit.all_events import audit
from purchase_worker.audit.read import snapshot
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.migrate import LOCK_TIMEOUT_SECONDS, migrate
from shared.database.schema_version import missing_migrations
from shared.database.tables import Base, PgSnapshot, Xid8
from shared.errors import ConfigurationError
from tests.support.factories import add_users, event_of, ignore, rows, run, scalar, tamper
from tests.support.former_sales import add_former_ticket_type, former_accept, former_drain
from tests.support.postgres_version import needs_postgres
from tests.support.servers import run_admin, server_setting
from tests.support.waiting import eventually, until_sessions_wait


@pytest.fixture
def empty_engine(postgres_url: str, settings: Settings) -> Iterator[Engine]:
    """A database beside the test's own, with nothing in it."""
    url = f"{settings.database_url}_empty"
    name = url.rpartition("/")[2]
    run_admin(postgres_url, f"CREATE DATABASE {name}")
    elsewhere = settings.model_copy(update={"database_url": url})
    engine = open_engine(elsewhere, "test-upgrade", pool_size=10)
    yield engine
    engine.dispose()
    run_admin(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_migrations_create_the_tables_of_the_models(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ischema_names, "xid8", Xid8)
    monkeypatch.setitem(ischema_names, "pg_snapshot", PgSnapshot)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def version(engine: Engine) -> str:
    number: str = scalar(engine, "SELECT version_num FROM alembic_version")
    return number


VERSIONS = "shared.database.migrations.versions"
# The statements with which migrations keep a sale waiting while they change its tables.
SALES_LOCKS = [
    import_module(f"{VERSIONS}.{name}").LOCKS
    for name in ("0003_guards_of_sales", "0005_keys_checked_by_batch")
]
READ_CHECKS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace
"""


def test_the_checks_of_the_migrations_are_those_of_the_models(
    engine: Engine, empty_engine: Engine
) -> None:
    Base.metadata.create_all(empty_engine)
    assert set(rows(engine, READ_CHECKS)) == set(rows(empty_engine, READ_CHECKS))


def test_an_upgrade_during_a_sale_fails_no_purchase_and_keeps_the_proof(
    empty_engine: Engine, settings: Settings
) -> None:
    """Up to the last version before the ledger, and then at rest to today's."""
    migrate(empty_engine, "0001")
    ticket_type = add_former_ticket_type(empty_engine, 1_000_000)
    users = add_users(empty_engine, 20)
    upgraded = Event()

    def sell_on() -> int:
        """Buy and decide in batches until well after the upgrade."""
        batches = 0
        while not (upgraded.is_set() and batches > 20):
            former_accept(empty_engine, ticket_type, users)
            former_drain(empty_engine, ticket_type)
            batches += 1
        return batches

    with ThreadPoolExecutor(2) as sellers:
        selling = [sellers.submit(sell_on) for _ in range(2)]
        migrate(empty_engine, "0009")
        upgraded.set()
        bought = sum(each.result() for each in selling) * len(users)
    migrate(empty_engine)
    drain(empty_engine, [event_of(empty_engine, ticket_type)], settings, ignore)
    report = audit(empty_engine, settings)
    assert report.ok
    assert (report.purchases, report.queued) == (bought, 0)


def test_a_migration_that_a_long_transaction_keeps_waiting_gives_up(
    empty_engine: Engine, settings: Settings
) -> None:
    migrate(empty_engine, "0004")
    ticket_type = add_former_ticket_type(empty_engine, 1_000_000)
    (user,) = add_users(empty_engine, 1)
    given_up = Event()

    def sell_on() -> tuple[int, float]:
        """Buy and decide until the migration has given up; how many, and the longest wait."""
        bought, slowest = 0, 0.0
        while not given_up.is_set():
            began = time.monotonic()
            former_accept(empty_engine, ticket_type, [user])
            former_drain(empty_engine, ticket_type)
            bought, slowest = bought + 1, max(slowest, time.monotonic() - began)
        return bought, slowest

    with empty_engine.connect() as report, ThreadPoolExecutor(1) as sellers:
        report.execute(text("SET application_name = 'monthly report'"))
        report.execute(text("SELECT count(*) FROM ticket_purchases"))  # and its transaction stays
        selling = sellers.submit(sell_on)
        began = time.monotonic()
        try:
            with pytest.raises(ConfigurationError, match=r"gave up.*monthly report"):
                migrate(empty_engine)
        finally:
            given_up.set()
        took = time.monotonic() - began
        bought, slowest = selling.result()

    assert version(empty_engine) == "0004"
    assert slowest <= took < LOCK_TIMEOUT_SECONDS + 3
    migrate(empty_engine)
    audited = audit(empty_engine, settings)
    assert audited.ok
    assert (audited.purchases, audited.queued) == (bought, 0)


def test_an_autovacuum_gives_way_to_a_migration(empty_engine: Engine, postgres_url: str) -> None:
    migrate(empty_engine, "0031")
    tamper(
        empty_engine,
        "ALTER TABLE ledger SET (autovacuum_vacuum_cost_delay = 100,"
        " autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_insert_threshold = 1)",
        "INSERT INTO ledger"
        " (event_id, number, command_id, kind, ticket_type_id, change, left_after)"
        " SELECT 1, n, gen_random_uuid(), 'issued', 1, 1, n FROM generate_series(1, 20000) n",
    )

    def vacuums() -> None:
        assert rows(
            empty_engine, "SELECT FROM pg_stat_progress_vacuum WHERE datname = current_database()"
        )

    with server_setting(postgres_url, "autovacuum_naptime", "1s"):
        eventually(vacuums)
        migrate(empty_engine)


@pytest.mark.parametrize("locks", SALES_LOCKS)
def test_a_purchase_and_an_upgrade_never_wait_for_each_other(
    empty_engine: Engine, locks: str
) -> None:
    migrate(empty_engine, "0009")
    ticket_type = add_former_ticket_type(empty_engine, 1)
    users = add_users(empty_engine, 1)
    first, *others = locks.replace("LOCK TABLE", "").split(",")

    with ThreadPoolExecutor(1) as buyers, empty_engine.begin() as upgrade:
        upgrade.execute(text(f"LOCK TABLE {first}"))
        buying = buyers.submit(former_accept, empty_engine, ticket_type, users)
        until_sessions_wait(empty_engine)
        upgrade.execute(text("SET LOCAL lock_timeout = '200ms'"))
        upgrade.execute(text(f"LOCK TABLE {','.join(others)}"))
        upgrade.commit()
        buying.result()


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    version = text("SELECT version_num FROM alembic_version")
    with engine.connect() as connection:
        before = connection.execute(version).all()
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(version).all() == before
    assert len(before) == 1
    assert missing_migrations(engine) == []


def test_a_database_whose_version_passed_over_a_migration_gets_it_later(
    empty_engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty_engine, "0019")
    # As the first commit that called itself 0.2.0 went on.
    run(empty_engine, import_module(f"{VERSIONS}.0021_full_audits").TABLE)
    run(empty_engine, "UPDATE alembic_version SET version_num = '0021'")
    migrate(empty_engine)
    test_migrations_create_the_tables_of_the_models(empty_engine, monkeypatch)
    assert audit(empty_engine, settings).ok


def test_a_database_with_a_guard_of_a_later_migration_gets_the_rest(
    empty_engine: Engine, settings: Settings
) -> None:
    migrate(empty_engine, "0022")
    # As some commits that called themselves 0.2.0 made it in 0012.
    run(empty_engine, import_module(f"{VERSIONS}.0023_guards_by_statement").FOLLOW)
    migrate(empty_engine)
    assert audit(empty_engine, settings).ok


@needs_postgres(17, "transaction_timeout")
def test_transactions_that_take_long_on_purpose_have_no_transaction_timeout(
    empty_engine: Engine,
) -> None:
    name = scalar(empty_engine, "SELECT current_database()")
    run(empty_engine, f"ALTER DATABASE {name} SET transaction_timeout = '500ms'")
    empty_engine.dispose()
    migrate(empty_engine)
    with empty_engine.connect() as pooled:
        plain = pooled.connection.driver_connection
        assert isinstance(plain, connection)
        with snapshot(plain) as cursor:
            cursor.execute("SELECT pg_sleep(0.6)")


def test_events_of_a_former_version_become_searchable_even_if_the_fill_is_cut_off(
    empty_engine: Engine,
) -> None:
    migrate(empty_engine, "0007")
    (owner,) = add_users(empty_engine, 1)
    run(
        empty_engine,
        "INSERT INTO events (title, description, start_time, end_time, owner_id)"
        " SELECT 'Straße ' || n, 'ΟΔΟΣ', now(), now() + interval '1 day', :owner"
        " FROM generate_series(1, 250) n",
        owner=owner,
    )
    unsearchable = "UPDATE events SET description = repeat(U&'\\0315\\0300', 30000) WHERE id = 7"
    run(empty_engine, unsearchable)
    filled = "SELECT count(*) FROM events WHERE search_text LIKE 'strasse %οδοσ'"
    for _ in range(2):
        migrate(empty_engine, "0008")
        assert scalar(empty_engine, filled) == 249
        # As if the first time had ended after a part of them.
        run(empty_engine, "UPDATE events SET search_text = NULL WHERE id > 120")
        run(empty_engine, "UPDATE alembic_version SET version_num = '0007'")
