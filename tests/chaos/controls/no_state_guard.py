"""Nothing refuses to change a decided row; what is missing, is missing in the database."""


def break_it() -> None:
    """The code stays as it is."""
