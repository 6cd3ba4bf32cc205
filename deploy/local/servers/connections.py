"""How many connections to PostgreSQL the services of one machine open at most.

docs/operations.md ("Connections and roles") explains each sum; a test compares them with the pools.
"""

from catalog.database_threads import connections_of
from shared.config.settings import Settings

# Of an idle PostgreSQL these cost little memory, and they leave room for an operator's tools.
LEAST_CONNECTIONS = 200
# Three for superusers, two for each `eventify` command, and some for monitoring.
RESERVE = 20
# With tracing, and while it runs an audit.
SWEEPER_CONNECTIONS = 4
SENDER_CONNECTIONS = 4


def max_connections(settings: Settings, gateways: int, workers: int) -> int:
    """What carries these processes, one catalog, one sweeper and one sender."""
    services = (
        gateways * gateway_connections(settings)
        + workers * worker_connections(settings)
        + connections_of(settings)
        + SWEEPER_CONNECTIONS
        + SENDER_CONNECTIONS
    )
    return max(LEAST_CONNECTIONS, services + RESERVE)


def gateway_connections(settings: Settings) -> int:
    """With a trusted issuer."""
    return (
        settings.accept_writers
        + settings.status_readers
        + 2 * settings.account_threads
        + settings.list_threads
        + 20
    )


def worker_connections(settings: Settings) -> int:
    """With tracing."""
    return 3 * settings.worker_processes
