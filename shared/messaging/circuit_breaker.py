"""Leaves something alone for a while after it failed, so that its being away costs no time."""

import time

# Long enough that calls which time out are rare, short enough that a restart is soon noticed.
PAUSE_SECONDS = 1.0


class CircuitBreaker:
    """Open from a failure on, for `pause_seconds`; several threads may use it at once."""

    def __init__(self, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until

    def trip(self) -> None:
        self._open_until = time.monotonic() + self._pause_seconds
