"""A worker's parent tells that its event loop runs, and whether messages still reach it.

A worker may be connected and take no message any more, for good (celery#8030, #8091, #10205, and
wakeup_request.py): its process lives, and only what comes by its ears tells the difference. So it
sends itself a message every few seconds, through a queue of its own, and hears it where it hears
the wake-ups: on the same connection, under the same limit of messages in hand. No child is asked.

Nothing is held against a worker that cannot hear for a reason: it is not connected, the broker
takes no message, or all its children are busy (a commit may wait for a standby without end).
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.bootsteps import StartStopStep
from celery.signals import worker_shutdown
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.consumer.tasks import Tasks
from kombu.entity import Queue
from kombu.utils.imports import symbol_by_name

from shared.config.settings import Settings
from shared.messaging.celery_client import CONFIRM_TIMEOUT_SECONDS, PURCHASES_QUEUE
from shared.observability.heartbeat import Heartbeat
from shared.observability.logging import get_logger

CHECK_SECONDS = 1.0
# The loop stands still while a message is sent, so this may not take long. By the names that the
# drivers of Redis and of RabbitMQ have for it.
TIMEOUTS = ("socket_timeout", "socket_connect_timeout", "read_timeout", "write_timeout")
SEND_OPTIONS = dict.fromkeys(TIMEOUTS, 1)
SELF_MESSAGE = "purchase_worker.self_check"

logger = get_logger(__name__)


class Hearing:
    """When a worker counts as deaf. Times are in seconds, of any clock that only goes forward."""

    def __init__(self, deaf_after_seconds: float) -> None:
        self._deaf_after_seconds = deaf_after_seconds
        self._unheard_since: float | None = None

    def sent(self, now: float) -> None:
        if self._unheard_since is None:
            self._unheard_since = now

    def heard(self) -> None:
        self._unheard_since = None

    def excused(self, now: float) -> None:
        """Up to now there was a reason not to hear."""
        if self._unheard_since is not None:
            self._unheard_since = now

    def is_deaf(self, now: float) -> bool:
        since = self._unheard_since
        return since is not None and now - since > self._deaf_after_seconds


class SelfCheck:
    """What the parent does about it, every second on its loop."""

    def __init__(self, celery: Celery, settings: Settings) -> None:
        self._celery = celery
        self._settings = settings
        self._hearing = Hearing(settings.deaf_after_seconds)
        self._deaf = False
        self._queue_name = f"{PURCHASES_QUEUE}.self-check.{uuid4().hex}"
        self._heartbeat: Heartbeat | None = None
        self._connection: Any = None
        self._next_message_at = 0.0  # on the monotonic clock
        self._timer: Any = None

    def start(self, consumer: Consumer) -> None:
        """The consumer is connected: hear the own queue with the wake-ups' consumer."""
        queue = Queue(
            self._queue_name,
            routing_key=self._queue_name,
            # Not to acknowledge, so that what counts as in hand are the wake-ups alone.
            no_ack=True,
            # It goes with the worker. A broker may make other queues of a kind that stays.
            auto_delete=True,
            queue_arguments={"x-queue-type": "classic"},
        )
        consumer.task_consumer.add_queue(queue)
        consumer.strategies[SELF_MESSAGE] = self._hear
        self._hearing.heard()
        self._next_message_at = 0.0
        self._timer = consumer.timer.call_repeatedly(CHECK_SECONDS, self._check, (consumer,))
        self.tell()

    def stop(self) -> None:
        """The consumer is not connected any more, or the worker is stopping."""
        if self._timer is not None:
            self._timer.cancel()
        self._abort_all()
        self.tell()

    def tell(self, ailment: str = "") -> None:
        if self._heartbeat is None:
            self._heartbeat = Heartbeat(self._settings.heartbeat_dir, "worker")
        self._heartbeat.beat(self._settings.heartbeat_stale_seconds, ailment)

    def close(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.close()

    def _check(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if len(state.active_requests) >= consumer.pool.num_processes:
            self._hearing.excused(now)
        was_deaf, self._deaf = self._deaf, self._hearing.is_deaf(now)
        if self._deaf and not was_deaf:
            logger.error("worker_is_deaf", after_seconds=self._settings.deaf_after_seconds)
        # What nobody hears must not pile up.
        if not self._deaf and now >= self._next_message_at:
            self._next_message_at = now + self._settings.self_check_seconds
            self._send(now)
        self.tell("is connected to the broker and takes no message" if self._deaf else "")

    def _send(self, now: float) -> None:
        try:
            if self._connection is None:
                self._connection = self._celery.connection_for_write()
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
            self._abort_all()
            self._hearing.excused(now)
        else:
            self._hearing.sent(now)

    def _hear(self, *_message: object) -> None:
        self._hearing.heard()

    def _abort_all(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.collect(socket_timeout=1)


def install(celery: Celery, settings: Settings) -> None:
    """Have the worker of this application check itself."""
    check = SelfCheck(celery, settings)

    class SelfCheckStep(StartStopStep):  # type: ignore[misc] # Celery has no types
        requires = (Tasks,)

        def start(self, consumer: Consumer) -> None:
            check.start(consumer)

        def stop(self, _consumer: Consumer) -> None:
            check.stop()

    class TellingConsumer(symbol_by_name(celery.conf.worker_consumer)):  # type: ignore[misc]
        """Tells that it lives while it tries to reach its broker, for then no loop runs."""

        def ensure_connected(self, connection: Any) -> Any:
            ensure = connection.ensure_connection

            def ensure_and_tell(*args: Any, callback: Callable[[], None], **kwargs: Any) -> Any:
                def tell_and_call() -> None:
                    check.tell()
                    callback()

                return ensure(*args, callback=tell_and_call, **kwargs)

            connection.ensure_connection = ensure_and_tell
            return super().ensure_connected(connection)

    celery.steps["consumer"].add(SelfCheckStep)
    celery.conf.worker_consumer = TellingConsumer

    @worker_shutdown.connect(weak=False)
    def close(**_: Any) -> None:
        check.close()
