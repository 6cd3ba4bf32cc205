"""The sweeper, `python -m purchase_worker.sweep`: decides what is queued too long, and ends holds.

Beside that it has the audits run that owners ask for.

It needs PostgreSQL and nothing else, so a lost wake-up, worker or Redis delays purchases by a
second. Any number may run: an advisory lock elects one for each pass.
"""

import signal
import threading
import time
from collections.abc import Iterator

from purchase_worker import expiry, lane_clock, metrics, store
from purchase_worker.audit import full_audits
from purchase_worker.audit.counter_watch import CounterWatch
from purchase_worker.audit.runner import AuditRunner
from purchase_worker.runtime import Runtime
from shared.config.settings import get_settings
from shared.database.engine import DATABASE_UNAVAILABLE, cursor_transaction, statement
from shared.database.schema_version import refuse_former_schema
from shared.messaging.celery_client import WAKEUP_EVENTS_MAX
from shared.observability.heartbeat import Heartbeat
from shared.observability.logging import configure_logging, get_logger
from shared.observability.metrics_server import serve_metrics
from shared.process import run_or_explain

# Our advisory locks have two parts: "EVNT" and a purpose.
TRY_ELECTION = "SELECT pg_try_advisory_xact_lock(1163284052, 1)"

logger = get_logger(__name__)


def sweep(runtime: Runtime) -> int:
    """One pass: end holds, then decide what was queued too long, the oldest first.

    Returns how many commands it decided.

    Raises:
        DATABASE_UNAVAILABLE: the next pass tries again.
    """
    decided = 0
    # The election lasts for one pass, so it needs no session of its own (PgBouncer has none).
    with cursor_transaction(runtime.engine) as cursor:
        # This transaction idles while others decide, and holds only the advisory lock. A sweeper
        # that stalls during a pass loses it; two at once only skip each other's locked rows.
        milliseconds = round(1e3 * runtime.settings.sweep_election_seconds)
        cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}")
        cursor.execute(TRY_ELECTION)
        if cursor.fetchone() != (True,):
            return 0
        # With the purchases behind them: what came back is theirs at once.
        for together in _chunks(_queue_due(runtime)):
            decided += _decide(runtime, together)
        with statement(runtime.engine) as reading:
            stale = store.queued_too_long(reading, runtime.settings.sweep_after_seconds)
        for together in _chunks(stale):
            rescued = _decide(runtime, together, whole=True)
            if rescued:
                metrics.RESCUED.inc(rescued)
                logger.info("sweep_decided", events=together, decided=rescued)
            decided += rescued
    return decided


def _queue_due(runtime: Runtime) -> list[int]:
    """The events whose holds are due; none if that took too long, so that the rest is decided."""
    try:
        # In a transaction of its own, whose table locks would else last as long as the pass: behind
        # a statement that waits for them, such as a migration's, our own decisions would wait too.
        with statement(runtime.engine) as cursor:
            due = expiry.queue_due(cursor, runtime.holds_walked_to)
    except DATABASE_UNAVAILABLE as error:
        logger.warning("expiry_failed", error=str(error))
        return []
    runtime.holds_walked_to = due.walked_to
    return due.events


def _chunks(event_ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(event_ids), WAKEUP_EVENTS_MAX):
        yield event_ids[start : start + WAKEUP_EVENTS_MAX]


def _decide(runtime: Runtime, event_ids: list[int], *, whole: bool = False) -> int:
    try:
        return runtime.drain(event_ids, whole=whole).decided
    except DATABASE_UNAVAILABLE as error:
        logger.warning("sweep_failed", events=event_ids, error=str(error))
        if len(event_ids) == 1:
            return 0
        # The cause may still be one of them, such as a lock that another session keeps.
        return sum(_decide(runtime, [id_], whole=whole) for id_ in event_ids)


def run() -> None:
    """Sweep until SIGTERM or SIGINT; the running pass is finished first."""
    settings = get_settings()
    configure_logging(settings, "sweeper")
    refuse_former_schema(settings, "sweeper")
    serve_metrics(settings)
    runtime = Runtime(settings, "sweeper")
    watch = CounterWatch(runtime.engine)
    watch_at = time.monotonic()
    audits = AuditRunner(runtime.engine)
    heartbeat = Heartbeat(settings.heartbeat_dir, "sweeper")
    stopping = threading.Event()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop_signal, lambda *_: stopping.set())
    logger.info("sweeper_started", every_seconds=settings.sweep_interval_seconds)
    decided = 0
    # After a pass that decided something there may be more: the next follows at once.
    while not stopping.wait(0 if decided else settings.sweep_interval_seconds):
        heartbeat.beat(settings.sweep_stale_seconds)
        try:
            decided = sweep(runtime)
            metrics.SWEPT_TIMESTAMP_SECONDS.set_to_current_time()
            if time.monotonic() >= watch_at:
                began = time.monotonic()
                watch_at = began + settings.counter_watch_seconds
                watch.check()
                lane_clock.export(runtime.engine)
                full_audits.export(runtime.engine)
                # They read all lanes that there are: for a twentieth of the time at most.
                watch_at = max(watch_at, began + 20 * (time.monotonic() - began))
            audits.step()
        except DATABASE_UNAVAILABLE as error:
            decided = 0
            logger.warning("sweep_interrupted", error=str(error))
        heartbeat.beat(settings.heartbeat_stale_seconds)
    audits.close()
    runtime.close()
    heartbeat.close()
    logger.info("sweeper_stopped")


if __name__ == "__main__":
    run_or_explain(run)
