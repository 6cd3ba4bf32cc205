"""The rules of the catalog, as pure functions over plain values."""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.errors import InvalidInput, PermissionDenied

MAX_INT4 = 2**31 - 1  # PostgreSQL's integer
# More tickets than any sale has; it keeps issued = sold + capacity within an integer.
MAX_CAPACITY = 1_000_000_000
MAX_PER_PURCHASE = 1_000_000
DEFAULT_PER_PURCHASE = 10

# NUMERIC(12, 2)
PRICE = re.compile(r"[0-9]{1,10}(\.[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Stock:
    """How many tickets of a type were ever issued, and how many of them are sold."""

    issued: int
    sold: int

    @property
    def left(self) -> int:
        return self.issued - self.sold


def price(value: object) -> Decimal:
    """A price as it was sent: a decimal string.

    A JSON number is none: most languages read 19.99 as a binary fraction that is not 19.99.

    Raises:
        ValueError: it is none, is negative, or has too many digits.
    """
    if not isinstance(value, str):
        # pydantic makes a refusal of a ValueError only.
        raise ValueError('must be a decimal string such as "100.00", in quotes')  # noqa: TRY004
    if value.startswith("-"):
        raise ValueError("must not be negative")
    if not PRICE.fullmatch(value):
        raise ValueError(
            'must be a decimal string such as "100.00", with at most 10 digits before its point'
            " and 2 after it"
        )
    return Decimal(value)


def check_owner(owner_id: int, user_id: int) -> None:
    """Only the owner writes.

    Raises:
        PermissionDenied: the user is someone else.
    """
    if owner_id != user_id:
        raise PermissionDenied


def check_event_times(start_time: datetime, end_time: datetime) -> None:
    """An event ends after it starts.

    Raises:
        InvalidInput: by field `end_time`.
    """
    if end_time <= start_time:
        raise InvalidInput(errors={"end_time": ["must be after start_time"]})


def check_sale_window(sales_start: datetime | None, sales_end: datetime | None) -> None:
    """A sale ends after it starts; either side may be open.

    Raises:
        InvalidInput: by field `sales_end`.
    """
    if sales_start is not None and sales_end is not None and sales_end <= sales_start:
        raise InvalidInput(errors={"sales_end": ["must be after sales_start"]})


def issued_for_capacity(stock: Stock, capacity: int) -> int:
    """How many must have been issued for so many to be left.

    Raises:
        InvalidInput: by field `capacity`, when the sum is more than can be counted.
    """
    issued = stock.sold + capacity
    if issued > MAX_INT4:
        raise InvalidInput(errors={"capacity": [f"must be at most {MAX_INT4 - stock.sold}"]})
    return issued


def issued_after_change(stock: Stock, change: int) -> int:
    """How many are issued once so many were added (or withdrawn, when negative).

    Raises:
        InvalidInput: by field `change`: it is 0, or leaves less than none or more than we count.
    """
    if change == 0:
        raise InvalidInput(errors={"change": ["must not be 0"]})
    if stock.left + change < 0:
        message = f"cannot withdraw {-change} tickets: {stock.left} are left"
        raise InvalidInput(errors={"change": [message]})
    highest = min(MAX_CAPACITY - stock.left, MAX_INT4 - stock.issued)
    if change > highest:
        raise InvalidInput(errors={"change": [f"must be at most {highest}"]})
    return stock.issued + change
