"""A commit counts although the standby has not confirmed it."""

from shared.database import confirmed_commit


def break_it() -> None:
    """Before the modules that import it."""
    confirmed_commit.confirm = lambda _connection: None
