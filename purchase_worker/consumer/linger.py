"""How long a worker stays with queues that it has emptied: a few milliseconds, if nobody minds.

A wake-up's way through the broker takes some 4 ms of the worker's CPU, a look into the queue 0.2 ms
(docs/decisions/0011). So where requests keep coming, the worker waits for the next of them itself:

- after a large batch it never waits while something is queued;
- after a small one it waits as long as that batch took, at most LONGEST_PAUSE_SECONDS, so that a
  few requests come together: at worst it idles half of its time;
- when nothing is queued it looks LOOKS times, then it leaves;
- while any wake-up waits in the broker it does not wait at all: others need this worker. A wake-up
  that a worker holds already is not seen; it waits for the end of a turn at most
  (`drain_max_seconds`).

A request that comes alone is decided first and waited after, so it never waits itself.
"""

import time
from collections.abc import Callable, Iterator

from purchase_worker.drain import Batch

# From so many rows on, what a batch costs at any size is less than a third of it.
LARGE_BATCH_ROWS = 100
SHORTEST_PAUSE_SECONDS = 0.001
LONGEST_PAUSE_SECONDS = 0.005
LOOKS = 3


class Linger:
    """Called with each committed batch.

    Args:
        others_wait: whether other ticket types have no worker.
        sleep: waits so many seconds.
    """

    def __init__(
        self, others_wait: Callable[[], bool], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._others_wait = others_wait
        self._sleep = sleep

    def __call__(self, batch: Batch) -> Iterator[None]:
        """Wait; each item means: look again whether something is queued."""
        pause = min(max(batch.seconds, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        if not batch.rows:
            return
        if batch.queued:
            if batch.rows < LARGE_BATCH_ROWS and not self._others_wait():
                self._sleep(pause)
            return
        for _look in range(LOOKS):
            if self._others_wait():
                return
            self._sleep(pause)
            yield
