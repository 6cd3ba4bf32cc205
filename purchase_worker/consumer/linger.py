"""How long a worker keeps polling queues that it has emptied: a few milliseconds.

A wake-up through the broker costs some 4 ms of the worker's CPU, a poll of the queue 0.2 ms
(docs/decisions/0011). So where requests keep coming, the worker waits for the next ones itself:

- After a large batch it never waits while something is queued.
- After a small batch it waits as long as that batch took, at most LONGEST_PAUSE_SECONDS, so that
  several requests are decided together. At worst it idles half of its time.
- When nothing is queued it polls POLLS times.
- While any wake-up waits in the broker it does not wait: other events need this worker. A
  wake-up that a worker has already received is not seen; it waits until this drain ends, at most
  `drain_max_seconds`.

A request that arrives alone is decided first, so it never waits itself.
"""

import time
from collections.abc import Callable, Iterator

from purchase_worker.drain import Batch

# From this size on, the fixed cost of a batch is less than a third of it.
LARGE_BATCH_ROWS = 100
SHORTEST_PAUSE_SECONDS = 0.001
LONGEST_PAUSE_SECONDS = 0.005
POLLS = 3


class Linger:
    """Called with each committed batch.

    Args:
        wakeups_wait: whether other events need a worker.
        sleep: waits this many seconds.
    """

    def __init__(
        self, wakeups_wait: Callable[[], bool], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._wakeups_wait = wakeups_wait
        self._sleep = sleep

    def __call__(self, batch: Batch) -> Iterator[None]:
        """Wait; the caller polls the queues at each item."""
        pause = min(max(batch.seconds, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        if not batch.rows:
            return
        if batch.queued:
            if batch.rows < LARGE_BATCH_ROWS and not self._wakeups_wait():
                self._sleep(pause)
            return
        for _poll in range(POLLS):
            if self._wakeups_wait():
                return
            self._sleep(pause)
            yield
