"""Where a lane begins to read its queue: past what is decided, never past what may still come."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class
from sqlalchemy import Engine

from gateway.purchases.accept import PurchaseRequest
from gateway.purchases.store import ACCEPT, parameters_of
from purchase_worker.drain import drain
from shared.config.settings import Settings
from tests.support.factories import (
    LIMITS,
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


@contextmanager
def open_transaction(engine: Engine) -> Iterator[Connection]:
    """It has its id, and is rolled back unless it is committed."""
    pooled = engine.raw_connection()
    plain = pooled.driver_connection
    assert isinstance(plain, Connection)
    with plain.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
    yield plain
    pooled.close()


def accept_in(transaction: Connection, purchase: PurchaseRequest) -> None:
    with transaction.cursor() as cursor:
        ACCEPT.run(cursor, parameters_of([purchase], LIMITS))


@pytest.mark.parametrize("began_last", [True, False])
def test_what_was_accepted_first_and_committed_last_is_decided(
    engine: Engine, settings: Settings, began_last: bool
) -> None:
    """Its number in the queue is below those that were decided meanwhile, in several batches.

    If it began last, no snapshot's bound is above its transaction's id until another one begins.
    """
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    event = event_of(engine, ticket_type)
    queue(engine, [request(user, ticket_type)])
    drain(engine, [event], settings, ignore)
    with open_transaction(engine) as one, open_transaction(engine) as other:
        slow, quick = (other, one) if began_last else (one, other)
        accept_in(slow, request(user, ticket_type, 7))
        before = scalar(engine, LAST_SEQ)
        accept_in(quick, request(user, ticket_type))
        quick.commit()
        assert drain(engine, [event], settings, ignore).decided == 1
        for _batch in range(3):
            queue(engine, [request(user, ticket_type)])
            assert drain(engine, [event], settings, ignore).decided == 1
        assert scalar(engine, DONE_SEQ, id=event) <= before
        slow.commit()
    assert drain(engine, [event], settings, ignore).decided == 1
    assert counter(engine, ticket_type) == (100, 5 + 7)


def test_what_is_decided_is_not_read_again(engine: Engine, settings: Settings) -> None:
    """A resolution, whose queue is read from its beginning, moves nothing."""
    user, ticket_type = add_user(engine), add_ticket_type(engine, 100)
    event = event_of(engine, ticket_type)
    queue(engine, [request(user, ticket_type)])
    first = scalar(engine, LAST_SEQ)

    def has_moved() -> None:
        queue_issue(engine, ticket_type, 1)
        queue(engine, [request(user, ticket_type)])
        drain(engine, [event], settings, ignore)
        assert first <= scalar(engine, DONE_SEQ, id=event) < scalar(engine, LAST_SEQ)

    # It takes a few batches, and waits for whatever else runs on the server.
    eventually(has_moved)


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
