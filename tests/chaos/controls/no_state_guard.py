"""The ledger may be changed: the guards are missing in the database."""


def break_it() -> None:
    """The code stays as it is."""
