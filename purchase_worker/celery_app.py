"""Wires the task to Celery: one application, one queue, connections opened in each child."""

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import billiard.pool
import billiard.util
import celery.apps.worker
import celery.concurrency.prefork
from celery import Celery
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown

from purchase_worker.consumer.self_check import SelfCheck
from purchase_worker.consumer.wakeup_consumer import WakeupConsumer
from purchase_worker.runtime import Runtime
from purchase_worker.tasks import decide_queues
from shared.config.settings import Settings
from shared.database.schema_version import refuse_former_schema
from shared.messaging.celery_client import (
    DECIDE_QUEUES_TASK,
    PURCHASES_QUEUE,
    make_celery,
    prepare_to_send,
    send_wakeup,
)
from shared.observability.logging import configure_logging

# An exiting child waits up to 30 s (300 polls) until its parent has read its results; a parent that
# exits too may never do so. Our tasks have no results that could be lost: 1 s.
EXIT_POLLS = 10


def create_worker_app(settings: Settings) -> Celery:
    """The Celery application that consumes wake-ups."""
    app = make_celery(settings)
    app.conf.worker_consumer = WakeupConsumer
    app.steps["consumer"].add(SelfCheck)
    runtimes: list[Runtime] = []

    # Celery would drop weak references to these functions as soon as this one returns.
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
        # It reports children that were killed, and would write the bare text.
        billiard.util.get_logger().propagate = True

    @app.task(name=DECIDE_QUEUES_TASK)
    def decide(event_ids: list[int]) -> None:
        runtime = runtimes[0]
        with runtime.trace_wakeup(decide.request.get("traceparent")):
            more = decide_queues(runtime, event_ids)
        if more:
            # To the back of the queue: other events have their turn first.
            send_wakeup(app, more)

    return app


def _write_log_line(message: str, _file: object = None) -> None:
    """Log what Celery prints in a signal handler, where no logger may be used."""
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
    """Consume until SIGTERM; the running task is finished first."""
    # Celery sends `setup_logging` only after its first log lines.
    configure_logging(settings, "worker")
    refuse_former_schema(settings, "worker")
    celery.apps.worker.safe_say = _write_log_line
    # SIGHUP stays as it is, because `nohup` ignores it on purpose.
    celery.apps.worker.install_worker_restart_handler = lambda _worker: None
    celery.concurrency.prefork.WORKER_SIGRESET.discard("SIGHUP")
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = EXIT_POLLS
    # Not `worker_main`, whose options read variables such as BROKER_URL and LOADER.
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
