"""Times as clients send them."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

# pydantic rejects what this leaves open: it knows the days of each month.
WRITTEN_TIME = re.compile(r"[^T]+T.*(Z|[+-][0-9:]+)", re.IGNORECASE)


def _written_time(value: object) -> object:
    """Raises ValueError: a number of seconds, or a time without its offset, also where a `+` of a
    query became a space."""
    if not isinstance(value, str) or not WRITTEN_TIME.fullmatch(value):
        raise ValueError("Must be a time with its offset, such as 2026-11-22T20:00:00Z.")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # it is outside of the years 1 to 9999 in UTC
        raise ValueError("is out of range") from None


# Stored and answered in UTC, so both bounds of the year hold there as well.
Moment = Annotated[AwareDatetime, BeforeValidator(_written_time), AfterValidator(_in_utc)]
