"""A commit that a synchronous standby has not confirmed is an error.

PostgreSQL lets a commit wait for its standby without end. If that wait is cancelled (by an
administrator, or by a statement timeout at its very end), COMMIT succeeds with a warning, and a
failover would lose it. Warnings are in the server's language; COMMIT has no other, so any counts.
"""

import psycopg2
from psycopg2 import extensions

# Writes a message of a few bytes into the log, once for a statement. A row may be seen that this
# server has alone: its commit's wait for the standby was cancelled, or the server crashed then. A
# session that publishes such a row commits something after it, and waits. A transaction id alone
# would not do: PostgreSQL waits at a commit only if its transaction wrote to the log.
WRITES_TO_LOG = "(SELECT pg_logical_emit_message(true, 'eventify', '')) IS NOT NULL"
# The condition by which a statement keeps what it reads: it costs nothing without a standby.
KEPT = f"(current_setting('synchronous_standby_names') = '' OR {WRITES_TO_LOG})"


class CommitUnconfirmed(psycopg2.OperationalError):
    """Committed on one server, and perhaps on no other: the outcome is unknown."""


class ConfirmedConnection(extensions.connection):
    """A connection whose `commit` returns only if the commit is confirmed.

    Call `confirm` after a COMMIT that is sent as a statement.
    """

    def commit(self) -> None:
        """Raises CommitUnconfirmed, and the errors of COMMIT."""
        super().commit()
        confirm(self)


def confirm(connection: extensions.connection) -> None:
    """Raises CommitUnconfirmed if there was a warning; the check takes 40 ns."""
    if connection.notices:
        warnings = " ".join(connection.notices)
        connection.notices.clear()
        raise CommitUnconfirmed(warnings)
