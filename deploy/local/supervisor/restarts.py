"""Runs inside supervisord: counts the restarts of each program, and limits the pauses between."""

from collections import Counter
from typing import Any

from supervisor import events

# supervisord waits one second longer after each failed start, without limit. A service that could
# not start for an outside reason must start soon after it is gone.
LONGEST_PAUSE_SECONDS = 5


class Restarts:
    """Extends supervisord's XML-RPC: `eventify.counts()`."""

    def __init__(self) -> None:
        self._starts: Counter[str] = Counter()
        events.subscribe(events.ProcessStateStartingEvent, self._started)
        events.subscribe(events.ProcessStateBackoffEvent, self._failed)

    def counts(self) -> dict[str, int]:
        """By name, how often each program was started after its first start."""
        return {name: starts - 1 for name, starts in self._starts.items()}

    def _started(self, event: Any) -> None:
        self._starts[event.process.config.name] += 1

    def _failed(self, event: Any) -> None:
        # supervisord counts its failures here, gives up above a limit, and waits that many seconds.
        process = event.process
        if process.backoff > LONGEST_PAUSE_SECONDS:
            process.delay -= process.backoff - LONGEST_PAUSE_SECONDS
            process.backoff = LONGEST_PAUSE_SECONDS


def make_rpcinterface(_supervisord: object) -> Restarts:
    """supervisord calls this at its start (config.py)."""
    return Restarts()
