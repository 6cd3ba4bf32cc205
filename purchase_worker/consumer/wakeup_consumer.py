"""How a worker connects to its broker and reads messages, where that differs from Celery."""

from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer

from shared.observability.logging import get_logger

# Between two tries to connect. Celery's own pause grows to half a minute, for which a broker that
# is back would have no worker.
RECONNECT_SECONDS = 2.0
# Where a queue is a quorum queue, this step declares 28 queues and exchanges for delayed messages.
# No wake-up is delayed.
UNUSED_STEP = "celery.worker.consumer.delayed_delivery:DelayedDelivery"

logger = get_logger(__name__)


class WakeupConsumer(Consumer):  # type: ignore[misc] # Celery has no types
    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if step != UNUSED_STEP
        )

    # Called at each try to connect: no event loop runs meanwhile.
    on_connecting: Callable[[], None] = staticmethod(lambda: None)

    def ensure_connected(self, conn: Any) -> Any:
        ensure = conn.ensure_connection

        def ensure_steadily(*args: Any, callback: Callable[[], None], **options: Any) -> Any:
            def before_each_try() -> None:
                self.on_connecting()
                callback()

            pace = {
                "interval_start": RECONNECT_SECONDS,
                "interval_step": 0,
                "interval_max": RECONNECT_SECONDS,
            }
            return ensure(*args, callback=before_each_try, **(options | pace))

        conn.ensure_connection = ensure_steadily
        return super().ensure_connected(conn)

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """Celery's, but a message with headers that it does not expect ends no worker."""
        handle = super().create_task_handler(*args, **options)

        def handle_or_reject(message: Any) -> None:
            try:
                handle(message)
            except Exception as error:
                logger.warning("message_not_readable", error=repr(error))
                message.reject()

        return handle_or_reject
