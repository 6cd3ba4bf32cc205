"""The Celery configuration of gateway and worker: the queue, the task's name, and every limit.

A message is only a wake-up, and the sweeper finds what is not woken (docs/architecture.md). So
messages are acknowledged at once, stored nowhere, and never waited for.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from celery import Celery
from kombu.entity import Queue
from kombu.transport import TRANSPORT_ALIASES

from shared.config.foreign_variables import remove_foreign_variables
from shared.config.settings import Settings
from shared.messaging.broker_options import CONNECT_TIMEOUT_SECONDS, broker_for

PURCHASES_QUEUE = "purchases"
DECIDE_QUEUES_TASK = "purchase_worker.decide_queues"
# Events of one wake-up. More would make a drain's transaction long; with thirty, an event's share
# of the cost of a message and a transaction is a thirtieth already.
WAKEUP_EVENTS_MAX = 100
# RabbitMQ confirms a wake-up in milliseconds; one that has run out of memory or disk never does.
CONFIRM_TIMEOUT_SECONDS = 1.0
REDIS_TRANSPORT = "shared.messaging.redis_transport"
TRANSPORTS = {
    "redis": f"{REDIS_TRANSPORT}:Transport",
    "rediss": f"{REDIS_TRANSPORT}:Transport",
    "sentinel": f"{REDIS_TRANSPORT}:SentinelTransport",
}


def make_celery(settings: Settings) -> Celery:
    """A Celery application on our broker, with limits on everything that could block."""
    broker = broker_for(settings.celery_broker_url)
    remove_foreign_variables()
    # Before the first connection of the process: kombu keeps the classes that it used.
    TRANSPORT_ALIASES.update(TRANSPORTS)
    # No fixups: with DJANGO_SETTINGS_MODULE set, one would bring Django's settings in.
    celery = Celery("eventify", broker=broker.url, set_as_current=False, fixups=[])
    celery.conf.update(
        # No result backend: with one, every publish also subscribes, and leaks (celery#5320).
        result_backend=None,
        task_ignore_result=True,
        task_default_queue=PURCHASES_QUEUE,
        task_queues=(Queue(PURCHASES_QUEUE, queue_arguments=broker.queue_arguments),),
        task_serializer="json",
        accept_content=["json"],
        # kombu waits for ever by default.
        broker_pool_limit=2,
        broker_connection_timeout=CONNECT_TIMEOUT_SECONDS,
        broker_transport_options=broker.transport_options,
        broker_use_ssl=broker.tls or False,
        task_publish_retry=True,
        task_publish_retry_policy={
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
        },
        # A worker survives an outage of its broker, and a failover that leaves it read-only.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=broker.heartbeat_seconds,
        broker_channel_error_retry=True,
        # As few wake-ups as possible wait in a worker: others may take those in the broker. But not
        # worker_disable_prefetch: a worker whose child processes were all busy then slept for up to
        # a second after one was free again (celery 5.7.0).
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Gossip, mingle and events are for Flower, and expensive on a small machine.
        worker_send_task_events=False,
        worker_enable_remote_control=False,
    )
    return celery


def send_wakeup(
    celery: Celery, event_ids: Sequence[int], headers: Mapping[str, str] | None = None
) -> None:
    """Wake a worker for these events; blocking, with limits.

    Raises:
        Exception: any error of a broker or its driver.
    """
    celery.send_task(
        DECIDE_QUEUES_TASK,
        (list(event_ids),),
        queue=PURCHASES_QUEUE,
        ignore_result=True,
        confirm_timeout=CONFIRM_TIMEOUT_SECONDS,
        headers=headers,
    )


def prepare_to_send(celery: Celery) -> None:
    """Import and connect in advance, which would delay the first message by 0.1 s; blocking.

    An unavailable broker is not an error here.
    """
    with suppress(Exception), celery.producer_or_acquire() as producer:
        _ = celery.amqp.send_task_message
        producer.connection.ensure_connection(max_retries=1, interval_start=0)
