"""A resolution behind 200,000 queued purchases is answered at once, while a worker drains them."""

import time
from statistics import median

import redis
from sqlalchemy import Engine

from gateway.purchases.wakeups import WakeupSender
from purchase_worker.audit.report import audit
from shared.config.settings import Settings
from tests.support.factories import (
    add_ticket_type,
    event_of,
    queue_issue,
    queue_many,
    rows,
    run,
    scalar,
)
from tests.support.services import running_service
from tests.support.waiting import eventually

QUEUED = 200_000
RESOLUTIONS = 25
ANSWERED_WITHIN_SECONDS = 0.1
LOOK_SECONDS = 0.001
# On a busy machine one of them may take long, but not as long as the queue in front of it.
LIMIT_SECONDS = 5.0
ANSWERED = "SELECT FROM ledger WHERE event_id = :event AND command_id = CAST(:id AS uuid)"


def seconds_to_answer(engine: Engine, event: int, ticket_type: int) -> float:
    """From the commit of a resolution until its entry can be read."""
    id_ = queue_issue(engine, ticket_type, 1)
    committed_at = time.monotonic()
    while not rows(engine, ANSWERED, event=event, id=id_):
        assert time.monotonic() < committed_at + LIMIT_SECONDS, "it waits in line"
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - committed_at


def test_a_resolution_waits_for_no_more_than_the_batch_under_way(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, QUEUED)
    event = event_of(engine, ticket_type)
    queue_many(engine, ticket_type, QUEUED)
    run(engine, "ANALYZE requests, work_list")
    wakeups = WakeupSender(settings)
    wakeups.start()
    wakeups.notify([event])
    wakeups.close()
    decided = "SELECT number FROM lanes WHERE event_id = :id"

    def drains() -> None:
        assert scalar(engine, decided, id=event) > 1_000

    with running_service("purchase_worker", settings):
        eventually(drains, within_seconds=60)
        took = [seconds_to_answer(engine, event, ticket_type) for _ in range(RESOLUTIONS)]
        still_queued = QUEUED + 1 + RESOLUTIONS - scalar(engine, decided, id=event)
        eventually(lambda: nothing_is_queued(engine), within_seconds=120)
    assert still_queued > QUEUED / 10, "the queue was too short to show anything"
    assert median(took) < ANSWERED_WITHIN_SECONDS, took
    assert audit(engine, settings).ok


def nothing_is_queued(engine: Engine) -> None:
    assert scalar(engine, "SELECT count(*) FROM work_list") == 0
