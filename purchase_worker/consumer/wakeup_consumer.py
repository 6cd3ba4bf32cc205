"""What a worker does with its connection to the broker: less than Celery would, and sooner."""

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

# Between two tries while the broker is away; Celery lets it grow to half a minute, through which a
# broker that is back would have no worker.
RECONNECT_SECONDS = 2.0
# Celery declares 28 queues and as many exchanges for messages that shall come late, as soon as a
# queue is a quorum queue. No wake-up shall come late.
UNUSED = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class WakeupConsumer(Consumer):  # type: ignore[misc] # Celery has no types
    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        default_steps = tuple(step for step in Consumer.Blueprint.default_steps if step != UNUSED)

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=RECONNECT_SECONDS,
            interval_step=0,
            interval_max=RECONNECT_SECONDS,
        )
        return super().ensure_connected(conn)
