"""A gateway that takes its own trouble for the buyer's."""

from shared.errors import Unavailable


def break_it() -> None:
    Unavailable.status = 400
    Unavailable.code = "invalid"
