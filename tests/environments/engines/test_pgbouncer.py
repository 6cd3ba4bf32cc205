"""A whole system through PgBouncer, which hands a session on after each transaction."""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from shared.config.settings import Settings
from shared.database.engine import cursor_transaction, open_engine
from shared.database.session_settings import keep_in_role, missing, session_settings
from tests.chaos.conftest import survives
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.postgres import BackendsTerminated, PostgresCrashed
from tests.chaos.system import System
from tests.environments.engines import pgbouncer
from tests.environments.engines.pgbouncer import SESSIONS, a_pgbouncer
from tests.environments.engines.selling import seconds_to_decision
from tests.environments.engines.systems import a_system_on
from tests.support.servers import new_database

SWEEPER_SECONDS = Settings.model_fields["sweep_after_seconds"].default
SERVER_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'eventify-%'"


@pytest.fixture(scope="module", autouse=True)
def _needs_pgbouncer() -> None:
    if pgbouncer.missing():
        pytest.skip(pgbouncer.missing())


@contextmanager
def through_pgbouncer(database_url: str) -> Iterator[Mapping[str, str]]:
    with a_pgbouncer(database_url) as pooler:
        yield {"EVENTIFY_DATABASE_URL": pooler.url, "EVENTIFY_PREPARE_STATEMENTS": "false"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with a_system_on(through_pgbouncer) as system:
        yield system


def test_purchases_are_decided_through_few_sessions(system: System) -> None:
    seconds = [seconds_to_decision(system) for _ in range(20)]
    assert statistics.median(seconds) < SWEEPER_SECONDS / 4, seconds
    with cursor_transaction(system.engine) as cursor:
        cursor.execute(SERVER_SESSIONS)
        assert 0 < cursor.fetchone()[0] <= SESSIONS + 1  # and this one


def test_every_session_has_our_limits(system: System) -> None:
    seconds_to_decision(system)
    reported = [
        line for file in system.home.logs.iterdir() for line in file.read_text().splitlines()
    ]
    assert [line for line in reported if "session_settings_missing" in line] == []
    assert any('"batch_decided"' in line for line in reported)


@pytest.mark.parametrize("fault", [BackendsTerminated, PostgresCrashed])
def test_a_sale_through_it_survives_what_befalls_postgresql(
    system: System, fault: type[Fault]
) -> None:
    survives(system, fault)


@pytest.mark.parametrize("command", [["migrate"], ["token", "ada"], ["audit"]])
def test_an_operators_command_goes_through_it(system: System, command: list[str]) -> None:
    reported = system.operator.run(*command)
    assert reported.returncode == 0, reported.stdout + reported.stderr


def test_limits_that_a_pooler_drops_are_reported_of_until_the_role_has_them(
    postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with new_database(postgres_url) as url, a_pgbouncer(url) as pooler:
        settings = Settings(
            database_url=pooler.url, prepare_statements=False, statement_timeout_ms=4_321
        )
        engine = open_engine(settings, "test")
        with cursor_transaction(engine):
            pass
        assert "session_settings_missing" in capsys.readouterr().out
        keep_in_role(settings)
        engine.dispose()
        engine = open_engine(settings, "test")
        with cursor_transaction(engine) as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("4321ms",)
            assert missing(cursor.connection, session_settings(settings)) == {}
        assert "session_settings_missing" not in capsys.readouterr().out
        engine.dispose()
