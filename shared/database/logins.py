"""The services' own logins, which `eventify migrate` creates from their URLs."""

from collections.abc import Collection
from contextlib import closing
from functools import partial

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection, encrypt_password
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from shared.config.database_url import sqlalchemy_url
from shared.config.settings import Settings, variable
from shared.database.rights import AUDITOR, CATALOG, GATEWAY, SENDER, WORKER, change_roles
from shared.database.session_settings import open_plainly
from shared.errors import ConfigurationError

ROLE_OF_SETTING = {
    "gateway_database_url": GATEWAY,
    "catalog_database_url": CATALOG,
    "worker_database_url": WORKER,
    "sender_database_url": SENDER,
    "auditor_database_url": AUDITOR,
}
READ_LOGIN = text("""
SELECT rolsuper OR pg_has_role(rolname, (SELECT relowner FROM pg_class
    WHERE relname = 'requests' AND relnamespace = current_schema()::regnamespace), 'MEMBER')
FROM pg_roles WHERE rolname = :name
""")
# NULL if the role is missing.
HAS_ROLE = "SELECT pg_has_role(session_user, to_regrole(%s), 'USAGE')"
READ_NAMES = text("SELECT rolname FROM pg_roles")


def login_urls(settings: Settings) -> dict[str, str]:
    given = {name: getattr(settings, name) for name in ROLE_OF_SETTING}
    return {name: url for name, url in given.items() if url}


def make_logins(engine: Engine, settings: Settings) -> None:
    """Create each login that a URL names, with its password, as a member of its service's role.

    One that already works is left as it is, and then this owner need not be able to create roles.

    Args:
        engine: the owner's connections to a migrated database.
        settings: the URLs.

    Raises:
        ConfigurationError: a URL has no user and password, or its user has more rights than the
            service; or logins are missing and this owner may not create them.
    """
    refused = {}
    for setting, url in login_urls(settings).items():
        role, named = ROLE_OF_SETTING[setting], sqlalchemy_url(url)
        if not named.username or not named.password:
            raise ConfigurationError(f"{variable(setting)} has no user with a password.")
        _check_powerless(engine, setting, named.username)
        if _works(url, role, settings.database_connect_timeout_seconds):
            continue
        make = partial(_make, name=named.username, password=str(named.password), role=role)
        try:
            change_roles(engine, make)
        except DBAPIError as error:
            if not isinstance(error.orig, errors.InsufficientPrivilege):
                raise
            refused[setting] = (named.username, role)
    if refused:
        logins = ", ".join(f"{name} of {variable(one)}" for one, (name, _) in refused.items())
        raise ConfigurationError(
            f"Logins do not work, and {engine.url.username} may not create them: {logins}."
            f" Have an administrator run: {_commands(engine, refused.values())}"
            " Then migrate again."
        )


def _commands(engine: Engine, logins: Collection[tuple[str, str]]) -> str:
    """What creates these logins and what is missing of their roles."""
    with engine.connect() as asking:
        there = set(asking.scalars(READ_NAMES))
    commands = {f"CREATE ROLE {role} NOLOGIN;": None for _, role in logins if role not in there}
    for name, role in logins:
        verb = "ALTER" if name in there else "CREATE"
        commands[f"{verb} ROLE {_quoted(name)} LOGIN PASSWORD '...';"] = None
        commands[f"GRANT {role} TO {_quoted(name)};"] = None
    return " ".join(commands)


def _check_powerless(engine: Engine, setting: str, name: str) -> None:
    with engine.connect() as asking:
        if asking.scalar(READ_LOGIN, {"name": name}):
            raise ConfigurationError(
                f"{variable(setting)} names {name}, who has all rights on the tables: give the"
                " service a login of its own, which is then created."
            )


def _works(url: str, role: str, limit_seconds: int) -> bool:
    try:
        opened = open_plainly(url, limit_seconds)
    except psycopg2.OperationalError:
        return False
    with closing(opened), opened.cursor() as cursor:
        cursor.execute(HAS_ROLE, [role])
        return cursor.fetchone() == (True,)


def _make(asking: Connection, name: str, password: str, role: str) -> None:
    plain = asking.connection.driver_connection
    assert isinstance(plain, connection)
    # Only the hash is sent, as the server may log statements.
    stored = encrypt_password(password, name, plain)
    known = asking.scalar(text("SELECT true FROM pg_roles WHERE rolname = :name"), {"name": name})
    verb = "ALTER" if known else "CREATE"
    asking.exec_driver_sql(f"{verb} ROLE {_quoted(name)} LOGIN PASSWORD '{stored}'")
    asking.exec_driver_sql(f"GRANT {role} TO {_quoted(name)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
