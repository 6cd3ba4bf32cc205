"""How many users there are when, as pure rules over the seconds since a rehearsal began.

None means that the time is over: no user starts any more, and each stops when the outcome of its
purchase is known.
"""

import math
from typing import NamedTuple

# In which all of a spike come. Locust starts them in two lots, one second apart, and each arrives
# within a second of its own (`schedule`).
SPIKE_SECONDS = 2


class ShapeOptions(NamedTuple):
    """What the operator asked for; `run_seconds` may be infinite."""

    users: int
    spawn_rate: float
    run_seconds: float
    spike_users: int
    quiet_seconds: float


class Step(NamedTuple):
    """How many users there shall be, and how many of the missing come each second."""

    users: int
    per_second: float
    before_the_opening: bool = False


def on_sale_spike(at: float, options: ShapeOptions) -> Step | None:
    """Quiet with `users` that only read; then `spike_users` more, all within two seconds."""
    if at >= options.run_seconds:
        return None
    if at < options.quiet_seconds:
        return Step(options.users, options.spawn_rate, before_the_opening=True)
    rate = math.ceil(options.spike_users / SPIKE_SECONDS)  # of a fraction, Locust makes a third lot
    return Step(options.users + options.spike_users, max(1, rate))


def steady_ramp(at: float, options: ShapeOptions) -> Step | None:
    """From none to `users`, evenly over the whole time: where does it begin to hurt?"""
    if at >= options.run_seconds:
        return None
    if math.isinf(options.run_seconds):
        return Step(options.users, options.spawn_rate)
    return Step(options.users, max(options.users, 1) / options.run_seconds)


def soak(at: float, options: ShapeOptions) -> Step | None:
    """The same `users` for hours: what grows, leaks or slows down?"""
    return None if at >= options.run_seconds else Step(options.users, options.spawn_rate)
