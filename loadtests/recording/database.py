"""The database of the system that is tested: where it is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from sqlalchemy import Engine

from loadtests.eventify_command import running_system
from shared.config.settings import SECRETS_DIR, Settings, get_settings
from shared.database.engine import open_engine
from shared.errors import ConfigurationError

DATABASE_URL = "EVENTIFY_DATABASE_URL"


@contextmanager
def open_database(host: str) -> Iterator[tuple[Engine, Settings]]:
    """The tested system's database: EVENTIFY_DATABASE_URL, or that of the system that runs here.

    Args:
        host: the gateway that is tested; a system that runs here under another URL is not it.

    Raises:
        ConfigurationError: neither is known.
    """
    settings = _settings(host)
    engine = open_engine(settings, "loadtest", pool_size=1)
    try:
        yield engine, settings
    finally:
        engine.dispose()


def _settings(host: str) -> Settings:
    if os.environ.get(DATABASE_URL) or os.environ.get(SECRETS_DIR):
        return get_settings()
    system = running_system()
    if system is None or address(system["gateway_url"]) != address(host):
        raise ConfigurationError(
            f"No database is known for {host}: set {DATABASE_URL} or give --database-url."
        )
    return Settings(database_url=system["database_url"])


def address(url: str) -> tuple[str | None, int | None]:
    """Where a URL leads to, the same for each name of this machine."""
    parts = urlsplit(url)
    return {"localhost": "127.0.0.1"}.get(parts.hostname or "", parts.hostname), parts.port
