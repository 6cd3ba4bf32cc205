"""Where a lane begins to read its queue: past what is decided, never past what may still come."""

from collections.abc import Iterator

import psycopg2.extensions
import pytest
from sqlalchemy import Engine

from gateway.purchases.store import ACCEPT, parameters_of
from purchase_worker.drain import drain
from shared.config.settings import Settings
from tests.support.factories import (
    add_ticket_type,
    add_user,
    counter,
    event_of,
    ignore,
    queue,
    queue_issue,
    request,
    scalar,
    tamper,
)
from tests.support.waiting import eventually

DONE_SEQ = "SELECT done_seq FROM lanes WHERE event_id = :id"
LAST_SEQ = "SELECT max(seq) FROM requests"


@pytest.fixture
def open_transaction(engine: Engine) -> Iterator[psycopg2.extensions.connection]:
    pooled = engine.raw_connection()
    plain = pooled.driver_connection
    assert isinstance(plain, psycopg2.extensions.connection)
    yield plain
    pooled.close()


def test_what_was_accepted_first_and_committed_last_is_decided(
    engine: Engine, settings: Settings, open_transaction: psycopg2.extensions.connection
) -> None:
    """Its number in the queue is below those that were decided meanwhile, in several batches."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    event = event_of(engine, ticket_type)
    queue(engine, [request(user, ticket_type)])
    drain(engine, [event], settings, ignore)
    with open_transaction.cursor() as cursor:
        ACCEPT.run(cursor, parameters_of([request(user, ticket_type, 7)], position_max_rows=10))
    before = scalar(engine, LAST_SEQ)
    for _batch in range(4):
        queue(engine, [request(user, ticket_type)])
        assert drain(engine, [event], settings, ignore).decided == 1
    assert scalar(engine, DONE_SEQ, id=event) <= before
    open_transaction.commit()
    assert drain(engine, [event], settings, ignore).decided == 1
    assert counter(engine, ticket_type) == (100, 5 + 7)


def test_what_is_decided_is_not_read_again(engine: Engine, settings: Settings) -> None:
    """Sold or closed; a resolution, whose queue is read from its beginning, moves nothing."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 1)
    event = event_of(engine, ticket_type)
    queue(engine, [request(user, ticket_type)])

    def is_past_all_before() -> None:
        before = scalar(engine, LAST_SEQ)
        queue_issue(engine, ticket_type, 1)
        queue(engine, [request(user, ticket_type, 2)])
        drain(engine, [event], settings, ignore)
        # Transactions of the server's own may be under way, so it may take a few batches.
        assert scalar(engine, DONE_SEQ, id=event) >= before

    eventually(is_past_all_before)


@pytest.mark.parametrize("change", [100, -1], ids=["on sale", "sold out"])
def test_only_who_trusts_no_mark_finds_what_is_below_it(
    engine: Engine, settings: Settings, change: int
) -> None:
    """The sweeper: a mark that is wrong delays purchases, and loses none."""
    ticket_type = add_ticket_type(engine, 1)
    event = event_of(engine, ticket_type)
    queue(engine, [request(add_user(engine), ticket_type)])
    queue_issue(engine, ticket_type, change)
    drain(
        engine,
        [event],
        settings.model_copy(update={"drain_max_batches": 1, "drain_batch_rows": 1}),
        ignore,
    )
    tamper(engine, "UPDATE lanes SET done_seq = 1000000")
    assert drain(engine, [event], settings, ignore).decided == 0
    assert drain(engine, [event], settings, ignore, whole=True).decided == 1
