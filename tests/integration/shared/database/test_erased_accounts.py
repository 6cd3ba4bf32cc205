"""An account that was erased owns nothing from then on, whatever its last token tries."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from gateway.api_keys import store
from gateway.webhooks import store as webhooks
from purchase_worker.audit.all_events import audit
from shared.config.settings import Settings
from shared.database.engine import open_engine
from shared.database.rights import GATEWAY
from shared.errors import TokenNotValid
from tests.support.factories import (
    accept,
    add_event,
    add_ticket_type,
    add_user,
    add_users,
    event_of,
    request,
    rows,
    scalar,
)
from tests.support.plans import FLUSH, flush_statistics
from tests.support.waiting import until_sessions_wait

ERASE = "SELECT eventify_erase_user(:id)"
EVENT = """
INSERT INTO events (title, start_time, end_time, owner_id)
VALUES ('Concert', now() + interval '1 day', now() + interval '2 days', {owner})
"""


def test_an_erased_account_gets_no_key_no_purchase_and_no_event(engine: Engine) -> None:
    user, ticket_type = add_user(engine), add_ticket_type(engine, 10)
    assert scalar(engine, ERASE, id=user)
    with pytest.raises(TokenNotValid):
        store.add(engine, user, "Checkout", ["read"], b"0" * 32, None)
    assert [type(verdict) for verdict in accept(engine, [request(user, ticket_type)])] == [
        TokenNotValid
    ]
    with pytest.raises(DBAPIError, match="an event is of an account that there is"):
        add_event(engine, user)


def test_an_erased_account_has_no_webhooks(engine: Engine) -> None:
    user = add_user(engine)

    def add_webhook() -> None:
        webhooks.add(engine, user, "https://shop.example/", None, ["held"], b"s" * 32, 1)

    add_webhook()
    assert scalar(engine, ERASE, id=user)
    assert rows(engine, "SELECT FROM webhooks UNION ALL SELECT FROM webhook_secrets") == []
    with pytest.raises(TokenNotValid):
        add_webhook()


def test_the_requests_of_an_account_are_found_by_their_user(
    engine: Engine, settings: Settings
) -> None:
    """A function's user is no constant, and from the sixth on the operator's session has one plan
    for all users."""

    def finds() -> int:
        flush_statistics(engine)
        index = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'requests_of_user'"
        return int(scalar(engine, index))

    gateway = open_engine(settings, "gateway", pool_size=1, prepares=True, role=GATEWAY)
    before = finds()
    with gateway.begin() as connection:
        assert connection.scalar(text(ERASE), {"id": add_user(engine)}) is True
        connection.execute(text(FLUSH))
    gateway.dispose()
    assert finds() == before + 1
    with engine.begin() as connection:
        for user in add_users(engine, 7):
            connection.execute(text("DELETE FROM users WHERE id = :id"), {"id": user})
        connection.execute(text(FLUSH))
    assert finds() == before + 8


def test_an_account_whose_events_were_all_deleted_is_erased(
    engine: Engine, settings: Settings
) -> None:
    ticket_type = add_ticket_type(engine, 10)
    event = event_of(engine, ticket_type)
    owner = scalar(engine, "SELECT owner_id FROM events WHERE id = :id", id=event)
    assert scalar(engine, ERASE, id=owner) is False
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT set_config('eventify.user_id', '{owner}', true)")
        connection.exec_driver_sql(f"SELECT eventify_issue({ticket_type}, 5)")
        connection.exec_driver_sql(f"DELETE FROM ticket_types WHERE event_id = {event}")
        connection.exec_driver_sql(f"DELETE FROM events WHERE id = {event}")
    kinds = "SELECT array_agg(kind::text ORDER BY seq) FROM requests WHERE user_id = :id"
    assert scalar(engine, kinds, id=owner) == ["issue", "withdraw"]
    assert scalar(engine, ERASE, id=owner)
    assert audit(engine, settings).ok


def test_an_account_that_creates_an_event_at_that_moment_is_kept(engine: Engine) -> None:
    user = add_user(engine)

    with engine.connect() as creating, ThreadPoolExecutor(1) as pool:
        creating.exec_driver_sql(EVENT.format(owner=user))
        erased = pool.submit(scalar, engine, ERASE, id=user)
        until_sessions_wait(engine)
        creating.commit()
        assert erased.result() is False
