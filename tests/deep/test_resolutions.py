"""A resolution behind 200,000 queued purchases is answered at once, while a worker drains them.

With `-s` it prints how long they took. The limit is for a quiet machine:
`.venv/bin/python -m pytest -s tests/deep/test_resolutions.py`.
"""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import msgspec
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.wakeups import WakeupSender
from purchase_worker.audit.all_events import audit
from purchase_worker.drain import drain
from shared.config.settings import Settings
from tests.support.factories import (
    add_ticket_type,
    event_of,
    ignore,
    nothing_is_queued,
    queue_buy,
    queue_many,
    queue_resolution,
    rows,
    run,
    scalar,
)
from tests.support.services import running_service
from tests.support.waiting import eventually

QUEUED = 200_000
RESOLUTIONS = 40
ANSWERED_WITHIN_SECONDS = 0.1
LOOK_SECONDS = 0.001
# On a busy machine one of them may take long, but not as long as the queue in front of it.
LIMIT_SECONDS = 5.0
ANSWER = "SELECT kind::text FROM ledger WHERE event_id = :event AND command_id = CAST(:id AS uuid)"


def seconds_to_answer(engine: Engine, event: int, command_id: str, kind: str) -> float:
    """From the commit of a resolution, which was just now, until its entry can be read."""
    committed_at = time.monotonic()
    while not (answer := rows(engine, ANSWER, event=event, id=command_id)):
        assert time.monotonic() < committed_at + LIMIT_SECONDS, "it waits in line"
        time.sleep(LOOK_SECONDS)
    assert answer == [(kind,)]
    return time.monotonic() - committed_at


def confirm(engine: Engine, purchase_id: str, _ticket_type: int) -> str:
    return queue_resolution(engine, "confirm", purchase_id, payment_reference=f"pay_{purchase_id}")


def cancel(engine: Engine, purchase_id: str, ticket_type: int) -> str:
    """For good, so that it stays sold out."""
    items = msgspec.json.encode([{"ticket_type": ticket_type, "quantity": 1}]).decode()
    return queue_resolution(engine, "cancel", purchase_id, items=items, restock=False)


def bought(
    engine: Engine, settings: Settings, ticket_type: int, hold_seconds: int | None
) -> list[str]:
    """Purchases to resolve, which are decided."""
    ids = [
        queue_buy(engine, [(ticket_type, 1)], hold_seconds=hold_seconds) for _ in range(RESOLUTIONS)
    ]
    drain(engine, [event_of(engine, ticket_type)], settings, ignore)
    return ids


@pytest.mark.parametrize(
    ("resolve", "kind", "capacity", "hold_seconds"),
    [
        pytest.param(confirm, "confirmed", RESOLUTIONS + QUEUED, 7_200, id="on sale"),
        pytest.param(cancel, "cancelled", RESOLUTIONS, None, id="sold out"),
    ],
)
def test_a_resolution_waits_for_no_more_than_the_batch_under_way(
    engine: Engine,
    settings: Settings,
    redis_client: redis.Redis,
    resolve: Callable[[Engine, str, int], str],
    kind: str,
    capacity: int,
    hold_seconds: int | None,
) -> None:
    ticket_type = add_ticket_type(engine, capacity)
    event = event_of(engine, ticket_type)
    purchase_ids = bought(engine, settings, ticket_type, hold_seconds)
    queue_many(engine, ticket_type, QUEUED)
    run(engine, "ANALYZE requests, work_list")
    wakeups = WakeupSender(settings)
    wakeups.start()
    wakeups.notify([event])
    wakeups.close()

    def queued() -> int:
        count: int = scalar(engine, "SELECT count(*) FROM work_list WHERE class = 1")
        return count

    def drains() -> None:
        assert queued() < QUEUED

    with running_service("purchase_worker", settings):
        eventually(drains, within_seconds=60)
        took = [
            seconds_to_answer(engine, event, resolve(engine, id_, ticket_type), kind)
            for id_ in purchase_ids
        ]
        still_queued = queued()
        eventually(lambda: nothing_is_queued(engine), within_seconds=120)
    sys.stdout.write(f"{kind}, {_milliseconds(took)}; {still_queued:,} were still queued\n")
    assert still_queued > QUEUED / 10, "the queue was too short to show anything"
    assert median(took) < ANSWERED_WITHIN_SECONDS, took
    assert audit(engine, settings).ok


def _milliseconds(took: Sequence[float]) -> str:
    return f"median {1000 * median(took):.0f} ms, slowest {1000 * max(took):.0f} ms"
