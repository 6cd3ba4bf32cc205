"""Log lines that a client's requests cause: few of a kind, and how many there would have been."""

import time
from collections.abc import Hashable


class LogLimit:
    """At most one line of a kind each `seconds`. The kinds are few: all are remembered."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._counts: dict[Hashable, int] = {}
        self._next_at: dict[Hashable, float] = {}

    def count(self, kind: Hashable) -> int:
        """Of this kind since its last line, this one included; 0: log none now."""
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        now = time.monotonic()
        if now < self._next_at.get(kind, now):
            return 0
        self._next_at[kind], self._counts[kind] = now + self._seconds, 0
        return count
