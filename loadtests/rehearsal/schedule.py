"""When a user means to act next, however long its answers take.

Locust's own pauses begin when an answer has come: a slow server is then asked less, and its
slowness is hidden (coordinated omission). Here each moment is fixed by the one before it. A late
user acts at once, and its wait counts from the moment that was meant.
"""

import random

# Locust starts all users of a second together: each of them arrives somewhere in the next.
ARRIVING_SECONDS = 1.0
# Pauses differ by up to this part of the pace, so that users who came together do not stay so.
SPREAD = 0.5


class Schedule:
    """One user's moments, in seconds of the clock that it was given."""

    def __init__(self, now: float, pace_seconds: float, chance: random.Random) -> None:
        self._pace_seconds = pace_seconds
        self._chance = chance
        self._next = now + chance.uniform(0, ARRIVING_SECONDS)

    def seconds_until_next(self, now: float) -> float:
        """How long to wait from now on; 0 if the moment has passed."""
        return max(0.0, self._next - now)

    def was_busy(self, began: float, ended: float) -> None:
        """The user itself was, not the system: of that time, what makes it late does not count."""
        self._next += max(0.0, ended - max(self._next, began))

    def take(self) -> float:
        """The moment at which the user meant to act now; the next one is a pace later."""
        meant = self._next
        self._next += self._pace_seconds * self._chance.uniform(1 - SPREAD, 1 + SPREAD)
        return meant
