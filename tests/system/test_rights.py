"""A running system: what each process is given, and what that lets it do."""

import stat
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import psycopg2
import pytest
import redis
from psycopg2 import errors
from psycopg2.extensions import parse_dsn

from deploy.local.home import read_state
from tests.support.waiting import eventually
from tests.system.conftest import Shop
from tests.system.selling import OnSale, buy

# Each program, and the login that it has to have.
LOGINS = {
    "gateway": "eventify_gateway_login",
    "catalog": "eventify_catalog_login",
    "worker": "eventify_worker_login",
    "sweeper": "eventify_worker_login",
    "sender": "eventify_sender_login",
}


@pytest.fixture(scope="module")
def environments(large_shop: Shop) -> list[tuple[str, dict[str, str]]]:
    """Of each service's process and its children, with the program's name.

    Of a shop whose services are no forks: a fork is shown with its parent's environment.
    """
    return [
        (program, one.environ())
        for process in large_shop.operator.status()["processes"]
        if (program := process["name"].partition("-")[0]) in LOGINS
        for parent in [psutil.Process(process["pid"])]
        for one in (parent, *parent.children(recursive=True))
    ]


def test_each_process_is_given_its_own_login_and_no_other(
    large_shop: Shop, environments: list[tuple[str, dict[str, str]]]
) -> None:
    for program, environment in environments:
        urls = [value for value in environment.values() if value.startswith("postgresql:")]
        assert {parse_dsn(url)["user"] for url in urls} == {LOGINS[program]}
    assert {program for program, _ in environments} == LOGINS.keys()
    state = read_state(large_shop.home)
    assert state is not None
    supervisor = psutil.Process(state.supervisor_pid)
    assert large_shop.database_url not in supervisor.environ().values()


def test_no_service_is_connected_as_a_superuser_or_as_the_owner(
    shop: Shop, on_sale: OnSale, buyer: httpx.Client
) -> None:
    assert buy(buyer, on_sale(capacity=1)).status_code in (201, 202)

    def all_as_they_should() -> None:
        with shop.database() as cursor:
            cursor.execute(
                "SELECT DISTINCT application_name, rolname, rolsuper FROM pg_stat_activity"
                " JOIN pg_roles r ON r.oid = usesysid WHERE application_name = ANY(%s)",
                [[f"eventify-{program}" for program in LOGINS]],
            )
            connected = set(cursor.fetchall())
        wanted = {(f"eventify-{program}", login, False) for program, login in LOGINS.items()}
        assert connected == wanted

    eventually(all_as_they_should)


@pytest.mark.parametrize("program", LOGINS)
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE ledger DISABLE TRIGGER ALL",
        "TRUNCATE requests CASCADE",
        "DELETE FROM ledger",
        "DROP TABLE events CASCADE",
        "SET session_replication_role = replica",
        "SET ROLE postgres",
        "UPDATE requests SET quantity = 1",
        "UPDATE ledger SET change = -1",
        "INSERT INTO requests (seq) OVERRIDING SYSTEM VALUE VALUES (1)",
    ],
)
def test_its_own_credentials_do_not_let_a_service_pass_the_guards(
    environments: list[tuple[str, dict[str, str]]], program: str, statement: str
) -> None:
    url = dict(environments)[program]["EVENTIFY_DATABASE_URL"]
    with (
        closing(psycopg2.connect(url)) as connection,
        connection.cursor() as cursor,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        cursor.execute(statement)


def test_the_home_is_closed_to_other_users(shop: Shop) -> None:
    """But for PostgreSQL's own user, who passes through where root started it."""

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    home = shop.home
    assert mode(home.path) & 0o067 == 0
    for folder in (home.logs, home.keys, home.metrics, home.valkey, home.postgres):
        assert mode(folder) == 0o700, folder
    for file in (*home.logs.iterdir(), home.state_file, home.valkey / "valkey.conf"):
        assert mode(file) == 0o600, file
    assert {mode(file) for file in home.postgres.glob("*password")} == {0o600}


def test_valkey_has_a_limit_and_postgresql_logs_no_rows(shop: Shop) -> None:
    with redis.Redis.from_url(shop.redis_url, decode_responses=True) as client:
        assert client.config_get("maxmemory")["maxmemory"] != "0"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "volatile-ttl"
    with shop.database() as cursor, pytest.raises(errors.CheckViolation):
        cursor.execute(
            "INSERT INTO users (username, password_hash) VALUES ('a b', '$argon2id$geheim')"
        )

    def logged() -> str:
        log = (shop.home.logs / "postgres.log").read_text()
        assert "users_username_form" in log
        return log

    assert "geheim" not in eventually(logged)
