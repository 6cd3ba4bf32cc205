"""How long a queued purchase will wait: its position over the recent pace of decisions."""

import math
import random
from collections import OrderedDict

from shared.errors import retry_after

# Before any decision was observed: one transaction for each purchase makes 1,050-1,500 a second
# (docs/benchmark.md, `drain`), and batches are faster.
ASSUMED_PER_SECOND = 1_000.0
# Weight of the newest batch in the running mean: about the last ten batches count.
NEWEST_WEIGHT = 0.2
# Events remembered; the least recently decided is forgotten first.
REMEMBERED_EVENTS = 10_000
# Retry-After is longer than the estimate by up to this part, so that clients do not retry at once.
JITTER = 0.25
# A stream reads the position again after this part of the wait ...
READ_AGAIN_PART = 0.1
# ... within these bounds; proxies close a connection that is idle for a minute.
READ_AGAIN_MIN_SECONDS, READ_AGAIN_MAX_SECONDS = 2.0, 15.0


class Pace:
    """Decisions per second of each event, as a running mean over its batches."""

    def __init__(self) -> None:
        self._per_second: OrderedDict[int, float] = OrderedDict()

    def observe(self, event_id: int, decided: int, seconds: float) -> None:
        """A batch of `decided` purchases took `seconds`."""
        newest = decided / max(seconds, 1e-6)
        known = self._per_second.pop(event_id, newest)
        self._per_second[event_id] = known + NEWEST_WEIGHT * (newest - known)
        if len(self._per_second) > REMEMBERED_EVENTS:
            self._per_second.popitem(last=False)

    def wait_seconds(self, event_id: int, position: int) -> float:
        """The estimated wait of a request with `position` ahead of it, to a tenth of a second."""
        per_second = self._per_second.get(event_id, ASSUMED_PER_SECOND)
        return math.ceil(10 * position / per_second) / 10


def retry_after_seconds(wait_seconds: float) -> int:
    """When to poll again: at least a second, with jitter."""
    return retry_after(wait_seconds * random.uniform(1, 1 + JITTER))  # noqa: S311 - jitter


def read_again_seconds(wait_seconds: float) -> float:
    """When a stream reads a queued purchase again."""
    wanted = max(
        READ_AGAIN_MIN_SECONDS, min(READ_AGAIN_MAX_SECONDS, wait_seconds * READ_AGAIN_PART)
    )
    return wanted * random.uniform(1, 1 + JITTER)  # noqa: S311 - jitter
