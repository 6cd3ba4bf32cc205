"""Both ends of a connection to PostgreSQL notice that the other's host has vanished.

That it works is tried where packets can be lost without a word: tests/environments/hosts.
"""

import socket

from sqlalchemy import Engine

from shared.config.settings import Settings
from shared.database.engine import cursor_transaction


def test_postgresql_gives_up_a_client_that_has_vanished(engine: Engine, settings: Settings) -> None:
    with cursor_transaction(engine) as cursor:
        cursor.execute(
            "SELECT name, setting::int FROM pg_settings"
            " WHERE name LIKE 'tcp_keepalives%' OR name = 'tcp_user_timeout'"
        )
        limits = dict(cursor.fetchall())
    seconds = settings.vanished_after_seconds
    asked = limits["tcp_keepalives_interval"] * limits["tcp_keepalives_count"]
    assert limits["tcp_keepalives_idle"] + asked == seconds
    assert limits["tcp_user_timeout"] == seconds * 1_000


def test_we_give_up_a_server_that_has_vanished(engine: Engine, settings: Settings) -> None:
    with (
        cursor_transaction(engine) as cursor,
        socket.socket(fileno=cursor.connection.fileno()) as end,
    ):
        try:
            limit = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            asks_after = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        finally:
            end.detach()
    assert limit == settings.vanished_after_seconds * 1_000
    assert asks_after == 1
