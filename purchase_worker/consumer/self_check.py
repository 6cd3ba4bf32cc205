"""A worker's parent process writes its heartbeat, and checks that messages still reach it.

A worker may stay connected and consume no message any more (celery#8030, #8091, #10205). So it
sends itself a message every few seconds, through a queue of its own that is consumed as the
wake-ups are: on the same connection, under the same prefetch limit. No child is involved.

A worker that has a reason to consume nothing does not count as stalled: it is not connected, the
broker accepts no message, or all its children are busy (a commit may wait for a standby without
end).
"""

import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

from celery.bootsteps import StartStopStep
from celery.signals import worker_shutdown
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.consumer.tasks import Tasks
from kombu.entity import Queue

from shared.config.settings import get_settings
from shared.messaging.celery_client import CONFIRM_TIMEOUT_SECONDS, PURCHASES_QUEUE
from shared.observability.heartbeat import Heartbeat
from shared.observability.logging import get_logger

CHECK_SECONDS = 1.0
# The event loop stops while a message is sent, so this must be short. The drivers of Redis and
# RabbitMQ have different names for it.
TIMEOUTS = ("socket_timeout", "socket_connect_timeout", "read_timeout", "write_timeout")
SEND_OPTIONS = dict.fromkeys(TIMEOUTS, 1)
SELF_MESSAGE = "purchase_worker.self_check"

logger = get_logger(__name__)


class ConsumptionMonitor:
    """When a consumer counts as stalled. Times are in seconds of a clock that never goes back."""

    def __init__(self, stalled_after_seconds: float) -> None:
        self._stalled_after_seconds = stalled_after_seconds
        self._missing_since: float | None = None

    def sent(self, now: float) -> None:
        if self._missing_since is None:
            self._missing_since = now

    def received(self) -> None:
        self._missing_since = None

    def excused(self, now: float) -> None:
        """Until now there was a reason to receive nothing."""
        if self._missing_since is not None:
            self._missing_since = now

    def is_stalled(self, now: float) -> bool:
        since = self._missing_since
        return since is not None and now - since > self._stalled_after_seconds


class SelfCheck(StartStopStep):  # type: ignore[misc] # Celery has no types
    """A step of the worker's consumer; checks every second on its event loop."""

    requires = (Tasks,)

    def __init__(self, consumer: Consumer, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._settings = get_settings()
        self._monitor = ConsumptionMonitor(self._settings.consumer_stalled_after_seconds)
        self._stalled = False
        self._queue_name = f"{PURCHASES_QUEUE}.self-check.{uuid4().hex}"
        # Opened after the children were forked, which would else inherit its lock.
        self._heartbeat: Heartbeat | None = None
        self._connection: Any = None
        self._next_message_at = 0.0  # on the monotonic clock
        self._timer: Any = None
        consumer.on_connecting = self._beat
        worker_shutdown.connect(self._close, weak=False)

    def start(self, consumer: Consumer) -> None:
        """The consumer is connected: consume our own queue beside the wake-ups."""
        queue = Queue(
            self._queue_name,
            routing_key=self._queue_name,
            # Only wake-ups count against the prefetch limit.
            no_ack=True,
            # Deleted with the worker. A broker may make other queues of a kind that stays.
            auto_delete=True,
            queue_arguments={"x-queue-type": "classic"},
        )
        consumer.task_consumer.add_queue(queue)
        consumer.strategies[SELF_MESSAGE] = self._receive
        self._monitor.received()
        self._next_message_at = 0.0
        self._timer = consumer.timer.call_repeatedly(CHECK_SECONDS, self._check, (consumer,))
        self._beat()

    def stop(self, _consumer: Consumer) -> None:
        """The connection is lost, or the worker is stopping."""
        if self._timer is not None:
            self._timer.cancel()
        self._disconnect()
        self._beat()

    def _beat(self, problem: str = "") -> None:
        if self._heartbeat is None:
            self._heartbeat = Heartbeat(self._settings.heartbeat_dir, "worker")
        self._heartbeat.beat(self._settings.heartbeat_stale_seconds, problem)

    def _close(self, **_: Any) -> None:
        if self._heartbeat is not None:
            self._heartbeat.close()

    def _check(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if len(state.active_requests) >= consumer.pool.num_processes:
            self._monitor.excused(now)
        was_stalled, self._stalled = self._stalled, self._monitor.is_stalled(now)
        if self._stalled and not was_stalled:
            after_seconds = self._settings.consumer_stalled_after_seconds
            logger.error("consumer_stalled", after_seconds=after_seconds)
        # A stalled consumer's messages would pile up.
        if not self._stalled and now >= self._next_message_at:
            self._next_message_at = now + self._settings.self_check_seconds
            self._send(consumer, now)
        self._beat("is connected to the broker and takes no message" if self._stalled else "")

    def _send(self, consumer: Consumer, now: float) -> None:
        try:
            if self._connection is None:
                self._connection = consumer.app.connection_for_write()
                self._connection.transport_options.update(SEND_OPTIONS)
            self._connection.ensure_connection(max_retries=0)
            self._connection.Producer().publish(
                b"",
                routing_key=self._queue_name,
                headers={"task": SELF_MESSAGE},
                delivery_mode=1,
                confirm_timeout=CONFIRM_TIMEOUT_SECONDS,
            )
        except Exception as error:
            logger.warning("self_check_not_sent", error=repr(error))
            self._disconnect()
            self._monitor.excused(now)
        else:
            self._monitor.sent(now)

    def _receive(self, message: Any, *_celery: Any) -> None:
        if message.delivery_info["routing_key"] == self._queue_name:
            self._monitor.received()
        else:  # in the queue of wake-ups it counts against the prefetch limit
            message.reject()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.collect(socket_timeout=1)
