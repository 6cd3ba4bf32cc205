"""Migrates the schema, and the rights and logins of the services."""

from collections.abc import Callable

from sqlalchemy import Engine, text

from shared.config.settings import Settings
from shared.database.logins import ROLE_OF_SETTING, login_urls, make_logins
from shared.database.migrate import migrate
from shared.database.rights import missing_roles
from shared.database.session_settings import keep_in_role
from shared.errors import ConfigurationError

# After CREATE DATABASE name. LOCALE alone would be the C library's, which may not have it.
DATABASE_OPTIONS = (
    "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
)
READ_LETTER_CASE = text("""
SELECT lower('É') = 'é' AS is_known, to_regclass('alembic_version') IS NOT NULL AS is_migrated
""")
# As migrations of former versions read it, which never change: without quotes. Before PostgreSQL 16
# a name of several parts is an error there.
READ_SCHEMA_NAME = text(r"""
SELECT current_schema() AS schema,
       CASE WHEN current_schema() ~ '[\s."]' THEN false
            ELSE to_regnamespace(current_schema())::oid IS NOT DISTINCT FROM
                     (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
       END AS is_plain,
       coalesce(
           (SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = to_regclass('alembic_version')),
           CASE WHEN current_schema() = current_user
                     AND current_setting('search_path') LIKE '"$user",%'
                THEN 'public' ELSE current_schema() END) AS of_tables
""")


def migrate_all(
    engine: Engine, settings: Settings, say: Callable[[str], None], *, restored: bool = False
) -> int:
    """
    Args:
        restored: as of `shared.database.migrate.migrate`.

    Returns:
        How many transaction ids were skipped (`shared.database.migrate.migrate`).

    Raises:
        ConfigurationError: with what to do first.
    """
    _check_schema_name(engine)
    _check_letter_case(engine, say)
    _prepare_for_pooler(settings, settings.database_url)
    passed_over = migrate(
        engine,
        currency=settings.default_currency,
        restored=restored,
        lease_seconds=settings.webhook_lease_seconds,
    )
    make_logins(engine, settings)
    for url in login_urls(settings).values():
        _prepare_for_pooler(settings, url)
    own_logins = len(login_urls(settings)) == len(ROLE_OF_SETTING)
    if not own_logins and (what_to_do := missing_roles(engine)):
        say(f"Warning: {what_to_do}")
    return passed_over


def _check_schema_name(engine: Engine) -> None:
    """Raises ConfigurationError for one that our SQL takes for another."""
    with engine.connect() as connection:
        name = connection.execute(READ_SCHEMA_NAME).one()
    if not name.is_plain:
        raise ConfigurationError(
            f"The schema {name.schema} cannot be used: name it with lower-case letters, digits and"
            " underscores."
        )
    if name.schema != name.of_tables:
        raise ConfigurationError(
            f"The search path begins with the schema {name.schema}, and the tables belong to"
            f" {name.of_tables}: add ?options=-csearch_path%3D{name.of_tables} to the URL of each"
            f" service and command, or drop the schema {name.schema} if it is empty."
        )


def _check_letter_case(engine: Engine, say: Callable[[str], None]) -> None:
    """Usernames differ by more than letter case: `lower()` has to know every letter.

    Raises:
        ConfigurationError: it does not, and the database is empty.
    """
    with engine.connect() as connection:
        letter_case = connection.execute(READ_LETTER_CASE).one()
    if letter_case.is_known:
        return
    problem = (
        "The database's locale knows only ASCII letters (lower('É') is not 'é'), so Émile and"
        " émile would be two accounts."
    )
    if not letter_case.is_migrated:
        raise ConfigurationError(
            f"{problem} It is empty: make it anew with CREATE DATABASE ... {DATABASE_OPTIONS}"
            " (before PostgreSQL 17: LOCALE 'C.UTF-8' and no provider)."
        )
    say(
        f"Warning: {problem} Dump it, and restore it into a database with another locale:"
        " docs/operations.md#restore."
    )


def _prepare_for_pooler(settings: Settings, url: str) -> None:
    """Store session settings in the login: a pooler's sessions are not ours to configure."""
    if not settings.prepare_statements:
        keep_in_role(settings.model_copy(update={"database_url": url}))
