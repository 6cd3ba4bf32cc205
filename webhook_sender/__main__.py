"""Starts a sender of webhooks: `python -m webhook_sender`. Any number of them may run."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

from shared.config.settings import Settings, get_settings
from shared.database.engine import open_engine
from shared.database.rights import SENDER
from shared.database.schema_version import refuse_former_schema
from shared.observability.heartbeat import Heartbeat
from shared.observability.logging import configure_logging, get_logger
from shared.observability.metrics_server import serve_metrics
from shared.process import run_or_explain
from webhook_sender.request import Requests
from webhook_sender.sender import DATABASE_THREADS, TESTS_MAX, Sender

# A name that does not resolve keeps a thread for half a minute, longer than its request lasts: as
# many for each request, that nobody waits for another's names.
NAME_THREADS = 2
# Where it shares cores with those who sell, they go first.
NICENESS = 5

logger = get_logger(__name__)


async def send(settings: Settings, heartbeat: Heartbeat) -> None:
    """Send until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    names = ThreadPoolExecutor(
        NAME_THREADS * (settings.webhook_deliveries_max + TESTS_MAX), "names"
    )
    loop.set_default_executor(names)
    stopping = asyncio.Event()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stopping.set)
    engine = open_engine(settings, "sender", pool_size=DATABASE_THREADS, prepares=True, role=SENDER)
    async with aclosing(Requests(settings)) as requests:
        sender = Sender(settings, engine, requests)
        logger.info("sender_started")
        await sender.run(stopping, lambda: heartbeat.beat(settings.heartbeat_stale_seconds))
    engine.dispose()


def run() -> None:
    settings = get_settings()
    configure_logging(settings, "sender")
    refuse_former_schema(settings, "sender")
    serve_metrics(settings)
    os.nice(NICENESS)
    heartbeat = Heartbeat(settings.heartbeat_dir, "sender")
    asyncio.run(send(settings, heartbeat))
    heartbeat.close()
    logger.info("sender_stopped")


if __name__ == "__main__":
    run_or_explain(run)
