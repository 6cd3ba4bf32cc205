"""How many connections to the database each service opens at most, with the defaults."""

from catalog.database_threads import connections_of
from gateway.app import _connections
from shared.config.settings import Settings
from webhook_sender.sender import DATABASE_THREADS

_settings = Settings(database_url="postgresql://nowhere/none")
POOLS = {
    "gateway": _connections(_settings),
    "catalog": connections_of(_settings),
    "worker": 2 * _settings.worker_processes,  # purchase_worker/runtime.py, without tracing
    "sweeper": 2,
    "sender": DATABASE_THREADS,
}
