"""The EVENTIFY_* variables: what the services get, and what a command takes from a running system.

What the caller gave always stands above what is worked out here.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from deploy.local.home import Home, read_state
from deploy.local.servers.embedded import free_port
from shared.config.settings import PREFIX, SECRETS_DIR, Settings, get_settings, variable
from shared.database.logins import ROLE_OF_SETTING
from shared.errors import ConfigurationError

DATABASE = variable("database_url")
LOGINS = {variable(setting) for setting in ROLE_OF_SETTING}


def service_environment(
    caller: Mapping[str, str], home: Home, host: str, port: int
) -> dict[str, str]:
    """What the services are told; the database and the Redis only where the caller gave them."""
    given = {name: value for name, value in caller.items() if name.startswith(PREFIX) and value}
    catalog_host = given.get("EVENTIFY_CATALOG_HOST", "127.0.0.1")
    catalog_port = given.get("EVENTIFY_CATALOG_PORT") or str(free_port())
    worked_out = {
        "EVENTIFY_CATALOG_PORT": catalog_port,
        "EVENTIFY_CATALOG_URL": http_url(catalog_host, catalog_port),
        "EVENTIFY_KEYS_DIR": str(home.keys),
    }
    decided = {
        "EVENTIFY_HOME": str(home.path),
        "EVENTIFY_GATEWAY_HOST": host,
        "EVENTIFY_GATEWAY_PORT": str(port),
        # Each gateway's /metrics covers all processes of this home, so that no other needs one.
        "PROMETHEUS_MULTIPROC_DIR": str(home.metrics),
        "EVENTIFY_METRICS_PORT": "0",
    }
    environment = worked_out | given | decided
    # Services do not stand where the caller stands.
    environment["EVENTIFY_KEYS_DIR"] = str(Path(environment["EVENTIFY_KEYS_DIR"]).absolute())
    return environment


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
    """The settings of the system that was last started in this home, or those that the caller gave.

    What `eventify down` stopped has no record any more.

    Args:
        home: where it may run.
        needs_database: False for what works without one.

    Raises:
        ConfigurationError: a setting is malformed; or there is no record, and the caller named
            neither a database nor a folder of secrets, where its URL may stand.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith(PREFIX) and value}
    # The record outlives a killed supervisor, and its database may well run on.
    state = read_state(home)
    recorded = dict(state.environment if state else {})
    if given.get(DATABASE, recorded.get(DATABASE)) != recorded.get(DATABASE):
        # Another database: the recorded logins are of another server, and migrate would go by them.
        recorded = {name: value for name, value in recorded.items() if name not in LOGINS}
    environment = {"EVENTIFY_KEYS_DIR": str(home.keys)} | recorded | given
    told_of_database = environment.keys() & {DATABASE, SECRETS_DIR}
    if not needs_database and not told_of_database:
        environment[DATABASE] = "postgresql:///"
    elif not told_of_database:
        raise ConfigurationError(
            f"Eventify does not run in {home.path}, and EVENTIFY_DATABASE_URL is not set."
        )
    return settings_from(environment)


def http_url(host: str, port: int | str) -> str:
    """Where a client on this machine finds what listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
