"""Requests with an `Idempotency-Key` in a real PostgreSQL: done once, and never half."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import Connection, Engine, text

from gateway.purchases.accept import Accepted, Replayed
from shared.database.once import KeyedRequest, earlier, once
from shared.errors import NotFound
from tests.support.factories import accept, add_ticket_type, add_user, request, scalar
from tests.support.waiting import until_sessions_wait

AT_ONCE = 8
COUNT = "SELECT count(*) FROM users WHERE email = 'made@example.com'"


@pytest.fixture
def keyed(engine: Engine) -> KeyedRequest:
    return KeyedRequest(add_user(engine), "a", b"x" * 16)


def add(connection: Connection) -> int:
    """A row, which stands for whatever a request makes."""
    statement = "INSERT INTO users (email) VALUES ('made@example.com') RETURNING id"
    row_id: int = connection.execute(text(statement)).scalar_one()
    return row_id


def find(connection: Connection, row_id: int) -> int:
    if connection.scalar(text("SELECT id FROM users WHERE id = :id"), {"id": row_id}) is None:
        raise NotFound
    return row_id


def send(
    connection: Connection,
    keyed: KeyedRequest | None,
    do: Callable[[Connection], int] = add,
) -> tuple[int, bool]:
    return once(connection, keyed, partial(do, connection), partial(find, connection), int)


def send_at_once(engine: Engine, keyed: KeyedRequest | None) -> tuple[int, bool]:
    with engine.begin() as connection:
        return send(connection, keyed)


def test_a_repeated_request_finds_what_the_first_made(engine: Engine, keyed: KeyedRequest) -> None:
    made = send_at_once(engine, keyed)
    assert [send_at_once(engine, keyed) for _ in range(2)] == [(made[0], True)] * 2
    assert made[1] is False
    others = [None, None, keyed._replace(key="b"), keyed._replace(user_id=add_user(engine))]
    assert len({send_at_once(engine, other) for other in others} - {made}) == len(others)


def test_requests_with_one_key_at_the_same_moment_make_one_row(
    engine: Engine, keyed: KeyedRequest
) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(lambda _: send_at_once(engine, keyed), range(5 * AT_ONCE)))
    assert scalar(engine, COUNT) == 1
    assert len({row_id for row_id, _ in done}) == 1
    assert sum(not is_replay for _, is_replay in done) == 1


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_request_waits_for_another_with_its_key(
    engine: Engine, keyed: KeyedRequest, is_committed: bool
) -> None:
    with engine.connect() as first, ThreadPoolExecutor(1) as pool:
        row_id, _ = send(first, keyed)
        second = pool.submit(send_at_once, engine, keyed)
        until_sessions_wait(engine)
        if is_committed:
            first.commit()
            assert second.result() == (row_id, True)
        else:
            first.rollback()
            assert second.result()[1] is False


def test_where_a_purchase_met_another_request_both_are_replayed(
    engine: Engine, keyed: KeyedRequest
) -> None:
    ticket_type = add_ticket_type(engine, 5)
    bought = request(keyed.user_id, ticket_type, 1, keyed.key)
    with engine.begin() as connection:
        row_id, _ = send(connection, keyed)
        assert isinstance(accept(engine, [bought])[0], Accepted)
    assert send_at_once(engine, keyed) == (row_id, True)
    (replayed,) = accept(engine, [request(keyed.user_id, ticket_type, 1, keyed.key)])
    assert isinstance(replayed, Replayed)
    assert replayed.purchase_id == bought.id


def test_an_erased_account_has_no_keys(engine: Engine, keyed: KeyedRequest) -> None:
    send_at_once(engine, keyed)
    assert scalar(engine, "SELECT eventify_erase_user(:id)", id=keyed.user_id)
    with engine.connect() as connection:
        assert earlier(connection, keyed) is None
