"""Letting go of a database that does not answer, so that a process which stops can leave."""

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
    """The connections of an engine, whoever has them; make it before the first of them."""

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
        """Close what idles, and cut what is still waited on: those threads get an error at once.

        libpq waits for a server without end, and Python ends when its threads have ended. What was
        sent is not taken back: a commit that waits for its standby goes on in the server.
        """
        self._engine.dispose()
        for plain in list(self._open):
            with suppress(psycopg2.InterfaceError, OSError):  # closed by now
                # Its thread is inside libpq, which must not be closed under it; the socket may.
                descriptor = os.dup(cast("connection", plain).fileno())
                with socket.socket(fileno=descriptor) as line:
                    line.shutdown(socket.SHUT_RDWR)
