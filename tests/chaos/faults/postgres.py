"""PostgreSQL crashes, loses its sessions, has no room for more, or cannot write."""

import signal
from contextlib import ExitStack, closing

import psycopg2
from psycopg2 import errors

from tests.chaos.faults.fault import UNAVAILABLE_SECONDS, Effect, Fault
from tests.chaos.small_disk import can_mount
from tests.chaos.system import System
from tests.support.servers import admin_connection

TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name LIKE 'eventify-%' AND application_name <> 'eventify-chaos'
"""
MORE_THAN_ALL_CONNECTIONS = 300
STRUGGLES = 3
REJECT = """
UPDATE ledger SET kind = 'rejected', reason = 'not_enough_tickets', change = 0
WHERE kind = 'confirmed' AND items IS NULL
"""
FORGERIES = (
    REJECT,
    "DELETE FROM requests r USING ledger e WHERE e.command_id = r.id AND r.kind = 'buy'",
    "DELETE FROM ledger WHERE kind = 'rejected'",
    "TRUNCATE ledger",
)
LOCK_ALL = "SELECT FROM lanes FOR UPDATE"


class PostgresCrashed(Fault):
    """Immediate shutdown, as of a crash; the start that follows has its log to replay."""

    hold_seconds = UNAVAILABLE_SECONDS
    effect = Effect.UNAVAILABLE

    def strike(self) -> None:
        self.system.postgres.end(signal.SIGQUIT)
        self.strikes += 1

    def heal(self) -> None:
        self.system.postgres.start()


class PostgresFrozen(Fault):
    """SIGSTOP: connections stay open, and nothing is answered."""

    hold_seconds = UNAVAILABLE_SECONDS
    effect = Effect.UNAVAILABLE

    def strike(self) -> None:
        self.system.postgres.freeze()
        self.strikes += 1

    def heal(self) -> None:
        self.system.postgres.thaw()


class DiskFull(Fault):
    """Not a byte is free: tables cannot grow, and PostgreSQL may even have to give up."""

    hold_seconds = 2.0
    needs = "" if can_mount() else "the right to mount a small file system"

    def strike(self) -> None:
        self._before = self._refused_writes()
        self.system.disk.fill()

    def heal(self) -> None:
        self.system.disk.relieve()
        self.system.postgres.start()
        self.strikes += self._refused_writes() - self._before

    def _refused_writes(self) -> int:
        return self.system.postgres.log.read_text(errors="replace").count("No space left")


class BackendsTerminated(Fault):
    """Every session of the services is ended, several times in a row."""

    def strike(self) -> None:
        with (
            closing(admin_connection(self.system.postgres.url)) as connection,
            connection.cursor() as cursor,
        ):
            for _again in range(STRUGGLES):
                cursor.execute(TERMINATE)
                self.strikes += cursor.rowcount


class ConnectionsExhausted(Fault):
    """Strangers hold every connection that there is, and the services have lost theirs."""

    hold_seconds = 2.0

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._held = ExitStack()

    def strike(self) -> None:
        with closing(psycopg2.connect(self.system.database_url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                self._take_all()
                # What the services lose is taken at once; some of them may be quicker.
                for _again in range(STRUGGLES):
                    cursor.execute(TERMINATE)
                    self._take_all()

    def _take_all(self) -> None:
        for _number in range(MORE_THAN_ALL_CONNECTIONS):
            try:
                self._held.enter_context(closing(psycopg2.connect(self.system.database_url)))
            except psycopg2.OperationalError:
                self.strikes += 1
                return

    def heal(self) -> None:
        self._held.close()


class LaneLocked(Fault):
    """An idle transaction holds all lanes: all is accepted, and nothing decided meanwhile."""

    hold_seconds = 3.0

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._held = ExitStack()

    def strike(self) -> None:
        connection = self._held.enter_context(closing(psycopg2.connect(self.system.database_url)))
        with connection.cursor() as cursor:
            cursor.execute(LOCK_ALL)
            self.strikes += cursor.rowcount

    def heal(self) -> None:
        self._held.close()


class StrayHand(Fault):
    """Requests and entries are changed and deleted by hand; PostgreSQL raises."""

    effect = Effect.GOES_ON

    def strike(self) -> None:
        for statement in FORGERIES:
            with closing(psycopg2.connect(self.system.database_url)) as connection:
                try:
                    with connection, connection.cursor() as cursor:
                        cursor.execute(statement)
                except errors.IntegrityError:
                    pass  # as it should be
                self.strikes += 1
