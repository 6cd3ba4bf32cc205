"""The rule of a token bucket. Pure.

A bucket is one number: the moment at which it will be full again (the generic cell rate algorithm,
ITU-T I.371). A full bucket is not stored. Times are whole microseconds, so that Lua and Python
compute the same.
"""

import math

import msgspec

MICROSECONDS = 1_000_000


class Rate(msgspec.Struct, frozen=True):
    """`burst` tokens fit into the bucket; `per_second` grow back."""

    burst: int
    per_second: float

    @property
    def is_unlimited(self) -> bool:
        return self.burst <= 0 or self.per_second <= 0

    @property
    def interval(self) -> int:
        """Microseconds in which one token grows; at least one."""
        return max(1, round(MICROSECONDS / self.per_second))

    @property
    def span(self) -> int:
        """Microseconds in which an empty bucket is filled."""
        return self.interval * self.burst

    @property
    def span_seconds(self) -> float:
        return self.span / MICROSECONDS


class Draw(msgspec.Struct, frozen=True):
    """The result of a draw. `retry_after_seconds`: None if the token was given."""

    tokens_left: int
    retry_after_seconds: float | None = None


def draw(full_at: int, now: int, rate: Rate) -> tuple[int, int]:
    """Take one token out of a bucket.

    Returns:
        When the bucket will be full now; and the tokens left or, below zero, the microseconds
        until there is one to take.
    """
    if full_at > now + rate.span:  # the clock has been set back
        full_at = now
    full_then = max(full_at, now) + rate.interval
    room = now + rate.span - full_then
    if room < 0:
        return full_at, room
    return full_then, room // rate.interval


def draw_of(answer: int) -> Draw:
    """From the second number of `draw`."""
    return Draw(answer) if answer >= 0 else Draw(0, -answer / MICROSECONDS)


def policy_header(name: str, rate: Rate) -> str:
    """`RateLimit-Policy`, as in draft-ietf-httpapi-ratelimit-headers-10: quota and window."""
    return f'"{name}";q={rate.burst};w={math.ceil(rate.span_seconds)}'


def rate_limit_header(name: str, rate: Rate, drawn: Draw) -> str:
    """`RateLimit`: the tokens left, and the seconds until there are more of them.

    If a token was given: until the bucket is full. If not: until there is one.
    """
    seconds = drawn.retry_after_seconds
    if seconds is None:
        seconds = (rate.burst - drawn.tokens_left) / rate.per_second
    return f'"{name}";r={drawn.tokens_left};t={math.ceil(seconds)}'
