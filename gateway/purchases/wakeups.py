"""Wakes workers: for each event, at most one wake-up is in progress.

A message names many events, since it costs as much for one as for thirty.

A wake-up may be lost, duplicated or late; the sweep decides what it missed. So a failure to send is
counted, and never delays the response to a buyer.
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType

from celery import Celery

from gateway import metrics
from gateway.purchases.traces import PurchaseTraces
from shared.config.settings import Settings
from shared.failpoints import reached
from shared.messaging.celery_client import (
    WAKEUP_EVENTS_MAX,
    make_celery,
    prepare_to_send,
    send_wakeup,
)
from shared.messaging.circuit_breaker import CircuitBreaker
from shared.messaging.redis_client import open_redis, send_all
from shared.observability.logging import get_logger
from shared.purchases import WAKEUP_KEY_PREFIX, WAKEUP_TTL_MS

# Between messages while many events are on sale: a third less CPU for each purchase of 1,000
# events (docs/decisions/0012).
PAUSE_SECONDS = 0.01
NO_TRACES: Mapping[int, str] = MappingProxyType({})

logger = get_logger(__name__)


class WakeupSender:
    """One thread that publishes; wake-ups requested meanwhile are sent together.

    It pauses after a message for several events: with one on sale, no wake-up waits.
    """

    def __init__(self, settings: Settings, traces: PurchaseTraces | None = None) -> None:
        self._traces = traces
        self._celery: Celery = make_celery(settings)
        self._redis = open_redis(settings)
        self._wanted: set[int] = set()
        # Of the wanted events those with a traced request, and its traceparent.
        self._traced: dict[int, str] = {}
        self._wake = threading.Condition()
        self._closing = False
        # While it is open, wake-ups are dropped, and the sweep decides. `Exception`, because a
        # broker's driver may raise anything.
        self.breaker = CircuitBreaker(logger, "wakeup_not_sent", Exception)
        self._thread = threading.Thread(target=self._run, name="wake-ups", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def notify(self, event_ids: Iterable[int], traced: Mapping[int, str] = NO_TRACES) -> None:
        """Request wake-ups; returns at once, from any thread.

        `traced`: a traceparent for each event that has one.
        """
        with self._wake:
            self._wanted.update(event_ids)
            self._traced.update(traced)
            self._wake.notify()

    def close(self) -> None:
        """Send all wake-ups, then end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout=5)
        self._celery.close()
        self._redis.close()

    def _run(self) -> None:
        prepare_to_send(self._celery)
        while True:
            with self._wake:
                while not self._wanted and not self._closing:
                    self._wake.wait()
                if not self._wanted:
                    return
                wanted = list(self._wanted)
                self._wanted.clear()
                traced, self._traced = self._traced, {}
            for start in range(0, len(wanted), WAKEUP_EVENTS_MAX):
                self._send(wanted[start : start + WAKEUP_EVENTS_MAX], traced)
            if len(wanted) > 1:
                time.sleep(PAUSE_SECONDS)

    def _send(self, event_ids: Sequence[int], traced: Mapping[int, str]) -> None:
        def send() -> bool:
            unmarked = self._mark(event_ids)
            if unmarked:
                self._publish(unmarked, [traced[id_] for id_ in unmarked if id_ in traced])
                metrics.WAKEUPS_SENT.inc()
                reached("after_wakeup")
            return True

        if not self.breaker.call(send):
            metrics.WAKEUPS_FAILED.inc()

    def _publish(self, event_ids: list[int], traceparents: list[str]) -> None:
        with (
            nullcontext() if self._traces is None else self._traces.wakeup(traceparents) as headers
        ):
            send_wakeup(self._celery, event_ids, headers)

    def _mark(self, event_ids: Sequence[int]) -> list[int]:
        """Mark a wake-up as in progress for each; returns those for which none was."""
        marked = send_all(
            self._redis,
            [
                ("SET", f"{WAKEUP_KEY_PREFIX}{id_}", "1", "NX", "PX", WAKEUP_TTL_MS)
                for id_ in event_ids
            ],
        )
        return [id_ for id_, fresh in zip(event_ids, marked, strict=True) if fresh]
