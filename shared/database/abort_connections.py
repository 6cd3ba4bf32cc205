"""Aborts the connections to a database that does not respond, so that a process can exit."""

import os
import socket
from contextlib import suppress
from typing import cast

import psycopg2
from psycopg2.extensions import connection
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry


class OpenConnections:
    """Every open connection of an engine; create it before the first of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: set[DBAPIConnection] = set()

        @event.listens_for(engine, "connect")
        def opened(plain: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
            self._open.add(plain)

        @event.listens_for(engine, "close")
        def closed(plain: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
            self._open.discard(plain)

    def abort_all(self) -> None:
        """Close idle connections, and abort those in use: their threads get an error at once.

        libpq waits for a server without end, and Python exits after its threads. The server goes on
        with what was sent: a commit that waits for its standby may still succeed.
        """
        self._engine.dispose()
        for plain in list(self._open):
            with suppress(psycopg2.InterfaceError, OSError):  # closed by now
                # Its thread is inside libpq, which must not be closed; its socket can be shut down.
                descriptor = os.dup(cast("connection", plain).fileno())
                with socket.socket(fileno=descriptor) as line:
                    line.shutdown(socket.SHUT_RDWR)
