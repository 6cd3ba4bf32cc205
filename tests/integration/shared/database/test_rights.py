"""Each service has the rights that it needs, and no others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import psycopg2
import pytest
from psycopg2 import errors
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from purchase_worker.audit import full_audits
from purchase_worker.audit.all_events import audit
from purchase_worker.audit.findings import GUARDS
from purchase_worker.drain import drain
from shared.config.database_url import with_login
from shared.config.settings import Settings, variable
from shared.database.engine import open_engine
from shared.database.logins import ROLE_OF_SETTING, make_logins
from shared.database.migrate import migrate
from shared.database.rights import (
    AUDITOR,
    CATALOG,
    GATEWAY,
    READER,
    RIGHTS,
    ROLES,
    SENDER,
    WORKER,
    change_roles,
    excess_rights,
    missing_roles,
)
from shared.database.session_settings import keep_in_role
from shared.errors import ConfigurationError
from tests.integration.shared.database.test_schema import empty_engine
from tests.support.factories import (
    add_event,
    add_ticket_type,
    add_users,
    cart,
    counter,
    event_of,
    ignore,
    issue,
    queue,
    request,
    rows,
    run,
    scalar,
)
from tests.support.former_sales import add_former_ticket_type, former_accept, former_drain
from tests.support.postgres_version import needs_postgres, postgres_version
from tests.support.servers import new_database, run_admin
from tests.support.tampering import broken

__all__ = ["empty_engine"]

NEW_REQUEST = (
    "INSERT INTO requests (id, event_id, user_id, ticket_type_id, quantity, unit_price, currency{})"
    " SELECT gen_random_uuid(), 1001, 1, 2001, 1, 25, 'EUR'{}"
)
ISSUE = "SELECT eventify_issue(2001, 1)"
ERASE = "SELECT eventify_erase_user(1)"
# For each role, beside what nobody may: all of these are good SQL, and would do harm.
FORBIDDEN = {
    GATEWAY: (
        NEW_REQUEST.format(", created_at", ", '2020-01-01'"),
        NEW_REQUEST.format(", seq", ", 1").replace("SELECT", "OVERRIDING SYSTEM VALUE SELECT"),
        "INSERT INTO ledger SELECT * FROM ledger",
        "INSERT INTO batches SELECT * FROM batches",
        "SELECT FROM ticket_types FOR KEY SHARE",
        "SELECT FROM lanes FOR KEY SHARE",
        "UPDATE lanes SET at = at",
        "UPDATE ticket_types SET price = 0",
        "UPDATE events SET owner_id = 2",
        "UPDATE users SET username = 'other'",
        "UPDATE users SET locked_at = NULL",
        "UPDATE refresh_tokens SET user_id = 2",
        ISSUE,
    ),
    CATALOG: (
        "SELECT * FROM users",
        "SELECT password_hash FROM users",
        "SELECT * FROM refresh_tokens",
        "SELECT user_id FROM requests",
        "SELECT unit_price FROM requests",
        "SELECT * FROM ledger",
        "SELECT * FROM batches",
        NEW_REQUEST.format("", ""),
        "INSERT INTO ledger (event_id, number, command_id) VALUES (1001, 9, gen_random_uuid())",
        "INSERT INTO batches VALUES (1001, 9, 9, now(), '3:3:', 'me')",
        "UPDATE lanes SET number = 0",
        "UPDATE lanes SET done_seq = 0",
        "INSERT INTO users (username) VALUES ('x')",
        ERASE,
    ),
    WORKER: (
        "SELECT * FROM users",
        "SELECT * FROM refresh_tokens",
        NEW_REQUEST.format("", ""),
        "UPDATE lanes SET number = 0",
        "UPDATE lanes SET done_seq = 1000000",
        "UPDATE lanes SET next_done_xid = '0'",
        "UPDATE ticket_types SET price = 0",
        "SELECT FROM ticket_types FOR KEY SHARE",
        "UPDATE events SET title = 'x'",
        "INSERT INTO events (title) VALUES ('x')",
        ISSUE,
        ERASE,
    ),
    AUDITOR: (
        "SELECT id FROM users",
        "SELECT title FROM events",
        "SELECT * FROM full_audits",
        "DELETE FROM full_audits",
        "UPDATE full_audits SET violations = 0",
        "INSERT INTO full_audits (at, violations, entries, seconds) VALUES (now(), 0, 0, 0)",
        NEW_REQUEST.format("", ""),
        "INSERT INTO ledger SELECT * FROM ledger",
        "UPDATE lanes SET at = at",
        ISSUE,
        ERASE,
    ),
    READER: (
        "SELECT * FROM users",
        "SELECT password_hash FROM users",
        "SELECT email FROM users",
        "SELECT * FROM refresh_tokens",
        NEW_REQUEST.format("", ""),
        "INSERT INTO ledger SELECT * FROM ledger",
        "INSERT INTO batches SELECT * FROM batches",
        "UPDATE lanes SET at = at",
        "SELECT FROM lanes FOR KEY SHARE",
        "INSERT INTO events (title) VALUES ('x')",
        ISSUE,
        ERASE,
    ),
}
INSERT_ONLY = ("requests", "ledger", "batches")
KEPT_BY_TRIGGERS = ("work_list", "lanes", "counters", "holds")
FORBIDDEN_TO_ALL = (
    *(
        statement.format(table=table)
        for table in RIGHTS
        for statement in (
            "TRUNCATE {table}",
            "DROP TABLE {table} CASCADE",
            "ALTER TABLE {table} DISABLE TRIGGER ALL",
            "ALTER TABLE {table} DISABLE TRIGGER USER",
            "ALTER TABLE {table} ADD COLUMN more int",
            "ALTER TABLE {table} OWNER TO CURRENT_USER",
            "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            (
                "CREATE TRIGGER mine BEFORE INSERT ON {table} FOR EACH ROW"
                " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
            ),
            "CREATE RULE mine AS ON DELETE TO {table} DO INSTEAD NOTHING",
            "CREATE INDEX ON {table} ((1))",
        )
    ),
    *(f"DELETE FROM {table}" for table in (*INSERT_ONLY, *KEPT_BY_TRIGGERS, "users")),
    *(f"UPDATE {table} SET event_id = 1002" for table in (*INSERT_ONLY, *KEPT_BY_TRIGGERS)),
    *(f"SELECT FROM {table} FOR KEY SHARE" for table in (*INSERT_ONLY, "work_list", "counters")),
    "INSERT INTO work_list VALUES (1001, 1, 1, gen_random_uuid())",
    "INSERT INTO lanes (event_id) VALUES (1003)",
    "INSERT INTO counters (event_id, ticket_type_id, issued) VALUES (1002, 2001, 9)",
    "UPDATE requests SET accepted_xid = '3'",
    "UPDATE counters SET sold = 0",
    "SELECT eventify_fail('check_violation', 'mine', 'message')",
    "UPDATE alembic_version SET version_num = '0001'",
    "DROP TRIGGER ledger_apply ON ledger",
    "DROP FUNCTION eventify_refuse() CASCADE",
    (
        "CREATE OR REPLACE FUNCTION eventify_refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN NEW; END'"
    ),
    "ALTER FUNCTION eventify_refuse() RESET ALL",
    "SET session_replication_role = replica",
    "SET LOCAL session_replication_role = replica",
    "CREATE TABLE mine (id int)",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "COPY ledger TO PROGRAM 'true'",
    "SELECT pg_read_file('postgresql.conf')",
    "ALTER SYSTEM SET fsync = off",
    "ALTER DATABASE {database} SET session_replication_role = replica",
    "SELECT setval(pg_get_serial_sequence('users', 'id'), 1)",
    # A guard that writes as the owner must not be called by a trigger of one's own.
    *(
        "CREATE TEMPORARY TABLE own (LIKE events); CREATE TRIGGER forge AFTER INSERT ON own"
        f" {old_and_new} EXECUTE FUNCTION {guard}()"
        for guard, old_and_new in (
            ("eventify_accept", "REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT"),
            ("eventify_apply", "REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT"),
            ("eventify_open_lane", "FOR EACH ROW"),
            ("eventify_open_counter", "FOR EACH ROW"),
            ("eventify_withdraw_all", "FOR EACH ROW"),
            ("eventify_issue_moved", "FOR EACH ROW"),
        )
    ),
)
OWN_TRIGGER = """
CREATE TEMPORARY TABLE own (id int);
CREATE FUNCTION pg_temp.forge() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN UPDATE public.lanes SET at = 'infinity'; RETURN NULL; END $$;
CREATE TRIGGER forge AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION pg_temp.forge();
INSERT INTO own VALUES (1)
"""
# What a role has the right to write, and a guard refuses.
REFUSED_BY_A_GUARD = (
    (GATEWAY, NEW_REQUEST.format(", accepted_xid", ", '3'"), "requests_accepted_now"),
    (
        GATEWAY,
        (
            "INSERT INTO requests (id, event_id, user_id, kind, ticket_type_id, quantity)"
            " VALUES (gen_random_uuid(), 1001, 1, 'issue', 2001, 1)"
        ),
        "requests_issue",
    ),
    (CATALOG, "UPDATE lanes SET at = 'infinity'", "lanes_kept"),
    (WORKER, "UPDATE lanes SET at = 'infinity'", "lanes_kept"),
    (CATALOG, OWN_TRIGGER, "lanes_kept"),
    (WORKER, OWN_TRIGGER, "lanes_kept"),
)
BATCH = (
    "INSERT INTO public.batches (event_id, first_number, last_number, at, seen, decided_by)"
    " VALUES (1001, {0}, {0}, now(), pg_current_snapshot(), 'me')"
)
# Of one statement with its entries.
WITH_BATCH = f"WITH batch AS ({BATCH}) "
ENTRY = (
    "INSERT INTO public.ledger (event_id, number, command_id, ticket_type_id, kind, change,"
    " left_after) SELECT 1001, {number}, command_id, 2001, 'confirmed', {change}, {left}"
    " FROM public.work_list ORDER BY seq LIMIT 1;"
)
# A temporary table hides the table of its name in what a service asks, not in what a guard does:
# the role, the table, its rows, and what would be right if they were the table's.
BLINDED = (
    (
        *(
            GATEWAY,
            "ticket_types",
            "SELECT 9999 AS id, 1001 AS event_id, null::timestamptz paused_at",
        ),
        NEW_REQUEST.format("", "").replace("2001", "9999"),
        "requests_ticket_type_id_fkey",
    ),
    (
        *(GATEWAY, "users", "SELECT 9999 AS id"),
        NEW_REQUEST.format("", "").replace(" 1, 2001", " 9999, 2001"),
        "requests_user_id_fkey",
    ),
    (
        *(WORKER, "requests", "SELECT * FROM public.requests; UPDATE requests SET quantity = 2"),
        WITH_BATCH.format(4) + ENTRY.format(number=4, change=-2, left=1),
        "ledger_answers",
    ),
    (
        *(WORKER, "lanes", "SELECT * FROM public.lanes; UPDATE lanes SET number = 8"),
        WITH_BATCH.format(9) + ENTRY.format(number=9, change=-1, left=2),
        "ledger_numbered",
    ),
    (
        *(WORKER, "batches", "SELECT * FROM public.batches"),
        "INSERT INTO batches SELECT 1001, 4, 4, now(), seen FROM public.batches LIMIT 1;"
        + ENTRY.format(number=4, change=-1, left=2),
        "ledger_numbered",
    ),
    (
        *(WORKER, "counters", "SELECT * FROM public.counters; UPDATE counters SET issued = 9"),
        WITH_BATCH.format(4) + ENTRY.format(number=4, change=-1, left=6),
        "ledger_counted",
    ),
    (
        *(WORKER, "ledger", "SELECT 1001 AS event_id, 4 AS number"),
        BATCH.format(4),
        "batches_follow",
    ),
    (
        *(WORKER, "batches", "SELECT 1001 AS event_id, 1 AS first_number, 2 AS last_number"),
        BATCH.format(3),
        "batches_follow",
    ),
    (
        *(CATALOG, "counters", "SELECT * FROM public.counters; UPDATE counters SET issued = 99"),
        "SELECT eventify_issue(2001, -50)",
        "counters_never_oversold",
    ),
    (
        *(CATALOG, "requests", "SELECT id, event_id, kind FROM public.requests WHERE false"),
        "DELETE FROM public.ticket_types WHERE id = 2001",
        "ticket_types_with_purchases_kept",
    ),
    (
        *(CATALOG, "requests", "SELECT id, event_id, kind FROM public.requests WHERE false"),
        "UPDATE public.ticket_types SET event_id = 1002 WHERE id = 2001",
        "ticket_types_with_purchases_stay",
    ),
)


@pytest.fixture(scope="module")
def owner(postgres_url: str) -> Iterator[Engine]:
    """The owner's engine on a database with a sale: forbidden statements change nothing of it.

    Of ticket type 1, 3 of 5 tickets are left after entry 3, and 3 purchases wait.
    """
    with new_database(postgres_url) as url:
        settings = Settings(database_url=url)
        engine = open_engine(settings, "test")
        ticket_type = add_ticket_type(engine, 5)
        queue(engine, [request(user, ticket_type) for user in add_users(engine, 2)])
        drain(engine, [event_of(engine, ticket_type)], settings, ignore)
        queue(engine, [request(user, ticket_type) for user in add_users(engine, 3)])
        add_event(engine)
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def logins(owner: Engine) -> Iterator[dict[str, psycopg2.extensions.connection]]:
    """A session of a login of its own for each role."""
    opened = {}
    for role in ROLES:
        run(owner, f"CREATE ROLE {role}_login LOGIN PASSWORD 'secret' IN ROLE {role}")
        url = owner.url.set(drivername="postgresql", username=f"{role}_login", password="secret")
        opened[role] = psycopg2.connect(url.render_as_string(hide_password=False))
        opened[role].autocommit = True
    yield opened
    for role, connection in opened.items():
        connection.close()
        run(owner, f"DROP ROLE {role}_login")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_no_other_rights(
    logins: dict[str, psycopg2.extensions.connection], role: str
) -> None:
    tried = (*FORBIDDEN.get(role, ()), *FORBIDDEN_TO_ALL)
    allowed = [statement for statement in tried if not is_denied(logins[role], statement)]
    assert not allowed, allowed


def is_denied(connection: psycopg2.extensions.connection, statement: str) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement.replace("{database}", connection.info.dbname))
    except psycopg2.Error as error:
        return isinstance(error, errors.InsufficientPrivilege)
    return False


@pytest.mark.parametrize(("role", "statement", "guard"), REFUSED_BY_A_GUARD)
def test_a_guard_refuses_what_the_rights_allow(
    logins: dict[str, psycopg2.extensions.connection], role: str, statement: str, guard: str
) -> None:
    with logins[role].cursor() as cursor, pytest.raises(errors.IntegrityError) as error:
        cursor.execute(statement)
    assert error.value.diag.constraint_name == guard


@pytest.mark.parametrize(("role", "table", "its_rows", "statement", "guard"), BLINDED)
def test_a_temporary_table_of_the_same_name_does_not_blind_a_guard(
    logins: dict[str, psycopg2.extensions.connection],
    role: str,
    table: str,
    its_rows: str,
    statement: str,
    guard: str,
) -> None:
    # One string is one transaction, which takes the temporary table with it.
    with logins[role].cursor() as cursor, pytest.raises(psycopg2.Error) as error:
        cursor.execute(
            f"CREATE TEMPORARY TABLE {table} AS {its_rows};"
            + statement.replace("INTO requests", "INTO public.requests")
        )
    assert error.value.diag.constraint_name == guard


def test_every_table_has_its_rights_written_down(owner: Engine) -> None:
    tables = rows(
        owner,
        (
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
            " AND relnamespace = 'public'::regnamespace"
        ),
    )
    assert {table for (table,) in tables} == RIGHTS.keys()


def test_every_guard_looks_in_one_schema_and_is_called_by_our_triggers_alone(owner: Engine) -> None:
    loose = rows(
        owner,
        (
            "SELECT proname FROM pg_proc p WHERE pronamespace = 'public'::regnamespace"
            " AND (NOT coalesce('search_path=public, pg_temp' = ANY(proconfig), false)"
            "      OR EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))"
            "                 WHERE grantee = 0))"
        ),
    )
    assert loose == []
    assert scalar(owner, "SELECT count(*) FROM pg_proc WHERE proname LIKE 'eventify%'") > 5


def excess(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return excess_rights(connection)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (f"GRANT DELETE ON events TO {WORKER}", f"{WORKER} has DELETE on events"),
        (
            f"GRANT UPDATE (quantity) ON requests TO {GATEWAY}",
            f"{GATEWAY} has UPDATE (quantity) on requests",
        ),
        (
            f"GRANT EXECUTE ON FUNCTION eventify_issue TO {WORKER}",
            f"{WORKER} has EXECUTE on eventify_issue(bigint,integer)",
        ),
        (
            "GRANT EXECUTE ON FUNCTION eventify_apply TO PUBLIC",
            "PUBLIC has EXECUTE on eventify_apply()",
        ),
        ("GRANT INSERT ON users TO PUBLIC", "PUBLIC has INSERT on users"),
        (f"GRANT CREATE ON SCHEMA public TO {WORKER}", f"{WORKER} has CREATE on schema public"),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", "PUBLIC has CREATE on schema public"),
        (
            f"GRANT CREATE ON DATABASE {{database}} TO {CATALOG}",
            f"{CATALOG} has CREATE on database {{database}}",
        ),
        (
            "GRANT CREATE ON DATABASE {database} TO PUBLIC",
            "PUBLIC has CREATE on database {database}",
        ),
        (f"GRANT {WORKER} TO {GATEWAY}", f"{GATEWAY} is a member of {WORKER}"),
    ],
)
def test_rights_granted_by_hand_are_found_and_revoked(
    engine: Engine, settings: Settings, given: str, message: str
) -> None:
    message = message.format(database=engine.url.database)
    assert excess(engine) == []
    run(engine, given.format(database=engine.url.database))
    try:
        assert excess(engine) == [message]
        (found,) = (one for one in audit(engine, settings).invariants if one.violations)
        assert (found.name, found.examples) == (GUARDS, [message])
        migrate(engine)
        assert excess(engine) == []
        assert audit(engine, settings).ok
    finally:  # roles are the cluster's
        run(engine, f"REVOKE {WORKER} FROM {GATEWAY}")


def test_a_schema_named_like_the_login_hides_no_rights(engine: Engine) -> None:
    run(engine, f"GRANT DELETE ON events TO {WORKER}")
    run(engine, "CREATE SCHEMA AUTHORIZATION CURRENT_USER")
    assert excess(engine) == [f"{WORKER} has DELETE on events"]


@needs_postgres(15, "rights to parameters")
@pytest.mark.parametrize(
    ("right", "parameter", "grantee"),
    [
        ("SET", "session_replication_role", WORKER),
        ("SET", "session_replication_role", "PUBLIC"),
        ("ALTER SYSTEM", "archive_command", WORKER),
    ],
)
def test_a_right_to_a_parameter_is_found_and_revoked(
    engine: Engine, right: str, parameter: str, grantee: str
) -> None:
    run(engine, f"GRANT {right} ON PARAMETER {parameter} TO {grantee}")
    try:
        assert excess(engine) == [f"{grantee} has {right} on parameter {parameter}"]
        migrate(engine)
        assert excess(engine) == []
    finally:  # of the cluster
        run(engine, f"REVOKE {right} ON PARAMETER {parameter} FROM {grantee}")


@needs_postgres(15, "rights to parameters")
def test_others_may_be_let_set_what_switches_no_guard_off(engine: Engine) -> None:
    run(engine, "GRANT SET ON PARAMETER log_statement TO PUBLIC")
    try:
        assert excess(engine) == []
    finally:  # of the cluster
        run(engine, "REVOKE SET ON PARAMETER log_statement FROM PUBLIC")


@pytest.fixture
def worker_login(engine: Engine, postgres_url: str) -> Iterator[str]:
    """A member of a group of the worker's role."""
    login = f"{engine.url.database}_login"
    run_admin(postgres_url, f"CREATE ROLE {login}_group IN ROLE {WORKER}")
    run_admin(postgres_url, f"CREATE ROLE {login} LOGIN IN ROLE {login}_group")
    yield login
    for role in (login, f"{login}_group"):
        run(engine, f"REASSIGN OWNED BY {role} TO CURRENT_USER")
        run_admin(postgres_url, f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("given", "owned"),
    [
        ("TABLE ledger", "ledger"),
        ("TABLE requests", "requests"),
        ("FUNCTION eventify_issue", "eventify_issue(bigint,integer)"),
        ("SCHEMA public", "schema public"),
        ("DATABASE {database}", "database {database}"),
    ],
)
def test_what_a_service_owns_is_found(
    engine: Engine, settings: Settings, worker_login: str, given: str, owned: str
) -> None:
    database = engine.url.database
    before = "CURRENT_USER" if "SCHEMA" not in given else "pg_database_owner"
    for owner in (worker_login, WORKER):
        run(engine, f"ALTER {given} OWNER TO {owner}".format(database=database))
        assert f"{owner} owns {owned.format(database=database)}" in excess(engine)
        assert broken(audit(engine, settings)) == {GUARDS}
        run(engine, f"ALTER {given} OWNER TO {before}".format(database=database))
    assert excess(engine) == []


def test_a_service_that_owns_everything_is_found(plain_owner: Engine, postgres_url: str) -> None:
    migrate(plain_owner)
    run_admin(postgres_url, f"GRANT {WORKER} TO {plain_owner.url.username}")
    assert excess(plain_owner) == []
    admin = open_engine(
        Settings(database_url=f"{postgres_url.rpartition('/')[0]}/{plain_owner.url.database}"),
        "test",
    )
    run(admin, f"REASSIGN OWNED BY {plain_owner.url.username} TO {WORKER}")
    try:
        assert {f"{WORKER} owns ledger", f"{WORKER} owns users_id_seq"} <= set(excess(admin))
    finally:
        run(admin, f"REASSIGN OWNED BY {WORKER} TO {plain_owner.url.username}")
        admin.dispose()


def test_powers_of_who_has_a_services_role_through_a_group_are_found(
    engine: Engine, postgres_url: str, worker_login: str
) -> None:
    assert excess(engine) == []
    run_admin(postgres_url, f"GRANT pg_write_all_data TO {worker_login}")
    assert excess(engine) == [f"{worker_login} is a member of pg_write_all_data"]
    run_admin(postgres_url, f"ALTER ROLE {worker_login} SUPERUSER")
    assert excess(engine) == [f"{worker_login} is a superuser"]


def test_an_administrator_who_is_a_member_of_the_owner_is_no_excess(
    plain_owner: Engine, postgres_url: str
) -> None:
    migrate(plain_owner)
    owner, admin = plain_owner.url.username, f"{plain_owner.url.database}_admin"
    run_admin(postgres_url, f"CREATE ROLE {admin} CREATEROLE IN ROLE {owner}")
    try:
        run_admin(postgres_url, f"GRANT {WORKER} TO {owner}")
        run_admin(postgres_url, f"GRANT CREATE ON DATABASE {plain_owner.url.database} TO {admin}")
        assert excess(plain_owner) == []
    finally:
        run(plain_owner, f"REVOKE CREATE ON DATABASE {plain_owner.url.database} FROM {admin}")
        run_admin(postgres_url, f"DROP ROLE {admin}")


def test_a_membership_is_revoked_whoever_granted_it(engine: Engine, postgres_url: str) -> None:
    admin = f"{engine.url.database}_admin"
    run_admin(postgres_url, f"CREATE ROLE {admin} CREATEROLE")
    try:
        run_admin(postgres_url, f"GRANT {WORKER}, {SENDER} TO {admin} WITH ADMIN OPTION")
        for granted in (WORKER, SENDER):
            run_admin(postgres_url, f"SET ROLE {admin}; GRANT {granted} TO {GATEWAY}")
        found = {f"{GATEWAY} is a member of {granted}" for granted in (WORKER, SENDER)}
        assert found <= set(excess(engine))
        migrate(engine)
        assert not found & set(excess(engine))
    finally:
        run_admin(postgres_url, f"REVOKE {WORKER}, {SENDER} FROM {admin} CASCADE")
        run_admin(postgres_url, f"DROP ROLE {admin}")


def test_a_login_of_several_services_and_an_owner_who_creates_are_no_excess(
    plain_owner: Engine, postgres_url: str
) -> None:
    migrate(plain_owner)
    name = plain_owner.url.username
    run_admin(postgres_url, f"GRANT {WORKER}, {SENDER} TO {name}")
    run(plain_owner, f"GRANT CREATE ON SCHEMA public TO {name}")
    migrate(plain_owner)
    assert excess(plain_owner) == []
    assert scalar(plain_owner, f"SELECT has_schema_privilege('{name}', 'public', 'CREATE')")


def test_a_login_of_a_service_that_may_create_is_found_and_stopped(
    engine: Engine, postgres_url: str
) -> None:
    run_admin(postgres_url, f"CREATE ROLE creating_login LOGIN IN ROLE {WORKER}")
    try:
        run(engine, "GRANT CREATE ON SCHEMA public TO creating_login")
        assert "creating_login has CREATE on schema public" in excess(engine)
        migrate(engine)
        assert excess(engine) == []
    finally:
        run_admin(postgres_url, "DROP ROLE creating_login")


def test_who_may_not_revoke_a_membership_migrates_nevertheless(
    plain_owner: Engine, postgres_url: str
) -> None:
    run_admin(postgres_url, f"GRANT {WORKER} TO {GATEWAY}")
    try:
        migrate(plain_owner)
        assert excess(plain_owner) == [f"{GATEWAY} is a member of {WORKER}"]
    finally:
        run_admin(postgres_url, f"REVOKE {WORKER} FROM {GATEWAY}")


@needs_postgres(15, "rights to parameters")
def test_who_may_not_revoke_a_parameter_migrates_nevertheless(
    plain_owner: Engine, postgres_url: str
) -> None:
    run_admin(postgres_url, f"GRANT SET ON PARAMETER session_replication_role TO {WORKER}")
    try:
        migrate(plain_owner)
        assert excess(plain_owner) == [f"{WORKER} has SET on parameter session_replication_role"]
    finally:
        run_admin(postgres_url, f"REVOKE SET ON PARAMETER session_replication_role FROM {WORKER}")


@pytest.fixture
def reporter(engine: Engine, postgres_url: str) -> Iterator[str]:
    """Who reads sales as the guide says, and monitors the server."""
    login = f"{engine.url.database}_reporter"
    run_admin(postgres_url, f"CREATE ROLE {login} LOGIN IN ROLE {READER}, pg_monitor")
    run(engine, "CREATE VIEW sales_report AS SELECT event_id, count(*) FROM ledger GROUP BY 1")
    run(engine, "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY, note text)")
    run(engine, f"ALTER TABLE notes OWNER TO {login}")
    run(engine, f"GRANT SELECT ON sales_report TO {login}, {READER}")
    yield login
    run(engine, f"DROP OWNED BY {login}")
    run_admin(postgres_url, f"DROP ROLE {login}")


def test_who_reports_may_have_relations_of_his_own(engine: Engine, reporter: str) -> None:
    assert excess(engine) == []
    migrate(engine)
    assert scalar(engine, f"SELECT has_table_privilege('{reporter}', 'sales_report', 'SELECT')")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("GRANT SELECT ON webhook_secrets TO {}", "{} has SELECT on webhook_secrets"),
        ("GRANT INSERT (kind) ON ledger TO {}", "{} has INSERT (kind) on ledger"),
        ("GRANT UPDATE ON SEQUENCE events_id_seq TO {}", "{} has UPDATE on events_id_seq"),
        ("GRANT DELETE ON sales_report TO {}", "{} has DELETE on sales_report"),
        ("GRANT pg_read_all_data TO {}", "{} is a member of pg_read_all_data"),
        (f"GRANT {SENDER} TO {{}}", "{} has SELECT on sales_report"),
    ],
)
def test_who_reports_may_have_no_more_of_ours(
    engine: Engine, reporter: str, given: str, found: str
) -> None:
    run(engine, given.format(reporter))
    assert found.format(reporter) in excess(engine)


def test_others_may_be_let_read(engine: Engine) -> None:
    run(engine, "GRANT SELECT ON ticket_types TO PUBLIC")
    assert excess(engine) == []
    migrate(engine)
    assert scalar(engine, "SELECT has_table_privilege('pg_monitor', 'ticket_types', 'SELECT')")


def test_rights_are_given_back(engine: Engine) -> None:
    run(engine, f"REVOKE ALL ON ledger FROM {WORKER}")
    run(engine, f"REVOKE ALL ON FUNCTION eventify_issue FROM {CATALOG}")
    migrate(engine)
    assert scalar(engine, f"SELECT has_table_privilege('{WORKER}', 'ledger', 'INSERT')")
    call = "eventify_issue(bigint,integer)"
    assert scalar(engine, f"SELECT has_function_privilege('{CATALOG}', '{call}', 'EXECUTE')")


def test_with_one_login_for_all_each_service_takes_its_role(settings: Settings) -> None:
    engine = open_engine(settings, "test", role=WORKER)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_user")) == WORKER
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.exec_driver_sql("TRUNCATE ledger")
    engine.dispose()


def test_without_the_role_a_service_runs_and_logs_a_warning(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = open_engine(settings, "test", role="eventify_of_tomorrow")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_user = session_user"))
    engine.dispose()
    assert "role_missing" in "".join(capsys.readouterr())


@pytest.fixture
def plain_owner(postgres_url: str, database_url: str) -> Iterator[Engine]:
    """The owner of an empty database, who is no superuser and may not create roles."""
    name = database_url.rpartition("/")[2]
    run_admin(postgres_url, f"CREATE ROLE {name}_owner LOGIN PASSWORD 'secret'")
    run_admin(postgres_url, f"CREATE DATABASE {name}_owned OWNER {name}_owner")
    if postgres_version() < 15:  # as docs/operations.md says
        for right in (f"GRANT {{}} TO {name}_owner", "REVOKE {} FROM PUBLIC"):
            run_admin(postgres_url, right.format("CREATE ON SCHEMA public"), f"{name}_owned")
    url = make_url(database_url).set(
        username=f"{name}_owner", password="secret", database=f"{name}_owned"
    )
    engine = open_engine(Settings(database_url=url.render_as_string(hide_password=False)), "test")
    yield engine
    engine.dispose()
    run_admin(postgres_url, f"DROP DATABASE {name}_owned WITH (FORCE)")
    run_admin(postgres_url, f"DROP ROLE {name}_owner")


def test_an_owner_without_the_right_to_create_roles_gets_the_commands(
    plain_owner: Engine, postgres_url: str
) -> None:
    migrate(plain_owner)
    message = missing_roles(plain_owner)
    granted = f"GRANT {', '.join(sorted(ROLES))} TO {plain_owner.url.username};"
    assert granted in message
    assert "CREATE ROLE" not in message, "another database of this cluster has them already"
    run_admin(postgres_url, granted)
    assert missing_roles(plain_owner) == ""
    migrate(plain_owner)
    assert excess(plain_owner) == []
    ticket_type = add_ticket_type(plain_owner, 1)
    queue(plain_owner, [request(user, ticket_type) for user in add_users(plain_owner, 1)])


@needs_postgres(16, "memberships of this kind")
def test_who_made_a_role_and_does_not_have_it_is_no_excess(
    plain_owner: Engine, postgres_url: str
) -> None:
    """From version 16 on an administrator who may create roles is a member of each, to grant it."""
    migrate(plain_owner)
    admin = f"{plain_owner.url.database}_admin"
    run_admin(postgres_url, f"CREATE ROLE {admin} CREATEROLE")
    try:
        run_admin(
            postgres_url,
            f"GRANT {GATEWAY} TO {admin} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
        )
        assert excess(plain_owner) == []
        run_admin(postgres_url, f"GRANT {GATEWAY} TO {admin} WITH SET TRUE")
        assert [admin in found for found in excess(plain_owner)] == [True]
    finally:
        run_admin(postgres_url, f"DROP ROLE {admin}")


def test_several_migrations_may_make_a_role_at_once(engine: Engine) -> None:
    def make(role: str, connection: Connection) -> None:
        known = connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :n"), {"n": role})
        if not known:
            connection.exec_driver_sql(f"CREATE ROLE {role}")

    with ThreadPoolExecutor(8) as pool:
        for turn in range(5):
            role = f"{engine.url.database}_{turn}"
            for done in [pool.submit(change_roles, engine, partial(make, role)) for _ in range(8)]:
                done.result()
            run(engine, f"DROP ROLE {role}")


@pytest.fixture
def own_logins(engine: Engine, settings: Settings) -> Iterator[Settings]:
    """Settings with a login for each service, which are there for this test alone."""
    names = {setting: f"{engine.url.database}_{role}" for setting, role in ROLE_OF_SETTING.items()}
    urls = {
        setting: with_login(settings.database_url, name, "secret")
        for setting, name in names.items()
    }
    yield settings.model_copy(update=urls)
    for name in names.values():
        run(engine, f"DROP ROLE IF EXISTS {name}")


def as_service(settings: Settings, setting: str) -> Settings:
    return settings.model_copy(update={"database_url": getattr(settings, setting)})


def test_a_sale_runs_under_the_services_own_logins(engine: Engine, own_logins: Settings) -> None:
    make_logins(engine, own_logins)
    make_logins(engine, own_logins)
    roles = {"gateway": GATEWAY, "catalog": CATALOG, "worker": WORKER, "auditor": AUDITOR}
    gateway, catalog, worker, auditor = (
        open_engine(as_service(own_logins, f"{name}_database_url"), "test", role=role)
        for name, role in roles.items()
    )
    users = add_users(engine, 7)
    event, other = add_event(catalog, users[0]), add_event(catalog, users[0])
    standing = add_ticket_type(catalog, 9, event_id=event)
    issue(catalog, standing, -4)
    seated = add_ticket_type(catalog, 3, event_id=other)
    run(catalog, "UPDATE ticket_types SET event_id = :event WHERE id = :id", event=event, id=seated)
    gone = add_ticket_type(catalog, 2, event_id=event)
    run(catalog, "DELETE FROM ticket_types WHERE id = :id", id=gone)
    queue(gateway, [cart(users[0], [(standing, 1), (seated, 2)], key="once")])
    queue(gateway, [request(user, standing) for user in users[1:]])
    drain(worker, [event], own_logins, ignore)
    report = audit(worker, own_logins)
    assert report.ok, report
    assert (report.sold, report.confirmed, report.rejected) == (7, 5, 2)
    full_audits.record(auditor, audit(auditor, own_logins), seconds=1)
    full_audits.export(worker)
    assert rows(engine, "SELECT violations, entries FROM full_audits") == [(0, 14)]
    for service in (gateway, catalog, worker, auditor):
        service.dispose()


def test_with_temporary_tables_of_all_names_everything_is_written_to_the_right_ones(
    engine: Engine, own_logins: Settings
) -> None:
    make_logins(engine, own_logins)
    add_event(engine)
    done = (
        (
            "catalog",
            "INSERT INTO public.ticket_types (event_id, name, price) VALUES (1001, 'A', 25)",
        ),
        ("catalog", "SELECT eventify_issue(2001, 5)"),
        (
            "gateway",
            NEW_REQUEST.format("", "").replace("INTO requests", "INTO public.requests"),
        ),
        (
            "worker",
            WITH_BATCH.format(2) + ENTRY.format(number=2, change=-1, left=4),
        ),
    )
    for service, statement in done:
        url = getattr(own_logins, f"{service}_database_url")
        with closing(psycopg2.connect(url)) as session, session.cursor() as cursor:
            for table in RIGHTS:
                cursor.execute(f"CREATE TEMPORARY TABLE {table} (id int)")
            cursor.execute(statement)
            session.commit()
    assert counter(engine, 2001) == (5, 1)
    assert scalar(engine, "SELECT number FROM lanes") == 2
    assert scalar(engine, "SELECT count(*) FROM work_list") == 0
    assert audit(engine, own_logins).ok


def test_a_sale_of_the_former_version_goes_on_under_the_services_own_logins(
    empty_engine: Engine, own_logins: Settings
) -> None:
    """From the schema before the roles, with a sale in its midst, all as one owner."""
    migrate(empty_engine, "0007")
    ticket_type = add_former_ticket_type(empty_engine, 5)
    former_accept(empty_engine, ticket_type, add_users(empty_engine, 4))
    former_drain(empty_engine, ticket_type)
    url = empty_engine.url.render_as_string(hide_password=False)
    urls = {
        setting: with_login(url, str(make_url(getattr(own_logins, setting)).username), "secret")
        for setting in ROLE_OF_SETTING
    }
    settings = own_logins.model_copy(update=urls | {"database_url": url})

    migrate(empty_engine)
    make_logins(empty_engine, settings)
    make_logins(empty_engine, settings)

    users = add_users(empty_engine, 3)
    gateway = open_engine(as_service(settings, "gateway_database_url"), "test", role=GATEWAY)
    queue(gateway, [request(user, ticket_type) for user in users])
    worker = open_engine(as_service(settings, "worker_database_url"), "test", role=WORKER)
    drain(worker, [event_of(worker, ticket_type)], settings, ignore)
    report = audit(empty_engine, settings)
    assert report.ok, report
    assert (report.sold, report.confirmed, report.rejected) == (5, 5, 2)
    assert audit(worker, settings).ok
    for engine in (gateway, worker):
        engine.dispose()


def test_a_changed_password_is_set_by_the_next_migration(
    engine: Engine, own_logins: Settings
) -> None:
    make_logins(engine, own_logins)
    changed = own_logins.model_copy(
        update={
            "worker_database_url": own_logins.worker_database_url.replace(":secret@", ":other@")
        }
    )
    make_logins(engine, changed)
    psycopg2.connect(changed.worker_database_url).close()
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(own_logins.worker_database_url)


@pytest.mark.parametrize("password", ["100%safe", "ab/cd", "a b?c#d"])
def test_a_login_that_works_is_left_as_it_is(
    engine: Engine, own_logins: Settings, password: str
) -> None:
    url = own_logins.worker_database_url.replace(":secret@", f":{password}@")
    url += "?client_encoding=latin1"
    odd = own_logins.model_copy(update={"worker_database_url": url})
    make_logins(engine, odd)
    kept = "SELECT rolpassword FROM pg_authid WHERE rolname = :name"
    before = scalar(engine, kept, name=make_url(url).username)
    make_logins(engine, odd)
    assert scalar(engine, kept, name=make_url(url).username) == before
    keep_in_role(odd.model_copy(update={"database_url": url, "lock_timeout_ms": 1_999}))


@pytest.mark.parametrize("query", ["", "?user=postgres"])
def test_a_service_is_not_given_the_owners_login(
    engine: Engine, settings: Settings, query: str
) -> None:
    url = with_login(settings.database_url, "nobody", "secret") if query else settings.database_url
    owners = settings.model_copy(update={"gateway_database_url": f"{url}{query}"})
    with pytest.raises(ConfigurationError, match="EVENTIFY_GATEWAY_DATABASE_URL names postgres"):
        make_logins(engine, owners)


def test_logins_that_may_not_be_created_are_named_with_the_command(
    plain_owner: Engine, own_logins: Settings
) -> None:
    migrate(plain_owner)
    with pytest.raises(ConfigurationError, match="Have an administrator run: CREATE ROLE"):
        make_logins(plain_owner, own_logins)


def test_on_a_cluster_without_our_roles_the_commands_create_them_first(
    plain_owner: Engine,
    postgres_url: str,
    own_logins: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrate(plain_owner)
    prefix = f"{plain_owner.url.database}_new"
    roles = {setting: role.replace("eventify", prefix) for setting, role in ROLE_OF_SETTING.items()}
    for setting, role in roles.items():
        monkeypatch.setitem(ROLE_OF_SETTING, setting, role)
    urls = {
        setting: plain_owner.url.set(username=make_url(getattr(own_logins, setting)).username)
        for setting in roles
    }
    settings = own_logins.model_copy(
        update={one: url.render_as_string(hide_password=False) for one, url in urls.items()}
    )
    first = str(urls["gateway_database_url"].username)
    run_admin(postgres_url, f"CREATE ROLE {first} LOGIN PASSWORD 'secret'")
    try:
        with pytest.raises(ConfigurationError, match="Then migrate again") as error:
            make_logins(plain_owner, settings)
        assert all(variable(setting) in str(error.value) for setting in roles)
        _, _, commands = str(error.value).partition("Have an administrator run: ")
        for command in commands.removesuffix(" Then migrate again.").split("; "):
            run_admin(postgres_url, command.replace("'...'", "'secret'"))
        make_logins(plain_owner, settings)
    finally:
        for role in roles.values():
            run_admin(postgres_url, f"DROP ROLE IF EXISTS {role}")
