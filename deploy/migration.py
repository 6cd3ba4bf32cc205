"""Migrates the schema, and the rights and logins of the services."""

from collections.abc import Callable

from sqlalchemy import Engine

from shared.config.settings import Settings
from shared.database.logins import ROLE_OF_SETTING, login_urls, make_logins
from shared.database.migrate import migrate
from shared.database.rights import missing_roles
from shared.database.session_settings import keep_in_role


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


def _prepare_for_pooler(settings: Settings, url: str) -> None:
    """Store session settings in the login: a pooler's sessions are not ours to configure."""
    if not settings.prepare_statements:
        keep_in_role(settings.model_copy(update={"database_url": url}))
