"""Wires the task to Celery: one application, one queue, connections opened in each child."""

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import billiard.pool
import celery.apps.worker
from celery import Celery
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown

from purchase_worker.consumer import self_check
from purchase_worker.consumer.wakeup_request import WakeupRequest
from purchase_worker.runtime import Runtime
from purchase_worker.tasks import decide_queues
from shared.config.settings import Settings
from shared.messaging.celery_client import (
    DECIDE_QUEUES_TASK,
    PURCHASES_QUEUE,
    make_celery,
    prepare_to_send,
    send_wakeup,
)
from shared.observability.logging import configure_logging

# A child that ends waits up to 30 s (300 looks) until its parent has read that its tasks are done,
# which a parent that ends as well may never do. Our tasks have no result that could be lost: 1 s.
ENDING_CHILD_LOOKS = 10


def create_worker_app(settings: Settings) -> Celery:
    """The Celery application that consumes wake-ups."""
    app = make_celery(settings)
    app.conf.worker_consumer = "purchase_worker.consumer.wakeup_consumer:WakeupConsumer"
    self_check.install(app, settings)
    runtimes: list[Runtime] = []

    # Weak references would drop these functions as soon as this one returns.
    @worker_process_init.connect(weak=False)
    def open_connections(**_: Any) -> None:
        runtimes.append(Runtime(settings, "worker"))
        prepare_to_send(app)

    @worker_process_shutdown.connect(weak=False)
    def close_connections(**_: Any) -> None:
        for runtime in runtimes:
            runtime.close()

    @setup_logging.connect(weak=False)
    def configure(**_: Any) -> None:
        configure_logging(settings, "worker")

    @app.task(name=DECIDE_QUEUES_TASK, Request=WakeupRequest)
    def decide(ticket_type_ids: list[int]) -> None:
        runtime = runtimes[0]
        with runtime.taking_wakeup(decide.request.get("traceparent")):
            more = decide_queues(runtime, ticket_type_ids)
        if more:
            # To the back of the queue: other ticket types have their turn first.
            send_wakeup(app, more)

    return app


def _say_as_json(message: str, _file: object = None) -> None:
    """What Celery says in a signal's handler, where no logger may be used, as a line of the log."""
    line = {
        "event": "library_message",
        "message": message,
        "level": "info",
        "timestamp": datetime.now(UTC).isoformat(),
        "process": "worker",
        "logger": "celery.apps.worker",
    }
    os.write(sys.stderr.fileno(), json.dumps(line).encode() + b"\n")


def work(settings: Settings) -> None:
    """Consume until SIGTERM; the running turn is finished first."""
    # Celery asks for it once more, after it has said the first things.
    configure_logging(settings, "worker")
    celery.apps.worker.safe_say = _say_as_json
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = ENDING_CHILD_LOOKS
    # Not by `worker_main`, whose options read variables such as BROKER_URL and LOADER.
    worker = create_worker_app(settings).Worker(
        quiet=True,  # no banner: each line of the log is JSON
        pool_cls="prefork",
        concurrency=settings.worker_processes,
        queues=[PURCHASES_QUEUE],
        loglevel=settings.log_level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    sys.exit(worker.exitcode)
