"""The rules of ticket types, as pure functions over plain values."""

import re
from dataclasses import dataclass
from decimal import Decimal

from catalog.rules import MAX_INT4
from shared.errors import InvalidInput

SALE_WINDOW = ("sales_start", "sales_end")
# More tickets than any sale has. When tickets are issued, no more are left (eventify_issue).
MAX_CAPACITY = 1_000_000_000
MAX_PER_PURCHASE = 1_000_000
DEFAULT_PER_PURCHASE = 10
# A payment takes longer than the shortest; the longest keeps tickets from others.
HOLD_SECONDS_MIN = 30
HOLD_SECONDS_MAX = 7_200

# NUMERIC(12, 2)
PRICE = re.compile(r"[0-9]{1,10}(\.[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Stock:
    """Tickets of a type that were issued, and those of them that are held or sold."""

    issued: int
    held: int
    sold: int

    @property
    def left(self) -> int:
        return self.issued - self.held - self.sold


def price(value: object) -> Decimal:
    """A price from a request: a decimal string.

    Most languages read the JSON number 19.99 as a binary fraction that is not 19.99.

    Raises:
        ValueError: it is not a decimal string, is negative, or has too many digits.
    """
    if not isinstance(value, str):
        # pydantic turns only a ValueError into a validation error.
        raise ValueError('Must be a decimal string such as "100.00", in quotes.')  # noqa: TRY004
    if value.startswith("-"):
        raise ValueError("Must not be negative.")
    if not PRICE.fullmatch(value):
        raise ValueError(
            'Must be a decimal string such as "100.00", with at most 10 digits before its point'
            " and 2 after it."
        )
    return Decimal(value)


def issued_for_capacity(stock: Stock, capacity: int) -> int:
    """How many must have been issued for `capacity` to be left.

    Raises:
        InvalidInput: by field `capacity`: the sum exceeds an integer.
    """
    taken = stock.held + stock.sold
    if taken + capacity > MAX_INT4:
        raise InvalidInput(errors={"capacity": [f"Must be at most {MAX_INT4 - taken}."]})
    return taken + capacity


def issued_after_change(stock: Stock, change: int) -> int:
    """How many are issued after `change` tickets are added, or withdrawn when negative.

    Raises:
        InvalidInput: by field `change`: it is 0, withdraws more than are left, or adds too many.
    """
    if change == 0:
        raise InvalidInput(errors={"change": ["Must not be 0."]})
    if stock.left + change < 0:
        message = f"Cannot withdraw {-change} tickets: {stock.left} are left."
        raise InvalidInput(errors={"change": [message]})
    # More than that may be left: what was held or sold came back.
    highest = max(0, min(MAX_CAPACITY - stock.left, MAX_INT4 - stock.issued))
    if change > highest:
        raise InvalidInput(errors={"change": [f"Must be at most {highest}."]})
    return stock.issued + change
