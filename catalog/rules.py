"""Rules of both events and ticket types, as pure functions."""

from datetime import datetime

from shared.config.currencies import CURRENCIES, NO_CURRENCY
from shared.errors import InvalidInput, PermissionDenied

MAX_INT4 = 2**31 - 1  # PostgreSQL's integer


def check_owner(owner_id: int, user_id: int) -> None:
    """Raises PermissionDenied: only the owner of an event changes it and its ticket types."""
    if owner_id != user_id:
        raise PermissionDenied


def check_currency(code: str, stored: str | None = None) -> None:
    """Raises InvalidInput: it is no currency, nor the one that is stored."""
    if code != stored and code not in CURRENCIES:
        raise InvalidInput(errors={"currency": [NO_CURRENCY]})


def check_order(names: tuple[str, str], start: datetime | None, end: datetime | None) -> None:
    """Raises InvalidInput by field: the end is not after the start. None is unlimited."""
    first, last = names
    if start is not None and end is not None and end <= start:
        raise InvalidInput(errors={last: [f"Must be after {first}."]})
