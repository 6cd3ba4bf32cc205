"""The EVENTIFY_* variables of the services, and those that a command takes from a running system.

The caller's settings take precedence over defaults.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from deploy.local.home import Home, read_state
from shared.config.settings import (
    PREFIX,
    SECRETS_DIR,
    Settings,
    get_settings,
    settings_in_files,
    variable,
)
from shared.database.logins import ROLE_OF_SETTING
from shared.errors import ConfigurationError
from shared.free_port import free_port

DATABASE = variable("database_url")
LOGINS = {variable(setting) for setting in ROLE_OF_SETTING}
# Empty they trust no proxy; any other empty variable counts as not set.
EMPTY_COUNTS = {variable("trusted_proxies")}
# Services have another working directory than the caller.
DIRECTORIES = {variable("keys_dir"), variable("heartbeat_dir")}


def given_variables(caller: Mapping[str, str]) -> dict[str, str]:
    """The caller's EVENTIFY_* variables, and each file of its directory of secrets as one.

    So a file decides which servers are used as a variable does, and services need not find it from
    their own working directory.

    Raises:
        ConfigurationError: the directory, or a file in it, cannot be read.
    """
    given = {
        name: value
        for name, value in caller.items()
        if name.startswith(PREFIX) and (value or name in EMPTY_COUNTS)
    }
    files = {variable(name): value for name, value in settings_in_files(given).items()}
    given.pop(SECRETS_DIR, None)
    return files | given


def recorded_variables(home: Home, given: Mapping[str, str]) -> dict[str, str]:
    """The variables of the system in this home, also after its supervisor was killed.

    Raises:
        ConfigurationError: its record is another user's, and the caller names no database.
    """
    try:
        state = read_state(home)
    except ConfigurationError:
        if DATABASE not in given:
            raise
        # As with `sudo -u` in a directory of root's, whose `.eventify` is not meant.
        state = None
    return dict(state.environment if state else {})


def service_environment(
    caller: Mapping[str, str], home: Home, host: str, port: int
) -> dict[str, str]:
    """The services' variables; those of database and Redis only where the caller set them.

    Raises:
        ConfigurationError: the caller's directory of secrets cannot be read.
    """
    given = given_variables(caller)
    catalog_host = given.get("EVENTIFY_CATALOG_HOST", "127.0.0.1")
    catalog_port = given.get("EVENTIFY_CATALOG_PORT") or str(free_port())
    defaults = {
        "EVENTIFY_CATALOG_PORT": catalog_port,
        "EVENTIFY_CATALOG_URL": http_url(catalog_host, catalog_port),
        "EVENTIFY_KEYS_DIR": str(home.keys),
    }
    fixed = {
        "EVENTIFY_HOME": str(home.path),
        "EVENTIFY_GATEWAY_HOST": host,
        "EVENTIFY_GATEWAY_PORT": str(port),
        # Each gateway's /metrics covers all processes of this home, so that no other needs one.
        "PROMETHEUS_MULTIPROC_DIR": str(home.metrics),
        "EVENTIFY_METRICS_PORT": "0",
    }
    environment = defaults | given | fixed
    directories = {name: environment[name] for name in DIRECTORIES & environment.keys()}
    return environment | {name: str(Path(path).absolute()) for name, path in directories.items()}


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Make this process see exactly these EVENTIFY_* variables, and read its settings from them.

    Raises:
        ConfigurationError: a setting is missing or malformed.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update(environment)
    get_settings.cache_clear()
    return get_settings()


def settings_of_running_system(home: Home, *, needs_database: bool = True) -> Settings:
    """The settings of the system in this home, under those of the caller.

    `eventify down` removes their record.

    Args:
        home: where it may run.
        needs_database: False for commands that work without one.

    Raises:
        ConfigurationError: a setting is malformed; or there is no record, and the caller set no
            database URL.
    """
    given = given_variables(os.environ)
    recorded = recorded_variables(home, given)
    if given.get(DATABASE, recorded.get(DATABASE)) != recorded.get(DATABASE):
        # Another database: the recorded logins do not exist there.
        recorded = {name: value for name, value in recorded.items() if name not in LOGINS}
    environment = {"EVENTIFY_KEYS_DIR": str(home.keys)} | recorded | given
    if DATABASE not in environment:
        if needs_database:
            raise ConfigurationError(
                f"Eventify does not run in {home.path} (EVENTIFY_HOME names another directory), and"
                " EVENTIFY_DATABASE_URL is not set."
            )
        environment[DATABASE] = "postgresql:///"
    return settings_from(environment)


def http_url(host: str, port: int | str) -> str:
    """The URL of a listener, for clients on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
