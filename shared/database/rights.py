"""The rights of each service's PostgreSQL role on our tables, as `eventify migrate` grants them.

Each service has a role without login, of which its login is a member. None owns anything, so none
may alter, truncate, drop, or disable a trigger. The roles belong to the whole cluster, their rights
to each database. Triggers write with the owner's rights (migration 0009).
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Final, NamedTuple

from psycopg2 import errors
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

GATEWAY, CATALOG, WORKER, SENDER, AUDITOR, READER = (
    f"eventify_{name}" for name in ("gateway", "catalog", "worker", "sender", "auditor", "reader")
)
ROLES: Final = {
    GATEWAY: "accounts and tokens; accepts purchases",
    CATALOG: "events and ticket types; how many tickets are issued",
    WORKER: "worker and sweeper: decide what is queued",
    SENDER: "sends what was decided to webhooks",
    AUDITOR: "`eventify audit --record`: reads what is audited, and records the result",
    READER: "reads sales, not accounts: `eventify audit`, reports",
}
REQUEST = (
    "id, event_id, user_id, ticket_type_id, quantity, user_limit, event_user_limit, unit_price,"
    " currency, items, idempotency_key, fingerprint, request_id, traceparent, accepted_xid, kind,"
    " buyer, hold_seconds, purchase_id, payment_reference, amount, restock, note"
)
# Every table is listed; a test checks it. Where two services write one table, each has its columns.
RIGHTS: Final = {
    "users": {
        GATEWAY: "SELECT, INSERT, UPDATE (email, password_hash)",
        CATALOG: "SELECT (id, issuer, subject)",
        SENDER: "SELECT (id, locked_at)",
        READER: "SELECT (id, username, created_at)",
    },
    "refresh_tokens": {
        GATEWAY: "SELECT, INSERT, UPDATE (spent_at, successor, revoked_at), DELETE",
    },
    "token_cutoffs": {
        GATEWAY: "SELECT, INSERT, UPDATE (valid_from), DELETE",
        CATALOG: "SELECT",
    },
    "api_keys": {
        GATEWAY: "SELECT, INSERT (user_id, name, scopes, hash, expires_at),"
        " UPDATE (last_used_at, revoked_at)",
        CATALOG: "SELECT, UPDATE (last_used_at)",
    },
    "idempotency_keys": dict.fromkeys(
        (GATEWAY, CATALOG), "SELECT, INSERT (user_id, key, fingerprint, row_id)"
    ),
    "events": {
        GATEWAY: "SELECT",
        CATALOG: "SELECT, INSERT, UPDATE, DELETE",
        WORKER: "SELECT",
        SENDER: "SELECT (id, owner_id)",
        AUDITOR: "SELECT (id)",
        READER: "SELECT",
    },
    "ticket_types": {
        GATEWAY: "SELECT",
        CATALOG: "SELECT, INSERT, UPDATE, DELETE",
        WORKER: "SELECT",
        AUDITOR: "SELECT (id, event_id)",
        READER: "SELECT",
    },
    # Triggers keep these; whoever locks a row must have the right to change it.
    "lanes": {
        GATEWAY: "SELECT",
        CATALOG: "SELECT, UPDATE (at)",
        WORKER: "SELECT, UPDATE (at)",
        SENDER: "SELECT",
        AUDITOR: "SELECT",
        READER: "SELECT",
    },
    "counters": dict.fromkeys((GATEWAY, CATALOG, WORKER, AUDITOR, READER), "SELECT"),
    "work_list": dict.fromkeys((GATEWAY, CATALOG, WORKER, AUDITOR, READER), "SELECT"),
    "holds": dict.fromkeys((GATEWAY, WORKER, AUDITOR, READER), "SELECT"),
    "requests": {
        GATEWAY: f"SELECT, INSERT ({REQUEST})",
        CATALOG: "SELECT (id, event_id, seq, kind, ticket_type_id, items)",
        WORKER: "SELECT, INSERT (id, event_id, kind, purchase_id, user_id, buyer)",
        SENDER: "SELECT",
        AUDITOR: "SELECT",
        READER: "SELECT",
    },
    "ledger": {
        WORKER: "SELECT, INSERT",
        **dict.fromkeys((GATEWAY, SENDER, AUDITOR, READER), "SELECT"),
    },
    "batches": {
        WORKER: "SELECT, INSERT",
        **dict.fromkeys((GATEWAY, SENDER, AUDITOR, READER), "SELECT"),
    },
    "webhooks": {
        GATEWAY: "SELECT, INSERT (user_id, event_id, url, kinds),"
        " UPDATE (url, kinds, disabled_at, disabled_reason, test_id), DELETE",
        SENDER: "SELECT, UPDATE (disabled_at, disabled_reason, test_id)",
    },
    # Who could read a secret could forge deliveries.
    "webhook_secrets": {
        GATEWAY: "SELECT (id, webhook_id, expires_at), INSERT (webhook_id, secret),"
        " UPDATE (expires_at)",
        SENDER: "SELECT, DELETE",
    },
    "webhook_cursors": {
        GATEWAY: "SELECT, INSERT (webhook_id, event_id, number),"
        " UPDATE (number, sending_id, sending_to, failures, failing_since, next_at)",
        SENDER: "SELECT, INSERT (webhook_id, event_id),"
        " UPDATE (number, sending_id, sending_to, is_restored, failures, failing_since, next_at,"
        " turn)",
    },
    "webhook_deliveries": {
        GATEWAY: "SELECT",
        SENDER: "SELECT, INSERT (webhook_id, delivery_id, event_id, first_number, last_number,"
        " attempt, status, failure, milliseconds), DELETE",
    },
    # A trigger writes them.
    "sale_pauses": dict.fromkeys((GATEWAY, READER), "SELECT"),
    "edge_refusals": {
        GATEWAY: "SELECT, INSERT, UPDATE (count), DELETE",
        READER: "SELECT",
    },
    "audits": {
        GATEWAY: "SELECT, INSERT (event_id), DELETE",
        WORKER: "SELECT, UPDATE (status, attempts, lease_until, finished_at, entries, seconds,"
        " findings, summary)",
        READER: "SELECT",
    },
    "full_audits": {
        WORKER: "SELECT, DELETE",
        AUDITOR: "INSERT (violations, entries, seconds)",
        READER: "SELECT",
    },
    "ledger_epoch": dict.fromkeys((GATEWAY, WORKER, SENDER, READER), "SELECT"),
    "alembic_version": dict.fromkeys(ROLES, "SELECT"),
}
# A function has the owner's rights: all others are called by our triggers alone, for from a foreign
# trigger they could forge rows.
CALLED: Final = {
    "eventify_issue(bigint,integer)": {CATALOG: "EXECUTE"},
    "eventify_erase_user(bigint)": {GATEWAY: "EXECUTE"},
    "eventify_key_of_command(bigint,text)": dict.fromkeys((GATEWAY, CATALOG), "EXECUTE"),
}
PRIVILEGE = re.compile(r"(?P<privilege>[A-Z]+)(?: \((?P<columns>[^)]*)\))?(?:, |$)")
# Migrations of several databases may create the cluster's roles at once.
ATTEMPTS = 5
CONCURRENT_CHANGES = (errors.UniqueViolation, errors.DuplicateObject, errors.InternalError_)

# Whether a membership `m` gives rights. From 16 on whoever created a role is a member of it, and
# may at first do nothing but grant it.
GIVES_RIGHTS = """
(coalesce((to_jsonb(m)->>'inherit_option')::boolean, true)
 OR coalesce((to_jsonb(m)->>'set_option')::boolean, true))
"""
# Of our tables: the first of the search path may be another, such as one named like the login.
SCHEMA = "(SELECT relnamespace FROM pg_class WHERE oid = to_regclass('alembic_version'))"
# The roles and their members, also by a group. The tables' owner may be one, for SET ROLE with one
# login for everything, and others its members. It owns most tables: who was given one does not.
# Who is a member of READER alone may be a person, who has more to read than sales, but through a
# view writes as its owner.
OURS = f"""
WITH RECURSIVE members AS (
    SELECT oid, rolname, rolname <> '{READER}' AS is_service FROM pg_roles
    WHERE rolname = ANY(:roles)
    UNION
    SELECT r.oid, r.rolname, is_service FROM members JOIN pg_auth_members m ON roleid = members.oid
    JOIN pg_roles r ON r.oid = m.member
    WHERE {GIVES_RIGHTS} AND r.oid IS DISTINCT FROM (
        SELECT mode() WITHIN GROUP (ORDER BY relowner) FROM pg_class
        WHERE relname = ANY(:tables) AND relnamespace = {SCHEMA})
), ours AS (
    SELECT oid, rolname, bool_or(is_service) AS is_service FROM members GROUP BY 1, 2
)
"""
# Whether a relation is ours, or what a table of ours owns: `{oid}` is its own.
IS_OURS = """
(relname = ANY(:tables) OR (relkind = 'S' AND NOT EXISTS (
    SELECT FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.deptype IN ('a', 'i') AND d.objid = {oid} AND t.relname <> ALL(:tables))))
"""
# Includes the logins that are members, and PUBLIC. Others may have SELECT. Before version 15
# everybody may CREATE in "public".
READ_GRANTED = rf"""
{OURS}, granted AS (
    SELECT c.relname::text, '' AS attname, c.relowner, {IS_OURS.format(oid="c.oid")} AS is_ours, a.*
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.relnamespace = {SCHEMA}
    UNION ALL
    SELECT c.relname, t.attname, c.relowner, relname = ANY(:tables), a.* FROM pg_attribute t
    JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a
    WHERE c.relnamespace = {SCHEMA} AND NOT t.attisdropped
    UNION ALL
    SELECT p.oid::regprocedure::text, '', p.proowner, true, a.*
    FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    WHERE pronamespace = {SCHEMA} AND proname LIKE 'eventify\_%'
    UNION ALL
    SELECT 'schema ' || quote_ident(n.nspname), '', n.nspowner, true, a.*
    FROM pg_namespace n, aclexplode(n.nspacl) a
    WHERE n.oid = {SCHEMA} AND a.privilege_type = 'CREATE'
    UNION ALL
    SELECT 'database ' || quote_ident(d.datname), '', d.datdba, true, a.*
    FROM pg_database d, aclexplode(d.datacl) a
    WHERE d.datname = current_database() AND a.privilege_type = 'CREATE'
    {{parameters}}
)
SELECT coalesce(ours.rolname, 'PUBLIC'), relname, attname, privilege_type
FROM granted LEFT JOIN ours ON ours.oid = grantee
WHERE grantee IS DISTINCT FROM relowner
  AND (is_service OR (ours.oid IS NOT NULL AND (is_ours OR privilege_type <> 'SELECT'))
       OR (grantee = 0 AND privilege_type <> 'SELECT'))
"""
# From 15 on. They are the cluster's: what everybody may set is of concern if it disables guards.
GRANTED_PARAMETERS = """
    UNION ALL
    SELECT 'parameter ' || parname, '', NULL, true, a.* FROM pg_parameter_acl, aclexplode(paracl) a
    WHERE grantee <> 0 OR parname = 'session_replication_role'
"""
READ_TABLES_AND_FUNCTIONS = text(f"""
SELECT relname::text FROM pg_class
WHERE relnamespace = {SCHEMA} AND relkind IN ('r', 'p')
UNION ALL
SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = {SCHEMA}
""")
# Attributes and property that make every other right worthless. A login may have several of our
# roles, but none of these itself.
READ_POWERFUL = text(f"""
{OURS}, owned AS (
    SELECT relname::text AS name, relowner AS owner,
           {IS_OURS.format(oid="pg_class.oid")} AS is_ours
    FROM pg_class WHERE relnamespace = {SCHEMA} AND relkind NOT IN ('i', 'I')
    UNION ALL
    SELECT oid::regprocedure::text, proowner, true FROM pg_proc
    WHERE pronamespace = {SCHEMA}
    UNION ALL
    SELECT 'schema ' || nspname, nspowner, true FROM pg_namespace
    WHERE oid = {SCHEMA}
    UNION ALL
    SELECT 'database ' || datname, datdba, true FROM pg_database WHERE datname = current_database()
)
SELECT r.rolname, CASE WHEN r.rolsuper THEN 'is a superuser'
    WHEN r.rolcreaterole THEN 'may create roles'
    WHEN r.rolreplication THEN 'may replicate'
    ELSE 'is a member of ' || of.rolname END
FROM ours JOIN pg_roles r ON r.oid = ours.oid
LEFT JOIN pg_auth_members up ON up.member = r.oid
LEFT JOIN pg_roles of ON of.oid = up.roleid
    AND (of.oid NOT IN (SELECT oid FROM ours) OR r.rolname = ANY(:roles))
    AND (is_service OR of.rolname <> ALL(:of_monitoring))
WHERE r.rolsuper OR r.rolcreaterole OR r.rolreplication OR of.oid IS NOT NULL
UNION
SELECT rolname, 'owns ' || name FROM owned JOIN ours ON ours.oid = owner
WHERE is_service OR is_ours
""")
# PostgreSQL's own roles that read no tables. Statistics have the values of running statements.
OF_MONITORING = ["pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables"]
OF_OURS = {"roles": list(ROLES), "tables": list(RIGHTS)}
READ_VERSION = text("SELECT current_setting('server_version_num')::int")
MAY_DECIDE = text("""
SELECT EXISTS (SELECT FROM pg_roles
               WHERE rolname = :role AND has_table_privilege(oid, 'work_list', 'SELECT'))
""")
READ_ROLES = text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:roles)")
# From 16 on a membership belongs to who granted it.
REVOKE_MEMBERSHIPS = text("""
SELECT format('REVOKE %I FROM %I', of.rolname, r.rolname)
       || coalesce(' GRANTED BY ' || quote_ident(by.rolname), '') || ' CASCADE'
FROM pg_auth_members m
JOIN pg_roles of ON of.oid = m.roleid AND of.rolname = ANY(:roles)
JOIN pg_roles r ON r.oid = m.member AND r.rolname = ANY(:roles)
LEFT JOIN pg_roles by ON by.oid = m.grantor
""")
READ_TAKABLE = """
SELECT rolname FROM pg_roles
WHERE rolname = ANY(:roles) AND pg_has_role(session_user, oid, '{form}')
"""
READ_SCHEMA = text("""
SELECT quote_ident(current_schema()),
       has_schema_privilege(:role, current_schema(), 'USAGE')
""")


class Right(NamedTuple):
    """`table`: or a function, schema, database, parameter. `column`: empty for all of it.

    `privilege`: by SQL.
    """

    role: str
    table: str
    column: str
    privilege: str

    def __str__(self) -> str:
        return f"{self.privilege}{self.column and f' ({self.column})'} on {self.table}"


def wanted_rights() -> set[Right]:
    """RIGHTS and CALLED as single rights."""
    return {
        Right(role, table, column, found["privilege"])
        for table, by_role in (RIGHTS | CALLED).items()
        for role, privileges in by_role.items()
        for found in PRIVILEGE.finditer(privileges)
        for column in (found["columns"] or "").split(", ")
    }


def grant_rights(engine: Engine) -> None:
    """Create the roles, and grant each exactly RIGHTS. Idempotent.

    Roles that are missing and may not be created get nothing: see `missing_roles`.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is unavailable, or another right is missing.
    """
    for role in ROLES:
        change_roles(engine, partial(_make_role, role=role))
    change_roles(engine, _apply)


def missing_roles(engine: Engine) -> str:
    """What an administrator has to run for services to have their own rights; "" if nothing."""
    with engine.connect() as connection:
        missing = set(ROLES) - _takable(connection)
        user = connection.execute(text("SELECT quote_ident(session_user)")).scalar_one()
        there = set(connection.scalars(READ_ROLES, {"roles": list(ROLES)}))
    if not missing:
        return ""
    made = (f"CREATE ROLE {role} NOLOGIN;" for role in sorted(missing - there))
    granted = f"GRANT {', '.join(sorted(missing))} TO {user};"
    return (
        f"{user} may not create roles, so services that log in as {user} have all its rights. Have"
        f" an administrator run: {' '.join((*made, granted))} Then migrate again."
    )


def have_rights(engine: Engine) -> bool:
    """Whether workers have theirs in this database already."""
    with engine.connect() as connection:
        return bool(connection.scalar(MAY_DECIDE, {"role": WORKER}))


def excess_rights(connection: Connection) -> list[str]:
    """Rights of services beyond RIGHTS, which were granted by hand."""
    granted = _granted(connection)
    excess = [f"{right.role} has {right}" for right in sorted(granted - wanted_rights())]
    powerful = connection.execute(READ_POWERFUL, OF_OURS | {"of_monitoring": OF_MONITORING})
    return excess + sorted(f"{role} {power}" for role, power in powerful)


def change_roles(engine: Engine, change: Callable[[Connection], None]) -> None:
    """Change the cluster's roles in a transaction, retried after a concurrent change.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is unavailable, or a right is missing.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                change(connection)
        except DBAPIError as error:
            if not isinstance(error.orig, CONCURRENT_CHANGES) or attempt == ATTEMPTS:
                raise
        else:
            return
        time.sleep(0.05 * attempt)


def right_to_take(server_version: int) -> str:
    """The name in `pg_has_role` of the right to SET ROLE, which 16 separated from membership."""
    return "SET" if server_version >= 160_000 else "MEMBER"


def _make_role(connection: Connection, role: str) -> None:
    if role in _takable(connection):
        return
    with _if_allowed(connection):
        if not connection.scalar(READ_ROLES, {"roles": [role]}):
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
        if role not in _takable(connection):
            connection.exec_driver_sql(f"GRANT {role} TO CURRENT_USER")


@contextmanager
def _if_allowed(connection: Connection) -> Iterator[None]:
    """A block that does nothing if this login lacks a right for it."""
    try:
        with connection.begin_nested():
            yield
    except DBAPIError as error:
        if not isinstance(error.orig, errors.InsufficientPrivilege):
            raise


def _takable(connection: Connection) -> set[str]:
    """The roles that this login may SET."""
    statement = READ_TAKABLE.format(form=right_to_take(connection.scalar(READ_VERSION)))
    return set(connection.scalars(text(statement), {"roles": list(ROLES)}))


def _apply(connection: Connection) -> None:
    there = set(connection.scalars(READ_ROLES, {"roles": list(ROLES)}))
    standing = set(connection.scalars(READ_TABLES_AND_FUNCTIONS))
    granted = _granted(connection)
    wanted = {right for right in wanted_rights() if right.role in there and right.table in standing}
    for verb, to_or_from, rights in (
        ("REVOKE", "FROM", granted - wanted),
        ("GRANT", "TO", wanted - granted),
    ):
        for right in sorted(rights):
            of = f' ("{right.column}")' if right.column else ""
            role = right.role if right.role == "PUBLIC" else f'"{right.role}"'
            # What may not be revoked, the audit reports.
            with _if_allowed(connection) if verb == "REVOKE" else nullcontext():
                connection.exec_driver_sql(
                    f"{verb} {right.privilege}{of} ON {_sql_name(right.table)} {to_or_from} {role}"
                )
    for role in sorted(there):
        schema, may_use = connection.execute(READ_SCHEMA, {"role": role}).one()
        if not may_use:
            connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    for revoke in connection.scalars(REVOKE_MEMBERSHIPS, {"roles": list(ROLES)}).all():
        with _if_allowed(connection):
            connection.exec_driver_sql(revoke)


def _sql_name(table: str) -> str:
    if table.startswith(("schema ", "database ", "parameter ")):
        return table
    return f"FUNCTION {table}" if "(" in table else f'"{table}"'


def _granted(connection: Connection) -> set[Right]:
    version = connection.scalar(READ_VERSION)
    statement = READ_GRANTED.format(parameters=GRANTED_PARAMETERS if version >= 150_000 else "")
    return {Right(*row) for row in connection.execute(text(statement), OF_OURS)}
